import numpy as np
import polars as pl

from moesift.data.blocks import blocks_of, rows_of, write_blocks

FRAME = pl.DataFrame({"turns": [[{"role": "user"}], [], None, [{"role": "a"}, {"role": "b"}]], "n": [1, None, 3, 4]})


def test_blocks_are_read_back_as_one_frame(tmp_path):
    write_blocks(iter([FRAME[:1], FRAME[1:], FRAME[:0]]), tmp_path / "all.parquet")
    assert pl.read_parquet(tmp_path / "all.parquet").equals(FRAME)
    write_blocks(iter([FRAME[:0]]), tmp_path / "none.parquet")
    assert pl.read_parquet(tmp_path / "none.parquet").schema == FRAME.schema


def test_a_frame_is_cut_into_blocks_of_its_rows():
    blocks = list(blocks_of(FRAME[1:], 2))
    assert [block.height for block in blocks] == [2, 1]
    assert pl.concat(blocks).equals(FRAME[1:])
    (none,) = blocks_of(FRAME[:0], 2)
    assert none.schema == FRAME.schema


def test_wanted_rows_come_in_blocks_and_at_least_one(tmp_path):
    write_blocks(
        iter([pl.DataFrame({"n": [0, 1]}), pl.DataFrame({"n": [2, 3]}), pl.DataFrame({"n": [4]})]), tmp_path / "n"
    )

    def found(*places, rows=2):
        wanted = np.isin(np.arange(5), places)
        return [block["n"].to_list() for block in rows_of(tmp_path / "n", wanted, rows)]

    assert found() == [[]]
    assert found(4) == [[4]]
    assert found(0, 3) == [[0, 3]]
    assert found(0, 2, 3, 4) == [[0, 2, 3], [4]]
    assert found(0, 1, 2, 3, 4, rows=5) == [[0, 1, 2, 3, 4]]
