import json
import threading

import polars as pl
import pytest

from moesift.data.pool import MESSAGES
from moesift.errors import UserError
from moesift.models import checkpoints
from moesift.models.templates import PLAIN_TEMPLATE
from moesift.passes import gates, likelihood, shards
from moesift.passes.columns import PASSES, UNREAD, schema
from moesift.passes.shards import merged
from moesift.stages import merge_pass, run_pass

PASS_NAMES = sorted({*PASSES} - {*UNREAD, "gradients", "reward"})  # which read a checkpoint and a classifier


@pytest.fixture
def pool(tmp_path, conversations):
    """30 examples; in the second, the instruction alone is longer than data.max_length."""
    long = [{"role": "user", "content": "the cat " * 60}, {"role": "assistant", "content": "no"}]
    turns = [conversations[0], long, *(conversations[n % 6] for n in range(28))]
    frame = pl.DataFrame(
        {"id": [f"{n:02}" for n in range(30)], "source": ["a", "b"] * 15, "messages": turns, "finished": [True] * 30},
        schema_overrides={"messages": MESSAGES},
    )
    frame.write_parquet(tmp_path / "pool.parquet")
    return frame


@pytest.fixture
def epoch(tmp_path, selector):
    checkpoints.save(selector, tmp_path / "epoch-0", previous=None, optimizer={})
    return tmp_path / "epoch-0"


def read(folder, model, pass_name, number=1, of=1, is_epoch=True):
    out = folder / "shards" / f"{number}-of-{of}.parquet"
    run_pass.main(
        pass_name=pass_name,
        model=str(model),
        is_epoch=is_epoch,
        pool=folder / "pool.parquet",
        out=out,
        shard=f"{number}-of-{of}",
        max_length=60,
        threads=1,
        token_budget=200,
    )
    return pl.read_parquet(out)


@pytest.mark.parametrize("pass_name", PASS_NAMES)
def test_one_and_seven_shards_give_identical_numbers(tmp_path, monkeypatch, pool, epoch, pass_name):
    monkeypatch.setattr(shards, "FEWEST", 5)  # six chunks: the seventh shard has nothing to do
    whole = read(tmp_path, epoch, pass_name)
    parts = [read(tmp_path, epoch, pass_name, number, of=7) for number in range(1, 8)]
    assert [part.height for part in parts] == [5] * 6 + [0]
    assert whole.schema == {"id": pl.String, **schema(pass_name)}
    assert whole["id"].to_list() == pool["id"].to_list()
    files = [tmp_path / f"shards/{number}-of-7.parquet" for number in range(1, 8)]
    assert pl.concat(merged(files, tmp_path / "pool.parquet")).equals(whole)
    merge_pass.main(
        shards=tmp_path / "shards", number=7, pool=tmp_path / "pool.parquet", out=tmp_path / "merged.parquet"
    )
    assert pl.read_parquet(tmp_path / "merged.parquet").equals(whole)


@pytest.mark.parametrize("pass_name", PASS_NAMES)
def test_an_example_cut_before_its_response_keeps_its_place(tmp_path, monkeypatch, pool, epoch, pass_name):
    """Also where it is a chunk of its own, of which nothing can be read."""
    for chunk in (1024, 1):
        monkeypatch.setattr(shards, "FEWEST", chunk)
        values = read(tmp_path, epoch, pass_name)
        for name in PASSES[pass_name].keys() - {"refused"}:
            empty = [value == 0 if name == "n_tokens" else value is None for value in values[name]]
            assert empty == [n == 1 for n in range(30)]


@pytest.mark.parametrize("pass_name", PASS_NAMES)
def test_a_conversation_that_the_template_refuses_keeps_its_place(tmp_path, monkeypatch, pool, epoch, pass_name):
    """And changes nothing for the others, which may be of its chunk or not."""
    whole = read(tmp_path, epoch, pass_name)
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN_TEMPLATE
    (epoch / "chat_template.jinja").write_text(template)
    turns = pool["messages"].to_list()
    turns[5] = [{"role": "system", "content": "be brief"}, *turns[5]]
    pool.with_columns(messages=pl.Series(turns, dtype=MESSAGES)).write_parquet(tmp_path / "pool.parquet")
    for chunk in (1024, 1):
        monkeypatch.setattr(shards, "FEWEST", chunk)
        values = read(tmp_path, epoch, pass_name)
        assert values["id"].to_list() == whole["id"].to_list()
        found = dict(values.filter(id="05").drop("id").rows(named=True)[0])
        reason = found.pop("refused", "the chat template refuses the conversation: no system")
        assert reason == "the chat template refuses the conversation: no system"
        assert set(found.values()) <= {None, 0}
        for name in PASSES[pass_name]:
            ours, theirs = (frame.filter(pl.col("id") != "05")[name].explode() for frame in (values, whole))
            assert ours.to_list() == pytest.approx(theirs.to_list(), abs=1e-4, nan_ok=True)


