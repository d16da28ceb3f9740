import polars as pl
import pytest

from moesift.data.pool import MESSAGES
from moesift.models import checkpoints
from moesift.scoring import measuring
from moesift.scoring.shards import merged
from moesift.stages import measure


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


def measured(folder, monkeypatch, quantity, *model, shards=1, tokens="response"):
    found = []
    for shard in range(1, shards + 1):
        words = ["--quantity", quantity, *map(str, model), "--pool", str(folder / "pool.parquet")]
        words += ["--out", str(folder / "out.parquet"), "--shard", str(shard), "--shards", str(shards)]
        words += ["--threads", "1", "--token-budget", "200", "--max-length", "60", "--tokens", tokens]
        monkeypatch.setattr("sys.argv", ["measure", *words])
        measure.main()
        found.append(pl.read_parquet(folder / "out.parquet"))
    return found


@pytest.mark.parametrize("quantity", ["signals", "inputs", "usage", "nats", "nats_open", "nats_shut"])
def test_one_and_seven_shards_give_identical_numbers(tmp_path, monkeypatch, pool, epoch, quantity):
    monkeypatch.setattr(measuring, "CHUNK", 5)  # six chunks: the seventh shard has nothing to do
    (whole,) = measured(tmp_path, monkeypatch, quantity, "--epoch", epoch)
    parts = measured(tmp_path, monkeypatch, quantity, "--epoch", epoch, shards=7)
    assert [part.height for part in parts] == [5] * 6 + [0]
    assert whole["id"].to_list() == pool["id"].to_list()
    assert merged(parts, pool["id"]).equals(whole)
    values = whole[quantity].drop_nulls()
    assert len(values) == 29
    assert values.n_unique() > 1


def test_an_example_cut_before_its_response_keeps_its_place(tmp_path, monkeypatch, pool, epoch):
    (found,) = measured(tmp_path, monkeypatch, "signals", "--epoch", epoch)
    assert found.row(1)[0] == "01"
    assert found.row(1)[2:] == (0, None)


def test_all_tokens_are_a_choice_for_signals(tmp_path, monkeypatch, pool, epoch):
    (response,) = measured(tmp_path, monkeypatch, "signals", "--epoch", epoch)
    (everything,) = measured(tmp_path, monkeypatch, "signals", "--epoch", epoch, tokens="all")
    assert (everything["n_tokens"] > response["n_tokens"]).sum() == 29
    assert everything["signals"][0].to_list() != response["signals"][0].to_list()


def test_the_selector_itself_is_measured_without_trash_cans(tmp_path, monkeypatch, pool, epoch):
    """Plain transformers loads an epoch without its trash cans, and so does the stage when it is called a selector."""
    (plain,) = measured(tmp_path, monkeypatch, "nats", "--selector", epoch)
    (held_open,) = measured(tmp_path, monkeypatch, "nats_open", "--epoch", epoch)
    (alone,) = measured(tmp_path, monkeypatch, "nats_alone", "--selector", epoch)
    (tokens,) = measured(tmp_path, monkeypatch, "tokens", "--selector", epoch)
    assert plain["nats"].drop_nulls().to_list() == pytest.approx(held_open["nats_open"].drop_nulls().to_list())
    assert alone["n_tokens"].to_list() == plain["n_tokens"].to_list() == tokens["n_tokens"].to_list()
    assert alone["nats_alone"][0] != pytest.approx(plain["nats"][0])
    assert tokens["tokens"].to_list() == [None if n == 0 else n for n in tokens["n_tokens"]]


def test_a_response_without_an_end_has_one_token_less(tmp_path, monkeypatch, pool, epoch):
    (whole,) = measured(tmp_path, monkeypatch, "nats", "--epoch", epoch)
    pool.with_columns(finished=pl.lit(False)).write_parquet(tmp_path / "pool.parquet")
    (cut,) = measured(tmp_path, monkeypatch, "nats", "--epoch", epoch)
    both = whole.join(cut, on="id", suffix="_cut").filter(pl.col("n_tokens") > 0)
    assert (both["n_tokens"] - both["n_tokens_cut"]).unique().to_list() == [1]
    assert (both["nats"] > both["nats_cut"]).all()
