import polars as pl
import pytest

from moesift.data.blocks import blocks_of, write_blocks
from moesift.errors import UserError
from moesift.passes import shards
from moesift.passes.shards import merged

POOL = [f"{number:02}" for number in range(11)]
# Of chunks of two, by turns: 00 01 to the first, 02 03 to the second, 04 05 to the third, 06 07 to the first, ...
THREE = [["00", "01", "06", "07"], ["02", "03", "08", "09"], ["04", "05", "10"]]


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch):
    monkeypatch.setattr(shards, "FEWEST", 2)


def put_together(folder, parts, pool=POOL):
    """Write the shards and the pool, and merge chunks of two."""
    paths = []
    for number, ids in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        frame = pl.DataFrame({"id": ids, "nats": map(float, ids)}, {"id": pl.String, "nats": pl.Float64})
        write_blocks(blocks_of(frame, 2), paths[-1])
    pl.DataFrame({"id": pool}).write_parquet(folder / "pool.parquet")
    return list(merged(paths, folder / "pool.parquet"))


@pytest.mark.parametrize("parts", [THREE, [POOL]], ids=["three", "one"])
def test_the_order_is_that_of_the_pool(tmp_path, parts):
    chunks = put_together(tmp_path, parts)
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 2, 2, 1]
    assert pl.concat(chunks).rows() == [(id, float(id)) for id in POOL]


def test_a_shard_may_have_had_nothing_to_do(tmp_path):
    chunks = put_together(tmp_path, [["00", "01"], ["02"], []], ["00", "01", "02"])
    assert pl.concat(chunks)["id"].to_list() == ["00", "01", "02"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([*THREE[:2], ["04", "05"]], "2.parquet: has other examples than rows 10 to 10 of .*pool.parquet"),
        ([*THREE[:2], ["04", "05", "10", "10"]], "2.parquet: has other examples than rows 10 to 10"),
        ([*THREE[:2], ["04", "05", "99"]], "2.parquet: has other examples than rows 10 to 10"),
        ([THREE[0], THREE[2], THREE[1]], "1.parquet: has other examples than rows 2 to 3"),
        ([[*THREE[0], "11"], *THREE[1:]], "the shards have more examples than the pool"),
    ],
)
def test_shards_that_are_not_the_pool_are_refused(tmp_path, parts, message):
    with pytest.raises(UserError, match=message):
        put_together(tmp_path, parts)


def test_larger_pools_are_cut_into_larger_chunks(monkeypatch):
    monkeypatch.undo()
    sizes = [0, 1_000, 65_536, 131_072, 524_288, 50_000_000]
    assert [shards.chunk_of(size) for size in sizes] == [1024, 1024, 1024, 2048, 8192, 8192]
