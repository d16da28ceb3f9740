"""Put an experiment into one zip that another person can check: settings, results, and what was kept, without texts."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import jinja2
import polars as pl
import yaml

from moesift import flags
from moesift.files import atomic_write
from moesift.provenance import commit, machine, versions

KEPT = ["id", "rank", "score", "source", "source_index"]
STAMP = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can say: the same content makes the same bytes


def main(
    results: Path, selections: list[flags.Parquet], files: list[Path], tables: Path, config: str, out: Path
) -> None:
    """Read the results, write the zip.

    Args:
        results: folder of the experiment.
        selections: parquet, of which texts stay behind.
        files: what goes in as it is.
        tables: folder of the report's tables.
        config: the configuration as JSON.
        out: zip to write.
    """
    configured = json.loads(config)
    packed = {str(path.relative_to(results)): path.read_bytes() for path in [*files, *tables.iterdir()]}
    for path in selections:
        pl.read_parquet(path, columns=KEPT).write_parquet(written := io.BytesIO())
        packed[str(path.relative_to(results))] = written.getvalue()
    made_from = {"commit": commit(), "machine": machine(), "versions": versions()}
    template = resources.files("moesift.report").joinpath("template/archive.md.j2").read_text()
    packed["README.md"] = jinja2.Template(template).render(configured, **made_from).encode()
    packed["made_from.json"] = (json.dumps(made_from, indent=2) + "\n").encode()
    packed["configuration.yaml"] = yaml.safe_dump(configured, sort_keys=False, allow_unicode=True).encode()
    pack(out, configured["experiment"], packed)
    print(f"{out}: {len(packed)} files, {out.stat().st_size / 2**20:.1f} MiB")


def pack(out: Path, folder: str, contents: Mapping[str, bytes]) -> None:
    """Write a zip of files, by their paths in a folder, with their checksums: the same bytes for the same files."""
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items())]
    with atomic_write(out) as part, zipfile.ZipFile(part, "w") as archive:
        for name, content in [*sorted(contents.items()), ("SHA256SUMS", "".join(sums).encode())]:
            entry = zipfile.ZipInfo(f"{folder}/{name}", STAMP)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # a plain file of Unix, wherever it was written
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    flags.run(main)
