import polars as pl

from moesift.data.blocks import write_blocks


def test_blocks_come_back_as_one_frame(tmp_path):
    frame = pl.DataFrame({"id": ["a", "b", "c"], "layers": [[1.0], None, [2.0, 3.0]], "n": [1, None, 3]})
    write_blocks(iter([frame[:1], frame[1:], frame[:0]]), tmp_path / "all.parquet")
    assert pl.read_parquet(tmp_path / "all.parquet").equals(frame)
    write_blocks(iter([frame[:0]]), tmp_path / "none.parquet")
    assert pl.read_parquet(tmp_path / "none.parquet").schema == frame.schema
