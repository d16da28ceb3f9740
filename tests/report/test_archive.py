import subprocess
import zipfile

import pytest
from moesift.report.archive import pack


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(bytes(range(256)) * 100)
    return path


def test_it_is_checked_with_sha256sum(tmp_path, table):
    pack(tmp_path / "small.zip", "small", {"eval/a b.parquet": table, "README.md": b"# small\n"})
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["small/README.md", "small/eval/a b.parquet", "small/SHA256SUMS"]
        archive.extractall(tmp_path / "there")
    check = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path / "there/small", capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["README.md: OK", "eval/a b.parquet: OK"]
    (tmp_path / "there/small/eval/a b.parquet").write_bytes(b"other")
    assert subprocess.run(check, cwd=tmp_path / "there/small", capture_output=True).returncode == 1


def test_the_same_files_make_the_same_bytes(tmp_path, table):
    pack(tmp_path / "one.zip", "small", {"b": table, "a": b"1"})
    table.touch()
    pack(tmp_path / "two.zip", "small", {"a": b"1", "b": table})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_an_archive_that_failed_is_not_there(tmp_path):
    (tmp_path / "small.zip").write_bytes(b"the one before")
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "small.zip", "small", {"a": b"1", "b": tmp_path / "gone"})
    assert (tmp_path / "small.zip").read_bytes() == b"the one before"
