"""Merge, score and select synthetic pools of any size, and print the seconds and the peak memory of each stage.

The chain of `merge`, `score` and `select, the best` takes turns with the plain code, which does the same in memory, and
both must keep the same examples.

python -m benchmarks.selection [--rows 1_000_000 50_000_000] [--shards 100] [--rounds 3] [--skip merge] [--out FILE]

What is written first is as large as the real thing but for the text, which is short: nothing reads it but for the few
examples that are kept. Each stage runs as the rule of the workflow runs it, in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks import record
from moesift.data.blocks import write_blocks
from moesift.data.pool import MESSAGES, ROW_GROUP
from moesift.passes.shards import CHUNK

SOURCES = [f"source_{number}" for number in range(7)]
RATIO = 0.05
OURS = "the three, a chain"
PLAIN = "plain, all of it"


def pool_blocks(rows: int, seed: int) -> Iterator[pl.DataFrame]:
    """Yield a pool of short examples, block by block: ids as hashes are, seven sources, all with the same text."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, ROW_GROUP):
        yield _pool_rows(rng, min(ROW_GROUP, rows - start))


def write_shards(folder: Path, shards: int, seed: int) -> None:
    """Write what `measure` would have: shard by shard every so many chunks of the pool, with losses."""
    rng = np.random.default_rng(seed)
    pool = pl.read_parquet(folder / "pool.parquet", columns=["id", "source"])
    for shard in range(shards):
        starts = np.arange(shard * CHUNK, pool.height, shards * CHUNK)
        rows = (starts[:, None] + np.arange(CHUNK)).ravel()
        part = pool[rows[rows < pool.height]]
        tokens = rng.integers(0, 400, part.height)  # one in 400 was cut before its response
        nats = np.where(tokens > 0, tokens * rng.lognormal(0.5, 0.5, part.height), np.nan)
        part = part.with_columns(n_tokens=pl.Series(tokens), nats=pl.Series(nats).fill_nan(None))
        part.write_parquet(folder / f"{shard + 1}-of-{shards}.parquet")


def write_scores(folder: Path, seed: int) -> None:
    """Write scores of the pool, best first as `score` does; one in 400 has none."""
    rng = np.random.default_rng(seed)
    pool = pl.scan_parquet(folder / "pool.parquet").select("id", pl.col("source").cast(pl.Categorical)).collect()
    values = np.sort(rng.standard_normal(pool.height))[::-1]
    unscored = pl.int_range(pl.len()) >= pool.height * 399 // 400
    pool.lazy().select(
        "id",
        pl.col("source").cast(pl.String),
        score=pl.when(~unscored).then(pl.Series(values)),
        n_tokens=pl.lit(100, pl.Int64),
        layer_scores=pl.lit(None, pl.List(pl.Float64)),
        reason=pl.when(unscored).then(pl.lit("no response token within data.max_length")),
    ).sink_parquet(folder / "scores.parquet")


class Took(NamedTuple):
    """What a stage took: seconds, seconds of processor time, and the most memory it held, in GB (1e9 bytes)."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


def took(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Took:
    """Run a command in a folder, and see what it takes.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return Took(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)


def run(module: str, *words: object) -> Took:
    """Run a module in a process of its own, and see what it takes."""
    return took([sys.executable, "-m", module, *map(str, words)], os.environ, Path.cwd())


def compared(folder: Path, shards: int, rounds: int) -> dict[str, list[Took]]:
    """Run the chain and the plain code by turns; return the rounds of each stage, of the chain and of the plain code.

    Raises:
        SystemExit: they do not keep the same examples.
    """
    write_shards(folder, shards, seed=1)
    merged, scores = folder / "nats.parquet", folder / "scores.parquet"
    times: dict[str, list[Took]] = {"merge": [], "score": [], "select, the best": [], OURS: [], PLAIN: []}
    for _ in range(rounds):
        words = ["--shards", folder, "--of", shards, "--pool", folder / "pool.parquet", "--out", merged]
        chain = {
            "merge": run("moesift.stages.merge_pass", *words),
            "score": run("moesift.stages.score", "nll", "--measured", merged, "nats", "--out", scores),
            "select, the best": select(folder, {}),
        }
        seconds, cpu_seconds, peaks = zip(*chain.values(), strict=True)
        chain[OURS] = Took(sum(seconds), sum(cpu_seconds), max(peaks))
        chain[PLAIN] = run("benchmarks.plain_selection", folder, shards, RATIO)
        for stage, own in chain.items():
            times[stage].append(own)
    kept = [pl.read_parquet(folder / f"{name}.parquet", columns=["id"])["id"] for name in ("selection", "plain")]
    if not kept[0].equals(kept[1]):
        raise SystemExit("the stages and the plain code keep different examples")
    return times


