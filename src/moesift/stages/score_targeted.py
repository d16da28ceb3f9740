"""Compare the pool with the queries of the targets by one method: the order in which these take its examples."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from moesift import flags
from moesift.data.pool import concatenated
from moesift.data.targets import spaced
from moesift.errors import UserError
from moesift.files import atomic_write, require_parquet
from moesift.methods import METHODS, N_TOKENS, REFUSED, Column, parameters_of
from moesift.passes.columns import POOL
from moesift.passes.stored import as_array, column_of
from moesift.select.targeted import assign, order_table
from moesift.stages.score import say

ROWS = 8192  # of the pool that are in memory at once


class Columns:
    """The columns of some examples by name, each read when it is asked for: a method may use few of a wide pass."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = functools.cache(read)

    def __getitem__(self, name: str) -> Any:
        return self.read(name)


class Pool:
    """The columns of the pool that a method reads, in blocks, from the start whenever it is iterated."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        files: Mapping[str, Any],
        ids: pl.Series,
        queries: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self.columns, self.files, self.ids, self.device = columns, files, ids, device
        self.widths = {name: one.shape[1] for name, one in queries.items() if getattr(one, "ndim", 0) == 2}

    def __iter__(self) -> Iterator[Columns]:
        for start in range(0, len(self.ids), ROWS):
            ids = self.ids.slice(start, ROWS)
            yield Columns(lambda name, ids=ids, start=start: self._values(name, ids, start))

    def _values(self, name: str, ids: pl.Series, start: int) -> Any:
        column = self.columns[name]
        given = self.files[f"{column.pass_name}/{column.state}"]
        files = given if isinstance(given, list) else [given]
        read = (column_of(require_parquet(file), column.name, ids, start) for file in files)
        parts = [values_of(one, self.device, self.widths.get(name)) for one in read]
        return torch.stack(parts, dim=1) if isinstance(given, list) else parts[0]


def main(
    method: str,
    parameters: str,
    files: str,
    queries: str,
    out: Path,
    seed: int,
    threads: int,
    most: int | None = None,
) -> None:
    """Read passes over the pool and the queries, write the scores in the order of the selection.

    Args:
        method: one of the declared methods that are targeted.
        parameters: JSON object of the parameters of the method.
        files: JSON: the parquet of each pass over the pool by `pass/state`; of a state on a target a list.
        queries: JSON: by the name of each target the same of its queries.
        out: parquet of the scores to write, with the target and the query that brought each example.
        seed: random seed, for methods that draw.
        threads: CPU threads.
        most: queries of each target that are compared with; without it all.
    """
    torch.set_num_threads(threads)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    declared = METHODS[method]
    own = parameters_of(declared, json.loads(parameters))
    paths, by_target = json.loads(files), json.loads(queries)
    examples = pl.read_parquet(require_parquet(paths[f"{POOL}/selector"]), columns=["id", "source"])
    tokens = {
        column.name: column_of(require_parquet(paths["tokens/selector"]), column.name, examples["id"])
        for column in (N_TOKENS, REFUSED)
    }
    owners, ids, asked = queries_of(by_target, declared.query_columns(own), device, most)

    more: dict[str, Any] = dict(own) | ({"seed": seed} if declared.needs_seed else {})
    pool = Pool(declared.columns(own), paths, examples["id"], asked, device)
    without = ((tokens["n_tokens"] == 0) | tokens["refused"].is_not_null()).to_torch().to(device)  # (N,)
    # Of equally similar ones the id decides.
    ranks = examples["id"].arg_sort().arg_sort().cast(pl.Int64).to_numpy(writable=True)

    columns = np.arange(len(by_target)) if declared.by_target else owners.numpy(force=True)
    aggregate = more.pop("aggregate", None)  # a method by target has none

    def similarities() -> Iterator[torch.Tensor]:
        rows = 0
        for block in map(torch.as_tensor, declared.compute(pool, {**asked, "target": owners}, **more)):
            if block.ndim != 2 or block.shape[1] != len(columns):
                expected = f"a column for each {'target' if declared.by_target else 'query'}, (B, {len(columns)})"
                raise TypeError(
                    f"{method} yields {tuple(block.shape)} instead of a row for each example and {expected}"
                )
            yield block.to(device).masked_fill(without[rows : rows + len(block), None], torch.nan)
            rows += len(block)
        if rows != examples.height:
            raise TypeError(f"{method} yields {rows} rows in all, of {examples.height} examples")

    with torch.inference_mode():
        found = assign(similarities, columns, aggregate, ranks)
    if not len(found.rows):
        raise UserError(f"{method}: no example of the pool, or no query, has what it compares")
    if len(found.rows) >= len(by_target) and (nothing := set(range(len(by_target))) - set(found.targets.tolist())):
        names = ", ".join(name for number, name in enumerate(by_target) if number in nothing)
        raise UserError(f"targets: {names}: {method} finds no example for it; look at its queries")
    table = order_table(examples.with_columns(**tokens), found, list(by_target), ids)
    with atomic_write(out) as part:
        table.write_parquet(part)
    print(f"{table.height} examples compared with {len(ids)} queries of {', '.join(by_target)} by {method}")
    say(table, declared)


def queries_of(
    by_target: Mapping[str, Mapping[str, str]],
    columns: Mapping[str, Column],
    device: torch.device,
    most: int | None,
) -> tuple[torch.Tensor, list[str], dict[str, Any]]:
    """Return the number of the target of each query, (V,), the queries' ids, and their columns; `most` of a target.

    Queries without a response token within `data.max_length`, which passes give nothing of, are left out.

    Raises:
        UserError: a target has no other.
    """
    owners, ids, parts = [], [], []
    for number, (name, files) in enumerate(by_target.items()):
        own = pl.read_parquet(require_parquet(files[f"{POOL}/selector"]), columns=["id"])["id"]
        own_columns = {
            column_name: column_of(require_parquet(files[f"{column.pass_name}/{column.state}"]), column.name, own)
            for column_name, column in columns.items()
        }
        chosen = pl.DataFrame({"id": own} | own_columns)[spaced(len(own), most)]
        usable = chosen.drop_nulls(list(own_columns))
        if usable.is_empty():
            raise UserError(f"targets: {name}: no query has a response token within data.max_length")
        if usable.height < chosen.height:
            print(f"{name}: {chosen.height - usable.height} of {chosen.height} queries left out, without a response")
        parts.append(usable.drop("id"))
        ids += usable["id"].to_list()
        owners += [number] * usable.height
    together = concatenated(parts)
    return torch.tensor(owners, device=device), ids, {name: values_of(together[name], device) for name in columns}


def values_of(column: pl.Series, device: torch.device, width: int | None = None) -> Any:
    """Return a column as a tensor of float32, see `as_array`; of texts and conversations a list."""
    kind = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
    if not kind.is_numeric():
        return column.to_list()
    return torch.tensor(as_array(column, width), dtype=torch.float32, device=device)


if __name__ == "__main__":
    flags.run(main)
