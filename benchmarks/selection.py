"""Merge, score and select synthetic pools of any size, and print the seconds and the peak memory of each stage.

The chain of `merge`, `score` and `select, the best` alternates with the plain code, which does the same in memory, and
both must keep the same examples.

python -m benchmarks.selection [--rows 1_000_000 50_000_000] [--shards 100] [--rounds 3] [--skip merge] [--out FILE]

The synthetic pool is as large as a real one, except for its short texts, which are read only for the few examples that
are kept. Each stage runs as its rule runs it, in a separate process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks import record
from moesift.data.blocks import blocks_of, write_blocks
from moesift.data.pool import MESSAGES, ROW_GROUP
from moesift.passes.shards import chunk_of

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
    """Write the shards of a pass with losses and numbers of tokens: each has every so many chunks of the pool."""
    rng = np.random.default_rng(seed)
    pool = pl.read_parquet(folder / "pool.parquet", columns=["id", "source"])
    chunk = chunk_of(pool.height)
    for shard in range(shards):
        starts = np.arange(shard * chunk, pool.height, shards * chunk)
        rows = (starts[:, None] + np.arange(chunk)).ravel()
        part = pool[rows[rows < pool.height]]
        tokens = rng.integers(0, 400, part.height)  # one in 400 was cut before its response
        nll = np.where(tokens > 0, tokens * rng.lognormal(0.5, 0.5, part.height), np.nan)
        refused = pl.lit(None, pl.String)
        part = part.with_columns(n_tokens=pl.Series(tokens), refused=refused, nll=pl.Series(nll).fill_nan(None))
        write_blocks(blocks_of(part, chunk), folder / f"{shard + 1}-of-{shards}.parquet")


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
        reason=pl.when(unscored).then(pl.lit("no response token within data.max_length")),
    ).sink_parquet(folder / "scores.parquet")


class Took(NamedTuple):
    """The time and memory of a stage: seconds, seconds of processor time, and its peak memory in GB (1e9 bytes)."""

    seconds: float
    cpu_seconds: float
    peak_gb: float


def took(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Took:
    """Run a command in a folder and measure it.

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
    """Run a module in a separate process and measure it."""
    return took([sys.executable, "-m", module, *map(str, words)], os.environ, Path.cwd())


def compared(folder: Path, shards: int, rounds: int) -> dict[str, list[Took]]:
    """Alternate the chain and the plain code; return the rounds of each stage, of the chain and of the plain code.

    Raises:
        SystemExit: they do not keep the same examples.
    """
    write_shards(folder, shards, seed=1)
    pool, merged, scores = (folder / f"{name}.parquet" for name in ("pool", "merged", "scores"))
    files = {"pool/selector": pool, "likelihood/selector": merged, "tokens/selector": merged}
    score = ["--method", "nll", "--parameters", "{}", "--files", json.dumps(files, default=str), "--out", scores]
    times: dict[str, list[Took]] = {"merge": [], "score": [], "select, the best": [], OURS: [], PLAIN: []}
    for _ in range(rounds):
        words = ["--shards", folder, "--number", shards, "--pool", pool, "--out", merged]
        chain = {
            "merge": run("moesift.stages.merge_pass", *words),
            "score": run("moesift.stages.score", *score, "--seed", 0),
            "select, the best": select(folder, {}),
        }
        seconds, cpu_seconds, peaks = zip(*chain.values(), strict=True)
        chain[OURS] = Took(sum(seconds), sum(cpu_seconds), max(peaks))
        chain[PLAIN] = run("benchmarks.plain_selection", folder, shards, RATIO)
        for stage, took_now in chain.items():
            times[stage].append(took_now)
    kept = [pl.read_parquet(folder / f"{name}.parquet", columns=["id"])["id"] for name in ("selection", "plain")]
    if not kept[0].equals(kept[1]):
        raise SystemExit("the stages and the plain code keep different examples")
    return times


def select(folder: Path, rules: Mapping[str, object], reject: float | None = None) -> Took:
    """Select by the scores in a folder, with rules beside the ratio."""
    words: list[object] = ["--scores", folder / "scores.parquet", "--pool", folder / "pool.parquet"]
    words += ["--budget", f"ratio-{RATIO}", "--seed", 0, "--reject", json.dumps(reject)]
    words += ["--out", folder / "selection.parquet", "--dropped", folder / "dropped.parquet", "--queries"]
    section = {"format": "parquet", "drop_top": 0, "quota": None, "diversity": None} | rules
    return run("moesift.stages.select", *words, "--select", json.dumps(section))


def stages(folder: Path, shards: int, rounds: int, skipped: Sequence[str]) -> Iterator[tuple[str, list[Took]]]:
    """Run the stages on the pool in a folder; yield the name and the rounds of each."""
    if "merge" in skipped:
        write_scores(folder, seed=2)
        yield "select, the best", [select(folder, {})]
    else:
        yield from compared(folder, shards, rounds).items()
    yield "select, quotas", [select(folder, {"drop_top": 0.01, "quota": "proportional"})]
    yield "select, the filter", [select(folder, {}, reject=0.5)]


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="of the chain and the plain code; the rest runs once")
    parser.add_argument("--skip", choices=["merge"], nargs="*", default=[], help="also skips score and the plain code")
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    results: dict[str, Any] = record.begun() | {"shards": args.shards, "ratios": {}, "rows": {}}
    print(f"{results['machine']}, {args.shards} shards, {RATIO:g} kept; medians of {args.rounds} rounds for the chain")
    print(f"{'rows':>14}  {'stage':<20}{'seconds':>10}{'CPU s':>10}{'peak GB':>10}")
    for rows in args.rows:
        results["rows"][rows] = {}
        times: dict[str, list[Took]] = {}
        with tempfile.TemporaryDirectory(prefix="moesift-") as name:
            write_blocks(pool_blocks(rows, seed=0), Path(name, "pool.parquet"))
            for stage, times[stage] in stages(Path(name), args.shards, args.rounds, args.skip):
                median = Took(*map(statistics.median, zip(*times[stage], strict=True)))
                results["rows"][rows][stage] = median._asdict()
                numbers = f"{median.seconds:>10.1f}{median.cpu_seconds:>10.1f}{median.peak_gb:>10.2f}"
                print(f"{rows:>14,}  {stage:<20}{numbers}", flush=True)
        if PLAIN in times:
            pairs = zip(times[OURS], times[PLAIN], strict=True)
            ratio = statistics.median(ours.seconds / plain.seconds for ours, plain in pairs)
            results["ratios"][rows] = ratio
            peaks = " and ".join(f"{results['rows'][rows][stage]['peak_gb']:.2f} GB" for stage in (OURS, PLAIN))
            print(
                f"{rows:>14,}  the chain takes {ratio:.2f} times as long as the plain code; peaks: {peaks}", flush=True
            )
    record.write(results, args.out)


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
