import threading

import polars as pl
import pytest
import torch
from given.models import random_model

from moesift.data.pool import MESSAGES
from moesift.errors import UserError
from moesift.models import checkpoints
from moesift.models.chat import encode
from moesift.scoring import losses, shards
from moesift.stages import run_pass
from moesift.stages.run_pass import ahead


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


def measured(folder, monkeypatch, model, quantities, count=1, first=1):
    found = []
    for shard in range(first, count + 1):
        words = ["--quantities", quantities, "--model", str(model), "--pool", str(folder / "pool.parquet")]
        words += ["--out", str(folder / f"{shard}-of-{count}.parquet"), "--shard", f"{shard}-of-{count}"]
        words += ["--threads", "1", "--token-budget", "200", "--max-length", "60"]
        monkeypatch.setattr("sys.argv", ["measure", *words])
        measure.main()
        found.append(pl.read_parquet(folder / f"{shard}-of-{count}.parquet"))
    return found


QUANTITIES = ["signals", "signals_all", "inputs", "usage", "nats", "nats_open", "nats_shut"]


def test_one_and_seven_shards_give_identical_numbers(tmp_path, monkeypatch, pool, epoch):
    monkeypatch.setattr(shards, "CHUNK", 5)  # six chunks: the seventh shard has nothing to do
    names = [f"epoch-0.{quantity}" for quantity in QUANTITIES]
    (whole,) = measured(tmp_path, monkeypatch, tmp_path, "+".join(names))
    parts = measured(tmp_path, monkeypatch, tmp_path, "+".join(names), count=7)
    assert whole.columns == ["id", "source", "n_tokens", *names]
    assert [part.height for part in parts] == [5] * 6 + [0]
    assert whole["id"].to_list() == pool["id"].to_list()
    files = [tmp_path / f"{shard}-of-7.parquet" for shard in range(1, 8)]
    assert pl.concat(shards.merged(files, tmp_path / "pool.parquet", 5)).equals(whole)
    for name in names:
        values = whole[name].drop_nulls()
        assert len(values) == 29
        assert values.n_unique() > 1


def test_what_is_measured_together_is_what_is_measured_alone(tmp_path, monkeypatch, selector, pool, epoch):
    """Epochs by turns in one model, and the gates of one quantity do not reach the next."""
    with torch.no_grad():
        for parameter in selector.trash_can.parameters().values():
            parameter.mul_(-2.0)
    checkpoints.save(selector, tmp_path / "epoch-1", previous=epoch, optimizer={})
    names = [f"epoch-{n}.{quantity}" for n in (1, 0) for quantity in ("nats_shut", "nats_open", "nats", "signals")]
    (together,) = measured(tmp_path, monkeypatch, tmp_path, "+".join(names))
    for name in names:
        (alone,) = measured(tmp_path, monkeypatch, tmp_path, name)
        assert together.select(alone.columns).equals(alone)
    assert together["epoch-0.signals"].to_list() != together["epoch-1.signals"].to_list()


def test_a_sketch_comes_from_the_pass_of_the_losses(tmp_path, monkeypatch, selector, pool, epoch):
    (found,) = measured(tmp_path, monkeypatch, epoch, "nats+nats_end+sketch")
    (losses,) = measured(tmp_path, monkeypatch, epoch, "nats+nats_end")
    assert found.select(losses.columns).equals(losses)
    for n_tokens, sketch in zip(found["n_tokens"], found["sketch"], strict=True):
        assert (sketch is None) == (n_tokens == 0)
        assert sketch is None or len(sketch) == 128


def test_an_example_cut_before_its_response_keeps_its_place(tmp_path, monkeypatch, pool, epoch):
    (found,) = measured(tmp_path, monkeypatch, tmp_path, "epoch-0.signals")
    assert found.row(1)[0] == "01"
    assert found.row(1)[2:] == (0, None)


@pytest.mark.parametrize("quantities", ["nats+nats_end", "epoch-0.signals+epoch-0.usage"])
def test_a_chunk_of_which_nothing_can_be_measured_has_its_rows(tmp_path, monkeypatch, pool, epoch, quantities):
    """The second example, cut before its response, is a chunk of its own."""
    monkeypatch.setattr(shards, "CHUNK", 1)
    (found,) = measured(tmp_path, monkeypatch, tmp_path if "epoch" in quantities else epoch, quantities)
    for name in quantities.split("+"):
        assert [value is None for value in found[name]] == [n == 1 for n in range(30)]


