import gzip
import json
import zipfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moesift.config import Source
from moesift.data.rows import Row, SourceError
from moesift.data.sources import read_source, sample_source
from moesift.demo import wheel


def test_wheel_questions_carry_their_choices(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(wheel, "fetch", lambda _, cache: cache / "w.whl")
    monkeypatch.setattr(
        wheel, "questions", lambda *given: asked.append(given) or [wheel.Question("Is it?", ["yes", "no"], 1)]
    )
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "no"}]
    rows = read_source(Source(name="s", wheel="boolq"), 0, tmp_path)
    assert list(rows) == [Row(0, {"messages": turns}, ("yes", "no"))]
    assert asked == [(tmp_path / "w.whl", "boolq")]


def test_limit_draws_by_the_seed_and_keeps_the_order(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"a": {n}}}\n' for n in range(50)))

    def drawn(seed, limit):
        return [row.index for row in read_source(Source(name="s", path=str(path), limit=limit), seed, tmp_path)]

    assert len(set(drawn(0, 10))) == 10
    assert drawn(0, 10) == sorted(drawn(0, 10))
    assert drawn(0, 10) == drawn(0, 10) != drawn(1, 10)
    assert drawn(0, 99) == list(range(50))


@pytest.fixture
def on_hub(tmp_path, monkeypatch):
    """A data set folder; what `datasets` caches stays in the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    return folder


def test_hub_name_or_folder(on_hub, tmp_path):
    rows = read_source(Source(name="s", hub=str(on_hub)), 0, tmp_path)
    assert list(rows) == [Row(0, {"prompt": "a", "completion": "b"})]


def test_a_folder_of_the_same_name_is_never_taken_for_another(tmp_path):
    rows = []
    for number in range(2):
        folder = tmp_path / str(number) / "same"
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("---\nconfigs: [{config_name: one, data_files: train.jsonl}]\n---\n")
        (folder / "train.jsonl").write_text(json.dumps({"prompt": "a", "completion": str(number)}) + "\n")
        rows += read_source(Source(name="s", hub=str(folder)), 0, tmp_path)
    assert [row.content["completion"] for row in rows] == ["0", "1"]


ROWS = b'{"dataset": "dolly", "messages": []}\nnot JSON\n'


@pytest.fixture
def repository(tmp_path):
    """A data set that is one zip, as LESS's is."""
    folder = tmp_path / "less_data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("data/train/dolly/dolly_data.jsonl", ROWS)
        archive.writestr("data/train/not_dolly/dolly_data.jsonl", b"{}")
        archive.writestr("__MACOSX/data/train/dolly/._dolly_data.jsonl", b"resource fork")
        archive.writestr("data/train/cot/cot_data.jsonl.gz", gzip.compress(b'{"a": 1}'))
    (folder / "one.jsonl").write_bytes(ROWS)
    return folder


BOTH_ROWS = [
    Row(0, {"dataset": "dolly", "messages": []}),
    Row(1, "not JSON", reason="line 2 is not JSON: Expecting value: line 1 column 1 (char 0)"),
]


def test_one_file_of_a_repository_and_one_of_a_zip(repository, tmp_path):
    def rows(**file):
        return list(read_source(Source(name="s", hub=str(repository), **file), 0, tmp_path))

    assert rows(file="one.jsonl") == BOTH_ROWS
    assert rows(file="all.zip", member="dolly/dolly_data.jsonl") == BOTH_ROWS
    assert rows(file="all.zip", member="train/dolly/dolly_data.jsonl") == BOTH_ROWS
    assert rows(file="all.zip", member="cot_data.jsonl.gz") == [Row(0, {"a": 1})]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"file": "two.jsonl"}, r"less_data/two.jsonl cannot be read: .*No such file"),
        ({"file": "all.zip", "member": "oasst1.jsonl"}, r"all.zip: no files end in oasst1.jsonl, and it should be one"),
        ({"file": "all.zip", "member": "dolly_data.jsonl"}, r"all.zip: 2 files end in dolly_data.jsonl, .*not_dolly"),
        ({"file": "no.zip", "member": "a.jsonl"}, r"less_data/no.zip cannot be read as .zip: .*No such file"),
    ],
)
def test_what_is_not_in_a_repository_is_one_error(repository, tmp_path, file, message):
    with pytest.raises(SourceError, match=message):
        list(read_source(Source(name="s", hub=str(repository), **file), 0, tmp_path))