def select(folder: Path, rules: Mapping[str, object]) -> Took:
    """Select by the scores in a folder, by rules beside the ratio."""
    words: list[object] = ["--scores", folder / "scores.parquet", "--pool", folder / "pool.parquet"]
    words += ["--ratio", RATIO, "--seed", 0]
    words += ["--out", folder / "selection.parquet", "--dropped", folder / "dropped.parquet"]
    none = {"format": "parquet", "drop-top": 0, "quota": "null", "reject": "null", "diversity": "null"}
    for rule, value in (none | rules).items():
        words += [f"--{rule}", value]
    return run("moesift.stages.select", *words)


def stages(folder: Path, shards: int, rounds: int, skipped: Sequence[str]) -> Iterator[tuple[str, list[Took]]]:
    """Run the stages on the pool in a folder; yield the name of each and what it took in each round."""
    kinds: dict[str, dict[str, object]] = {
        "select, the best": {},
        "select, quotas": {"drop-top": 0.01, "quota": "proportional"},
        "select, the filter": {"reject": 0.5},
    }
    if "merge" in skipped:
        write_scores(folder, seed=2)
    else:
        yield from compared(folder, shards, rounds).items()
        del kinds["select, the best"]
    for name, rules in kinds.items():
        yield name, [select(folder, rules)]


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="of the chain and the plain code; all else runs once")
    parser.add_argument("--skip", choices=["merge"], nargs="*", default=[], help="also skips score and the plain code")
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    found = record.begun() | {"shards": args.shards, "ratios": {}, "rows": {}}
    print(f"{found['machine']}, {args.shards} shards, {RATIO:g} kept; medians of {args.rounds} rounds for the chain")
    print(f"{'rows':>14}  {'stage':<20}{'seconds':>10}{'CPU s':>10}{'peak GB':>10}")
    for rows in args.rows:
        found["rows"][rows] = {}
        times: dict[str, list[Took]] = {}
        with tempfile.TemporaryDirectory(prefix="moesift-") as name:
            write_blocks(pool_blocks(rows, seed=0), Path(name, "pool.parquet"))
            for stage, times[stage] in stages(Path(name), args.shards, args.rounds, args.skip):
                own = Took(*map(statistics.median, zip(*times[stage], strict=True)))
                found["rows"][rows][stage] = own._asdict()
                print(
                    f"{rows:>14,}  {stage:<20}{own.seconds:>10.1f}{own.cpu_seconds:>10.1f}{own.peak_gb:>10.2f}",
                    flush=True,
                )
        if PLAIN in times:
            pairs = zip(times[OURS], times[PLAIN], strict=True)
            found["ratios"][rows] = ratio = statistics.median(own.seconds / plain.seconds for own, plain in pairs)
            own, plain = (found["rows"][rows][stage]["peak_gb"] for stage in (OURS, PLAIN))
            print(
                f"{rows:>14,}  the chain takes {ratio:.2f} times the seconds of the plain code, and its peak is "
                f"{own:.2f} GB beside {plain:.2f} GB",
                flush=True,
            )
    record.write(found, args.out)


def _pool_rows(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    digits = rng.bytes(8 * rows).hex()
    ids = pl.Series(np.frombuffer(digits.encode(), dtype="S16"), dtype=pl.Binary).cast(pl.String)
    index = pl.int_range(rows, dtype=pl.Int64, eager=True)
    turn = [[{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "Yes, then."}]]
    return pl.DataFrame(
        {"id": ids, "source": pl.Series(SOURCES).gather(rng.integers(len(SOURCES), size=rows)), "source_index": index}
    ).with_columns(messages=pl.lit(pl.Series(turn, dtype=MESSAGES)).first(), finished=pl.lit(True))


if __name__ == "__main__":
    main()
