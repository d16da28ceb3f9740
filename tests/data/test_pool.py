import polars as pl
import pytest

from moesift.data.formats import to_messages
from moesift.data.pool import (
    EXAMPLE,
    INSTRUCTION,
    content_id,
    content_ids,
    deduplicated,
    frequent_reasons,
    split,
    to_examples,
    with_content,
)
from moesift.data.rows import Row
from moesift.errors import UserError


def turns(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def examples(*rows):
    """Rows of (question, answer, corruption)."""
    return pl.DataFrame(
        [
            ("s", index, turns(question, answer), [], label, None, True)
            for index, (question, answer, label) in enumerate(rows)
        ],
        schema=EXAMPLE,
        orient="row",
    )


def test_rows_become_examples_or_are_rejected():
    rows = {
        "a": [Row(0, {"prompt": "q", "completion": "r"}, ("r", "s")), Row(4, "{", reason="line 5 is not JSON")],
        "b": [Row(1, {"text": "q"})],
    }
    found, rejected = to_examples(rows, {"a": "auto", "b": "alpaca"})
    assert found.rows() == [("a", 0, turns("q", "r"), ["r", "s"], "clean", None, True)]
    assert rejected.rows() == [
        ("a", 4, "line 5 is not JSON"),
        ("b", 1, "the row has no instruction, only text"),
    ]


def test_blocks_of_rows_are_one_frame(monkeypatch):
    """Rows come as an iterator that is read once, and no further ahead than a block."""
    asked = []

    def rows():
        for n in range(7):
            asked.append(n)
            yield Row(n, "{", reason="not JSON") if n == 3 else Row(n, {"prompt": f"q{n % 2}", "completion": f"r{n}"})

    found, rejected = to_examples({"a": rows()}, {"a": "auto"})
    ids, instructions = content_ids(found), content_ids(found, INSTRUCTION)
    monkeypatch.setattr("moesift.data.pool.BLOCK", 2)
    asked.clear()
    ahead = []
    monkeypatch.setattr(
        "moesift.data.pool.to_messages", lambda content, kind: ahead.append(asked[-1]) or to_messages(content, kind)
    )
    again, refused = to_examples({"a": rows()}, {"a": "auto"})
    assert again.equals(found)
    assert refused.equals(rejected)
    assert found["source_index"].to_list() == [0, 1, 2, 4, 5, 6]
    assert ahead == [1, 1, 3, 5, 5, 6]  # what has been read when a row is made an example
    assert content_ids(again).equals(ids)
    assert content_ids(again, INSTRUCTION).equals(instructions)
    assert ids.n_unique() == 6
    assert instructions.n_unique() == 2


def test_nothing_usable_names_the_sources_and_the_reasons():
    rows = {"a": [Row(n, "{", reason=f"line {n} is not JSON") for n in range(3)], "b": [Row(0, {"text": "q"})]}
    with pytest.raises(UserError) as error:
        to_examples(rows, {"a": "auto", "b": "alpaca"})
    assert str(error.value).splitlines() == [
        "no row of a, b can be used",
        "  3 x line … is not JSON",
        "  1 x the row has no instruction, only text",
    ]


def test_sources_without_rows():
    with pytest.raises(UserError, match=r"no row of a can be used\n  there are no rows"):
        to_examples({"a": []}, {"a": "auto"})


def test_the_id_is_the_hash_of_canonical_json():
    # sha256 of [{"content":"Wie groß?","role":"user"},{"content":"1 m","role":"assistant"}]
    assert content_id(turns("Wie groß?", "1 m")) == "697479ad566dff9d"
    assert content_id([dict(reversed(turn.items())) for turn in turns("Wie groß?", "1 m")]) == "697479ad566dff9d"


def test_of_equal_examples_the_clean_one_is_kept_then_the_first():
    kept, repeated = deduplicated(
        examples(("q", "a", "truncated"), ("p", "a", "clean"), ("q", "a", "clean"), ("p", "a", "clean"))
    )
    assert kept.select("source_index", "corruption").rows() == [(1, "clean"), (2, "clean")]
    assert kept["id"].to_list() == [content_id(turns("p", "a")), content_id(turns("q", "a"))]
    assert repeated.rows() == [
        ("s", 0, f"duplicate of {content_id(turns('q', 'a'))}"),
        ("s", 3, f"duplicate of {content_id(turns('p', 'a'))}"),
    ]


def test_ids_are_those_of_what_the_messages_are_now():
    before, _ = deduplicated(examples(("q", "a", "clean")))
    after, _ = deduplicated(before.with_columns(examples(("q", "b", "truncated"))["messages"]))
    assert after["id"].to_list() == [content_id(turns("q", "b"))]


def test_heldout_instructions_do_not_occur_in_the_pool():
    rows = [("same", str(n), "clean") for n in range(5)] + [(f"own {n}", "a", "clean") for n in range(5)]
    for seed in range(10):
        pool, heldout = split(examples(*rows), 3, seed)
        assert len(heldout) == 3
        assert sorted([*pool["source_index"], *heldout["source_index"]]) == list(range(10))
        assert set(heldout["source_index"]) <= {5, 6, 7, 8, 9}


def test_the_seed_decides_what_is_held_out():
    rows = examples(*[(f"own {n}", "a", "clean") for n in range(50)])
    assert split(rows, 5, 0)[1].equals(split(rows, 5, 0)[1])
    assert not split(rows, 5, 0)[1].equals(split(rows, 5, 1)[1])


@pytest.mark.parametrize(("rows", "heldout"), [([("q", "a"), ("q", "b"), ("p", "a")], 2), ([("q", "a")], 1)])
def test_too_many_held_out(rows, heldout):
    message = f"{heldout} examples are asked for, but the pool has {len(rows)} in all, of which 1 share"
    with pytest.raises(UserError, match=message):
        split(examples(*[(*row, "clean") for row in rows]), heldout, 0)


def test_rejected_rows_keep_the_beginning_of_what_was_read():
    rows = {
        "a": [Row(7, {"text": "ä"}), Row(8, '{"x', reason="line 9 is not JSON")],
        "b": [Row(7, {"text": "\ud800"}), Row(8, "x" * 3000, reason="line 9 is not JSON")],
    }
    rejected = pl.DataFrame({"source": ["a", "a", "b", "b"], "row": [8, 7, 7, 8], "reason": ["r"] * 4})
    content = with_content(rejected, rows)["content"].to_list()
    assert content == ['{"x', '{"text": "ä"}', '{"text": "?"}', "x" * 2000]


def test_a_source_that_changed_meanwhile_is_named():
    rejected = pl.DataFrame({"source": ["a", "a"], "row": [0, 3], "reason": ["r"] * 2})
    with pytest.raises(UserError, match="a, row 3 is not there when it is read a second time"):
        with_content(rejected, {"a": [Row(0, {"text": "q"})]})


def test_only_sources_with_rejected_rows_are_read_again():
    rejected = pl.DataFrame({"source": ["a"], "row": [0], "reason": ["r"]})
    unread = iter([Row(0, {})])
    assert with_content(rejected, {"a": [Row(0, {"text": "q"})], "b": unread})["content"].to_list() == ['{"text": "q"}']
    assert next(unread)


def test_reasons_differ_by_more_than_numbers():
    reasons = ["duplicate of 0123456789abcdef", "line 3 is not JSON", "duplicate of fedcba9876543210"]
    assert frequent_reasons(reasons, 5) == [("duplicate of …", 2), ("line … is not JSON", 1)]
