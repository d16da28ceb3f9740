import polars as pl
import pytest

from moesift.errors import UserError
from moesift.passes import shards
from moesift.passes.shards import merged

POOL = [f"{number:02}" for number in range(11)]
# Of chunks of two, by turns: 00 01 to the first, 02 03 to the second, 04 05 to the third, 06 07 to the first, ...
THREE = [["00", "01", "06", "07"], ["02", "03", "08", "09"], ["04", "05", "10"]]


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch):
    monkeypatch.setattr(shards, "FEWEST", 2)


def put_together(folder, parts, pool=POOL, block=1):
    """Write the shards and the pool, and merge chunks of two."""
    paths = []
    for number, ids in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        pl.DataFrame(
            {"id": ids, "nats": [float(id) for id in ids]}, {"id": pl.String, "nats": pl.Float64}
        ).write_parquet(paths[-1])
    pl.DataFrame({"id": pool}).write_parquet(folder / "pool.parquet")
    return list(merged(paths, folder / "pool.parquet", block=block))


def test_the_order_is_that_of_the_pool_whatever_the_blocks(tmp_path):
    rows = [(id, float(id)) for id in POOL]
    for block in (1, 6, 12, 100):
        blocks = put_together(tmp_path, THREE, block=block)
        assert [row for block in blocks for row in block.rows()] == rows
    assert len(put_together(tmp_path, THREE, block=6)) == 2
    (whole,) = put_together(tmp_path, [POOL, [], []][:1], block=100)
    assert whole.rows() == rows


def test_long_rows_make_small_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BYTES", 1)
    blocks = put_together(tmp_path, THREE, block=100)
    assert [len(block) for block in blocks] == [6, 5]


def test_a_shard_may_have_had_nothing_to_do(tmp_path):
    (found,) = put_together(tmp_path, [["00", "01"], ["02"], []], ["00", "01", "02"], block=100)
    assert found["id"].to_list() == ["00", "01", "02"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([*THREE[:2], ["04", "05"]], r"1 ids are missing: \['10'\]"),
        ([*THREE[:2], ["04", "05", "10", "10"]], r"1 ids are there more than once: \['10'\]"),
        ([*THREE[:2], ["04", "05", "10", "99"]], r"1 ids are not in the pool: \['99'\]"),
        ([THREE[0], THREE[2], THREE[1]], r"they are not in its order; were they made by as many shards\?"),
    ],
)
def test_shards_that_are_not_the_pool_are_refused(tmp_path, parts, message):
    for block in (1, 100):
        with pytest.raises(UserError, match=message):
            put_together(tmp_path, parts, block=block)


def test_larger_pools_are_cut_into_larger_chunks(monkeypatch):
    monkeypatch.undo()
    sizes = [0, 1_000, 65_536, 131_072, 524_288, 50_000_000]
    assert [shards.chunk_of(size) for size in sizes] == [1024, 1024, 1024, 2048, 8192, 8192]
