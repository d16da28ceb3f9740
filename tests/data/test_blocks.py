import polars as pl

from moesift.data.blocks import blocks_of, side_by_side, write_blocks


def test_blocks_come_back_as_one_frame(tmp_path):
    frame = pl.DataFrame({"id": ["a", "b", "c"], "layers": [[1.0], None, [2.0, 3.0]], "n": [1, None, 3]})
    write_blocks(iter([frame[:1], frame[1:], frame[:0]]), tmp_path / "all.parquet")
    assert pl.read_parquet(tmp_path / "all.parquet").equals(frame)
    write_blocks(iter([frame[:0]]), tmp_path / "none.parquet")
    assert pl.read_parquet(tmp_path / "none.parquet").schema == frame.schema


def test_a_frame_goes_in_blocks_that_are_its_rows(tmp_path):
    frame = pl.DataFrame({"turns": [[{"role": "user"}], [], None, [{"role": "a"}, {"role": "b"}]], "n": [1, 2, 3, 4]})
    blocks = list(blocks_of(frame.filter(pl.col("n") > 1), 2))
    assert [block.height for block in blocks] == [2, 1]
    assert pl.concat(blocks).equals(frame[1:])
    (none,) = blocks_of(frame[:0], 2)
    assert none.schema == frame.schema
    write_blocks(blocks_of(frame, 3), tmp_path / "all.parquet")
    assert pl.read_parquet(tmp_path / "all.parquet").equals(frame)


def test_files_of_the_same_rows_are_put_side_by_side(tmp_path):
    frame = pl.DataFrame({"id": ["a", "b", "c"], "layers": [[1.0], None, [2.0, 3.0]], "n": [1, None, 3]})
    for name, columns in (("one", ["id", "n"]), ("two", ["layers"])):
        write_blocks(iter([frame[:2].select(columns), frame[2:].select(columns)]), tmp_path / name)
        write_blocks(iter([frame[:0].select(columns)]), tmp_path / f"none of {name}")
    blocks = list(side_by_side([tmp_path / "one", tmp_path / "two"]))
    assert [block.height for block in blocks] == [2, 1]
    assert pl.concat(blocks).equals(frame.select("id", "n", "layers"))
    (none,) = side_by_side([tmp_path / "none of one", tmp_path / "none of two"])
    assert none.schema == frame.select("id", "n", "layers").schema
