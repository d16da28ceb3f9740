"""What an epoch of the warm-up trains on; test_resume runs the stage."""

import polars as pl
import pytest

from moesift.config import Warmup
from moesift.errors import UserError
from moesift.models.chat import encode
from moesift.stages.warmup_epoch import samples_of, warmup_rows
from moesift.training.warmup import Pair


@pytest.fixture
def rows(conversations) -> pl.DataFrame:
    columns = {"id": list("abcdef"), "source": list("xyxyxy"), "messages": conversations, "finished": [True] * 6}
    return pl.DataFrame(columns).with_columns(choices=pl.lit(None, pl.List(pl.String)))


def test_rows_are_in_the_order_of_their_draw(rows, tmp_path):
    rows.write_parquet(tmp_path / "pool.parquet")
    drawn = pl.DataFrame({"id": list("abcdef"), "place": [None, 2, None, 0, 1, None]})
    drawn.write_parquet(tmp_path / "examples.parquet")
    found = warmup_rows(tmp_path / "pool.parquet", tmp_path / "examples.parquet")
    assert found["id"].to_list() == ["d", "e", "b"]
    assert found["messages"].to_list() == rows["messages"].gather([3, 4, 1]).to_list()


def test_examples_without_a_response_in_reach_are_left_out(rows, tokenizer, conversations):
    starts = [example.response.index(True) for example in encode(conversations, tokenizer, 500)]
    assert starts == sorted(starts)
    samples = samples_of(rows, tokenizer, starts[2] + 1, Warmup.model_construct(objective="budget"), "0-1")
    assert list(samples) == ["a", "b", "c"]
    assert samples["c"].predicted == 1


def test_pairs_have_the_example_and_a_negative_that_changes_from_epoch_to_epoch(rows, tokenizer, conversations):
    warmup = Warmup.model_construct(objective="contrastive", negatives=["swapped_response"])
    first, again, second = (samples_of(rows, tokenizer, 500, warmup, seed) for seed in ("0-1", "0-1", "0-2"))
    assert list(first) == list("abcdef")
    assert first == again != second
    for pair, example in zip(first.values(), encode(conversations, tokenizer, 500), strict=True):
        assert isinstance(pair, Pair)
        assert pair.example == example != pair.negative
    with pytest.raises(UserError, match=r"warmup.negatives: wrong_number apply to no example of the pool"):
        samples_of(
            rows, tokenizer, 500, Warmup.model_construct(objective="contrastive", negatives=["wrong_number"]), "0"
        )