def test_a_selector_is_read_without_trash_cans(tmp_path, pool, epoch):
    """Plain transformers loads an epoch without its trash cans, and so does a pass that is not told that it is one."""
    plain = read(tmp_path, epoch, "likelihood", is_epoch=False)["nll"].drop_nulls().to_list()
    learned = read(tmp_path, epoch, "likelihood")["nll"].drop_nulls().to_list()
    held_open = read(tmp_path, epoch, "gates")["nll_open"].drop_nulls().to_list()
    assert plain == pytest.approx(held_open)
    assert plain != pytest.approx(learned)


def test_a_pool_with_more_tokens_than_the_model_has_positions_is_refused(tmp_path, pool, epoch):
    config = epoch / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 8}))
    with pytest.raises(
        UserError, match=r"rows 0 to 29 of .*: data.max_length: an example has \d+ tokens, and .* has 8"
    ):
        read(tmp_path, epoch, "likelihood")
    assert read(tmp_path, epoch, "tokens", is_epoch=False)["n_tokens"].max() > 8  # which no model reads


@pytest.mark.parametrize("kind", [RuntimeError, UserError])
def test_what_fails_is_named_by_its_rows(tmp_path, monkeypatch, pool, epoch, kind):
    def fails(*_):
        raise kind("no room")

    monkeypatch.setattr(shards, "FEWEST", 5)
    monkeypatch.setattr(likelihood, "read", fails)
    with pytest.raises(kind, match="no room") as caught:
        read(tmp_path, epoch, "likelihood", number=2, of=2)
    message = [str(caught.value), *getattr(caught.value, "__notes__", [])]
    assert f"rows 5 to 9 of {tmp_path / 'pool.parquet'} (ids 05 to 09)" in " ".join(message)


def test_of_what_fails_later_on_nothing_is_left(tmp_path, monkeypatch, pool, epoch):
    """Chunks are written as they come, yet the file is there whole or not at all."""
    written = []

    def fails(reader, examples, budget):
        written.append(len(list(tmp_path.glob("shards/.1-of-1.parquet.*.part/1-of-1.parquet"))))
        if len(written) == 3:
            raise RuntimeError("no room")
        return dict.fromkeys(("nll_open", "nll_shut"), [0.0] * len(examples))

    monkeypatch.setattr(shards, "FEWEST", 5)
    monkeypatch.setattr(gates, "read", fails)
    with pytest.raises(RuntimeError, match="no room"):
        read(tmp_path, epoch, "gates")
    assert written == [0, 1, 1]  # what has been read is on disk before the next is
    assert not list((tmp_path / "shards").iterdir())


def test_a_response_without_an_end_has_one_token_less(tmp_path, pool, epoch):
    whole, whole_tokens = read(tmp_path, epoch, "likelihood"), read(tmp_path, epoch, "tokens")
    pool.with_columns(finished=pl.lit(False)).write_parquet(tmp_path / "pool.parquet")
    cut, cut_tokens = read(tmp_path, epoch, "likelihood"), read(tmp_path, epoch, "tokens")
    usable = whole_tokens["n_tokens"] > 0
    assert (whole_tokens["n_tokens"] - cut_tokens["n_tokens"]).filter(usable).unique().to_list() == [1]
    assert (whole["nll"] > cut["nll"]).drop_nulls().all()


def test_the_next_is_made_while_one_is_in_use():
    made = []
    at_work = threading.Event()

    def make(start):
        if start == 2:
            at_work.set()
        made.append(start)
        return start * 10

    found = []
    for start, coming in run_pass.prefetch(make, [1, 2, 3]):
        found.append((start, coming.result()))
        assert at_work.wait(timeout=10)  # 2 is begun while 1 is in use
    assert found == [(1, 10), (2, 20), (3, 30)]
    assert made == [1, 2, 3]
    assert list(run_pass.prefetch(make, [])) == []