def test_a_broken_zip_is_one_error(repository, tmp_path):
    (repository / "all.zip").write_bytes(b"PK not a zip")
    with pytest.raises(SourceError, match=r"all.zip cannot be read as .zip: File is not a zip file"):
        list(read_source(Source(name="s", hub=str(repository), file="all.zip", member="a.jsonl"), 0, tmp_path))


def test_a_file_of_the_hub_is_downloaded_at_its_revision(repository, tmp_path, monkeypatch):
    asked = []

    def download(name, file, **which):
        asked.append((name, file, which))
        return str(repository / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    source = Source(name="s", hub="owner/less_data", file="one.jsonl", revision="abc123")
    assert list(read_source(source, 0, tmp_path)) == BOTH_ROWS
    assert asked == [("owner/less_data", "one.jsonl", {"repo_type": "dataset", "revision": "abc123"})]


def test_a_hub_out_of_reach_is_one_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(SourceError, match=r"owner/less_data: one.jsonl cannot be had from the hub: no route"):
        list(read_source(Source(name="s", hub="owner/less_data", file="one.jsonl"), 0, tmp_path))


def test_a_missing_split_is_one_error(on_hub, tmp_path):
    with pytest.raises(SourceError, match=r"set, split test, cannot be loaded .*Unknown split"):
        list(read_source(Source(name="s", hub=str(on_hub), split="test"), 0, tmp_path))


def sampled(path, most):
    return sample_source(Source(name="own", path=str(path)), most, path.parent)


def test_a_sample_of_lines_is_from_all_over_the_file(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text("".join(f'{{"number": {number:06}}}\n'.replace(": 0", ": 1") for number in range(5000)))
    rows, height = sampled(path, 50)
    numbers = [row.content["number"] for row in rows]
    assert height == 5000
    assert len(rows) in (49, 50)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 100000
    assert numbers[-1] > 104800


def test_a_sample_of_few_lines_is_all_of_them(tmp_path):
    path = tmp_path / "short.jsonl"
    path.write_text('{"a": 1}\nno JSON\n{"a": 3}\n')
    rows, height = sampled(path, 50)
    assert (len(rows), height) == (3, 3)
    assert [row.reason is None for row in rows] == [True, False, True]


def test_a_sample_of_a_parquet_is_from_all_its_row_groups(tmp_path):
    path = tmp_path / "groups.parquet"
    pl.DataFrame({"number": range(1000)}).write_parquet(path, row_group_size=50)
    rows, height = sampled(path, 40)
    assert height == 1000
    assert [row.content["number"] // 50 for row in rows[::5]] == [0, 2, 5, 7, 10, 12, 15, 17]


def test_a_sample_of_a_parquet_passes_over_groups_without_rows(tmp_path):
    path = tmp_path / "groups.parquet"
    rows = pa.table({"number": [1, 2, 3]})
    with pq.ParquetWriter(path, rows.schema) as writer:
        for table in (rows, rows[:0], rows[:2]):
            writer.write_table(table)
    found, height = sampled(path, 40)
    assert ([row.content["number"] for row in found], height) == ([1, 2, 3, 1, 2], 5)
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows[:0])
    with pytest.raises(SourceError, match="there are no rows in"):
        sampled(path, 40)


def test_a_byte_order_mark_is_no_part_of_a_sample(tmp_path):
    (tmp_path / "marked.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    rows, _ = sampled(tmp_path / "marked.jsonl", 5)
    assert [row.content for row in rows] == [{"a": 1}, {"a": 2}]


def test_a_sample_of_a_data_set_is_its_first_rows(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(f'{{"a": {number}}}\n' for number in range(9)))
    source = Source(name="hub", hub=str(tmp_path / "set"))
    rows, height = sample_source(source, 4, tmp_path)
    assert [row.content["a"] for row in rows] == [0, 1, 2, 3]
    assert height is None  # JSON lines do not say
    assert sample_source(source, 20, tmp_path)[1] == 9


def test_what_can_only_be_read_whole_is_counted(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text("[" + ",".join(f'{{"a": {number}}}' for number in range(10)) + "]")
    rows, height = sampled(path, 5)
    assert ([row.content["a"] for row in rows], height) == ([0, 2, 4, 6, 8], 10)


@pytest.mark.parametrize(
    ("name", "content"), [("empty.jsonl", b""), ("broken.parquet", b"PAR1"), ("absent.jsonl", None)]
)
def test_a_sample_of_what_cannot_be_read_is_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.touch()
    source = Source(name="own", path=str(path))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SourceError, match=name):
        sample_source(source, 5, tmp_path)
