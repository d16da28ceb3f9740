"""Score the pool by one method, from the columns of the passes that it reads."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from moesift import flags
from moesift.data.scores import read_scores
from moesift.files import atomic_write, require_parquet
from moesift.methods import METHODS, N_TOKENS, REFUSED, Method, parameters_of
from moesift.passes.columns import EXTERNAL
from moesift.passes.stored import as_array, column_of
from moesift.report.health import findings, health
from moesift.select.table import score_table


def main(method: str, parameters: str, files: str, out: Path, seed: int) -> None:
    """Read passes, write the scores, best first.

    Args:
        method: one of the declared methods: {methods}.
        parameters: JSON object of the parameters of the method.
        files: JSON: the parquet of each pass that it reads by `pass/state`, the pool's by `pool/selector`; a file of
            scores by `external/selector`.
        out: parquet of the scores to write.
        seed: random seed, for methods that draw.
    """
    declared = METHODS[method]
    own = parameters_of(declared, json.loads(parameters))
    external, given = f"{EXTERNAL}/selector", json.loads(files)
    paths = {name: require_parquet(path) for name, path in given.items() if name != external}
    pool = pl.read_parquet(paths["pool/selector"], columns=["id", "source"])
    wanted = {"n_tokens": N_TOKENS, "refused": REFUSED, **declared.columns(own)}
    columns = {
        name: column_of(paths[f"{column.pass_name}/{column.state}"], column.name, pool["id"])
        for name, column in wanted.items()
        if column.pass_name != EXTERNAL
    }
    if external in given:
        examples = pl.read_parquet(paths["pool/selector"], columns=["id", "source", "source_index"])
        columns["score"] = read_scores(Path(given[external]), dict(own)["column"], examples)
    arguments = {name: as_array(columns[name]) for name in declared.columns(own)}
    more = dict(own) | ({"seed": seed} if declared.needs_seed else {})
    with np.errstate(divide="ignore", invalid="ignore"):  # what is no finite number gets no score
        scored = declared.compute(**arguments, **more)
    values, refused = scored if isinstance(scored, tuple) else (scored, {})
    for returned in (values, *refused.values()):
        if np.shape(returned) != (pool.height,):
            raise TypeError(f"{method} returns {np.shape(returned)} instead of one number an example, ({pool.height},)")
    tokens = {name: columns[name] for name in ("n_tokens", "refused")}
    table = score_table(pool.with_columns(**tokens), values, refused)
    with atomic_write(out) as part:
        table.write_parquet(part)
    print(f"{table.height} examples scored by {method}")
    say(table, declared)


def say(table: pl.DataFrame, declared: Method) -> None:
    """Print why examples have no score, and what is odd about the scores."""
    for reason, count in table["reason"].drop_nulls().value_counts(sort=True).iter_rows():
        print(f"{count} without a score: {reason}")
    for finding in findings(health(table)) if declared.measures else []:
        print(f"{declared.name}: look at this: {finding}")


main.__doc__ = (main.__doc__ or "").replace("{methods}", ", ".join(METHODS))


if __name__ == "__main__":
    flags.run(main)