def test_the_last_token_is_measured_in_the_pass_of_all(tmp_path, monkeypatch, selector, pool, epoch):
    (found,) = measured(tmp_path, monkeypatch, epoch, "nats+nats_end+nats_alone")
    assert found.columns == ["id", "source", "n_tokens", "nats", "nats_end", "nats_alone"]
    (apart,) = measured(tmp_path, monkeypatch, epoch, "nats_alone+nats")
    assert found.select("nats", "nats_alone").equals(apart.select("nats", "nats_alone"))
    for messages, n_tokens, nats_end in zip(pool["messages"], found["n_tokens"], found["nats_end"], strict=True):
        if n_tokens == 0:
            assert nats_end is None
            continue
        (example,) = encode([messages.to_list()], selector.tokenizer, 60)
        with torch.no_grad():
            logits = random_model("Olmoe")(torch.tensor([example.ids])).logits[0, -2]
        assert nats_end == pytest.approx(-logits.log_softmax(-1)[example.ids[-1]].item(), abs=1e-5)


def test_all_tokens_are_a_choice_for_signals(tmp_path, monkeypatch, pool, epoch):
    (found,) = measured(tmp_path, monkeypatch, tmp_path, "epoch-0.signals+epoch-0.signals_all")
    assert found["epoch-0.signals"][0].to_list() != found["epoch-0.signals_all"][0].to_list()


def test_the_selector_itself_is_measured_without_trash_cans(tmp_path, monkeypatch, pool, epoch):
    """Plain transformers loads an epoch without its trash cans, and so does the stage when it is called a selector."""
    (plain,) = measured(tmp_path, monkeypatch, epoch, "nats+nats_alone")
    (held_open,) = measured(tmp_path, monkeypatch, tmp_path, "epoch-0.nats_open")
    (tokens,) = measured(tmp_path, monkeypatch, epoch, "tokens")
    assert plain["nats"].drop_nulls().to_list() == pytest.approx(held_open["epoch-0.nats_open"].drop_nulls().to_list())
    assert tokens.equals(plain.select("id", "source", "n_tokens"))
    assert plain["nats_alone"][0] != pytest.approx(plain["nats"][0])


@pytest.mark.parametrize("kind", [RuntimeError, UserError])
def test_what_fails_is_named_by_its_rows(tmp_path, monkeypatch, pool, epoch, kind):
    def fails(*_):
        raise kind("no room")

    monkeypatch.setattr(shards, "CHUNK", 5)
    monkeypatch.setattr(losses, "nats", fails)
    with pytest.raises(kind, match="no room") as caught:
        measured(tmp_path, monkeypatch, epoch, "nats", count=2, first=2)
    told = [str(caught.value), *getattr(caught.value, "__notes__", [])]
    assert f"rows 5 to 9 of {tmp_path / 'pool.parquet'} (ids 05 to 09)" in " ".join(told)


def test_of_what_fails_later_on_nothing_is_left(tmp_path, monkeypatch, pool, epoch):
    """Chunks are written as they come, yet the file is there whole or not at all."""
    chunks = []

    def fails(model, pad, examples, budget):
        chunks.append(len(list(tmp_path.glob(".1-of-1.parquet.*.part/1-of-1.parquet.*"))))
        if len(chunks) == 3:
            raise RuntimeError("no room")
        return [0.0] * len(examples)

    monkeypatch.setattr(shards, "CHUNK", 5)
    monkeypatch.setattr(losses, "nats", fails)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="no room"):
        measured(tmp_path, monkeypatch, epoch, "nats")
    assert chunks == [0, 1, 1]  # what has been measured is on disk before the next is
    assert sorted(tmp_path.iterdir()) == before


def test_a_response_without_an_end_has_one_token_less(tmp_path, monkeypatch, pool, epoch):
    (whole,) = measured(tmp_path, monkeypatch, epoch, "nats")
    pool.with_columns(finished=pl.lit(False)).write_parquet(tmp_path / "pool.parquet")
    (cut,) = measured(tmp_path, monkeypatch, epoch, "nats")
    both = whole.join(cut, on="id", suffix="_cut").filter(pl.col("n_tokens") > 0)
    assert (both["n_tokens"] - both["n_tokens_cut"]).unique().to_list() == [1]
    assert (both["nats"] > both["nats_cut"]).all()


def test_the_next_is_made_while_one_is_in_use():
    made = []
    at_work = threading.Event()

    def make(start):
        if start == 2:
            at_work.set()
        made.append(start)
        return start * 10

    found = []
    for start, coming in ahead(make, [1, 2, 3]):
        found.append((start, coming.result()))
        assert at_work.wait(timeout=10)  # 2 is begun while 1 is in use
    assert found == [(1, 10), (2, 20), (3, 30)]
    assert made == [1, 2, 3]
    assert list(ahead(make, [])) == []
