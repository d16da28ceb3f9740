"""Put an experiment into one zip that another person can check: settings, results, and what was kept, without texts."""

import argparse
import io
import json
from importlib.resources import files
from pathlib import Path

import jinja2
import polars as pl
import yaml

from moesift.errors import run
from moesift.files import parquet
from moesift.provenance import commit, machine, versions
from moesift.report.archive import pack

KEPT = ["id", "rank", "score", "source", "source_index"]


def main() -> None:
    """Read the results, write the zip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="the folder of the experiment")
    parser.add_argument(
        "--selections", type=parquet, nargs="+", required=True, help="parquet, of which texts stay behind"
    )
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="what goes in as it is")
    parser.add_argument("--config", type=json.loads, required=True, help="the configuration as JSON")
    parser.add_argument("--out", type=Path, required=True, help="zip to write")
    args = parser.parse_args()

    packed = {str(path.relative_to(args.results)): path for path in args.files}
    packed |= {str(path.relative_to(args.results)): without_texts(path) for path in args.selections}
    made_from = {"commit": commit(), "machine": machine(), "versions": versions()}
    packed["made_from.json"] = (json.dumps(made_from, indent=2) + "\n").encode()
    packed["configuration.yaml"] = yaml.safe_dump(args.config, sort_keys=False, allow_unicode=True).encode()
    template = jinja2.Template(
        files("moesift.report").joinpath("template/archive.md.j2").read_text(), keep_trailing_newline=True
    )
    packed["README.md"] = template.render(experiment=args.config["experiment"], **made_from).encode()
    pack(args.out, args.config["experiment"], packed)
    print(f"{args.out}: {len(packed)} files, {args.out.stat().st_size / 2**20:.1f} MiB")


def without_texts(selection: Path) -> bytes:
    """Return a selection without its messages, as parquet."""
    written = io.BytesIO()
    pl.read_parquet(selection, columns=KEPT).write_parquet(written)
    return written.getvalue()


if __name__ == "__main__":
    run(main)
