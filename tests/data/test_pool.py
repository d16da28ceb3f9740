import polars as pl
import pytest

from moesift.data import pool as module
from moesift.data.formats import to_messages
from moesift.data.pool import (
    EXAMPLE,
    content_id,
    deduplicated,
    frequent_reasons,
    split,
    to_examples,
)
from moesift.data.rows import Row
from moesift.errors import UserError


def turns(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def examples(*rows):
    """Rows of (question, answer) or (question, answer, corruption)."""
    labelled = [(*row, "clean")[:3] for row in rows]
    table = [("s", index, turns(q, a), [], label, None, True) for index, (q, a, label) in enumerate(labelled)]
    return pl.DataFrame(table, schema=EXAMPLE, orient="row")


NO_ALPACA = "fits not the format alpaca: instruction and output; instruction and response; its keys are text"


def test_rows_become_examples_or_are_rejected():
    rows = {
        "a": [
            Row(0, {"prompt": "q", "completion": "r", "notes": "n"}, ("r", "s")),
            Row(4, "{", reason="line 5 is not JSON"),
        ],
        "b": [Row(1, {"text": "q"})],
    }
    found, rejected = to_examples(rows, {"a": "auto", "b": "alpaca"}, {"a": ["notes"]})
    assert found.rows() == [("a", 0, turns("q", "r"), ["r", "s"], "clean", None, True)]
    assert rejected.rows() == [("a", 4, "line 5 is not JSON", "{"), ("b", 1, NO_ALPACA, '{"text": "q"}')]


def test_rows_are_read_once_and_no_further_ahead_than_a_block(monkeypatch):
    read, read_at_conversion = [], []

    def rows():
        for n in range(7):
            read.append(n)
            yield Row(n, "{", reason="not JSON") if n == 3 else Row(n, {"prompt": f"q{n % 2}", "completion": f"r{n}"})

    def convert(content, kind, ignore):
        read_at_conversion.append(read[-1])
        return to_messages(content, kind, ignore)

    whole = to_examples({"a": rows()}, {"a": "auto"})
    ids = deduplicated(whole[0])[0]["id"]
    monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setattr(module, "to_messages", convert)
    in_blocks = to_examples({"a": rows()}, {"a": "auto"})
    assert all(one.equals(other) for one, other in zip(whole, in_blocks, strict=True))
    assert whole[0]["source_index"].to_list() == [0, 1, 2, 4, 5, 6]
    assert read_at_conversion == [1, 1, 3, 5, 5, 6]
    assert deduplicated(in_blocks[0])[0]["id"].equals(ids)
    assert ids.n_unique() == 6


def test_nothing_usable_is_an_error_with_the_sources_and_the_reasons():
    rows = {"a": [Row(n, "{", reason=f"line {n} is not JSON") for n in range(3)], "b": [Row(0, {"text": "q"})]}
    with pytest.raises(UserError) as error:
        to_examples(rows, {"a": "auto", "b": "alpaca"})
    assert str(error.value).splitlines() == [
        "no row of a, b can be used",
        "  3 x line … is not JSON",
        f"  1 x {NO_ALPACA}",
    ]
    with pytest.raises(UserError, match=r"no row of a can be used\n  there are no rows"):
        to_examples({"a": []}, {"a": "auto"})


def test_the_id_is_the_hash_of_canonical_json():
    # sha256 of [{"content":"Wie groß?","role":"user"},{"content":"1 m","role":"assistant"}]
    assert content_id(turns("Wie groß?", "1 m")) == "697479ad566dff9d"
    assert content_id([dict(reversed(turn.items())) for turn in turns("Wie groß?", "1 m")]) == "697479ad566dff9d"


def test_of_equal_examples_the_clean_one_is_kept_then_the_first():
    kept, repeated = deduplicated(examples(("q", "a", "truncated"), ("p", "a"), ("q", "a"), ("p", "a")))
    p, q = content_id(turns("p", "a")), content_id(turns("q", "a"))
    assert kept.select("source_index", "corruption", "id").rows() == [(1, "clean", p), (2, "clean", q)]
    assert repeated["row", "reason"].rows() == [(0, f"duplicate of {q}"), (3, f"duplicate of {p}")]


def test_ids_are_those_of_the_current_messages():
    before, _ = deduplicated(examples(("q", "a")))
    after, _ = deduplicated(before.with_columns(examples(("q", "b"))["messages"]))
    assert after["id"].to_list() == [content_id(turns("q", "b"))]


def places(*frames):
    return sorted(place for frame in frames for place in frame.get_column("source_index"))


def test_questions_of_heldout_examples_do_not_occur_in_the_pool():
    rows = examples(*[("same", str(n)) for n in range(5)], *[(f"own {n}", "a") for n in range(5)])
    for seed in range(10):
        pool, heldout, apart = split(rows, 3, seed)
        assert (len(heldout), len(apart)) == (3, 0)
        assert places(pool, heldout) == list(range(10))
        assert set(heldout["source_index"]) <= {5, 6, 7, 8, 9}
        assert split(rows, 3, seed)[1].equals(heldout)
    assert len({tuple(split(rows, 3, seed)[1]["source_index"]) for seed in range(10)}) > 1


def test_a_conversation_and_its_continuation_are_held_out_together():
    """Ten conversations of three rows; of the last group that is sampled, what is too many is rejected."""
    starts = [turns(f"ask {n}", f"say {n}") for n in range(10)]
    rows = [(start, start + turns("more", f"{n}"), start + turns("less", f"-{n}")) for n, start in enumerate(starts)]
    frame = examples(*[("q", "a")] * 30).with_columns(messages=pl.Series([each for row in rows for each in row]))
    for heldout, left_over in ((6, 0), (7, 2), (8, 1), (29, None)):
        if left_over is None:
            with pytest.raises(
                UserError, match="heldout: 29 examples are asked for, but the pool has 30 in all, of wh"
            ):
                split(frame, heldout, 0)
            continue
        pool, held, apart = split(frame, heldout, 0)
        assert (held.height, apart.height) == (heldout, left_over)
        assert sorted([*places(pool, held), *apart["row"]]) == list(range(30))
        assert not {place // 3 for place in places(pool)} & {place // 3 for place in places(held)}
        assert set(apart["reason"]) <= {module.APART}
    with pytest.raises(UserError, match="of which 0 share no question and no exchange with another"):
        split(frame, 2, 0)


@pytest.mark.parametrize(("rows", "heldout"), [([("q", "a"), ("q", "b"), ("p", "a")], 2), ([("q", "a")], 1)])
def test_too_many_held_out_are_an_error(rows, heldout):
    message = f"{heldout} examples are asked for, but the pool has {len(rows)} in all, of which 1 share no"
    with pytest.raises(UserError, match=message):
        split(examples(*rows), heldout, 0)


def test_rejected_rows_keep_the_beginning_of_what_was_read():
    bad = [
        Row(7, {"text": "ä"}),
        Row(8, '{"x', reason="line 9 is not JSON"),
        Row(9, {"text": "\ud800"}),
        Row(10, "x" * 3000, reason="line 11 is not JSON"),
    ]
    _, rejected = to_examples({"a": [Row(0, {"prompt": "q", "completion": "r"}), *bad]}, {"a": "auto"})
    assert rejected["content"].to_list() == ['{"text": "ä"}', '{"x', '{"text": "?"}', "x" * 2000]


def test_a_duplicate_keeps_the_beginning_of_its_messages():
    _, duplicates = deduplicated(examples(("ask", "ä"), ("ask", "ä"), ("ask", "y" * 3000), ("ask", "y" * 3000)))
    short = '{"messages": [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "ä"}]}'
    assert duplicates["content"][0] == short
    assert duplicates["content"][1] == (short.split("ä")[0] + "y" * 3000)[:2000]


def test_reasons_of_one_kind_differ_in_numbers_and_ids_alone():
    reasons = ["duplicate of 0123456789abcdef", "line 3 is not JSON", "duplicate of fedcba9876543210"]
    assert frequent_reasons(reasons, 5) == [("duplicate of …", 2), ("line … is not JSON", 1)]


def test_where_all_questions_have_more_answers_than_are_held_out_the_error_says_how_many_to_ask_for():
    rows = examples(*[(f"q{n // 4}", f"a{n}") for n in range(12)])
    with pytest.raises(UserError, match=r"heldout: 3 .* of which 0 share .*; of several answers .*: ask for 4 or more"):
        split(rows, 3, 0)
    pool, heldout, apart = split(rows, 4, 0)
    assert (pool.height, heldout.height, apart.height) == (8, 4, 0)
