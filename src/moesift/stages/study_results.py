"""Put the cases of the study together: one JSON with every number of it."""

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from moesift.config import Study
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.provenance import commit, machine, versions
from moesift.study import numbers
from moesift.study.numbers import Case


def main() -> None:
    """Read the cases, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, nargs="+", required=True, help=".../noise-{n}/half-{h}/seed-{s}")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder below which the jobs' times are")
    parser.add_argument("--study", type=json.loads, required=True, help="the section of the configuration as JSON")
    parser.add_argument("--human", type=Path, nargs="*", required=True, help="JSON by stages/study_human.py, if any")
    parser.add_argument(
        "--duplicates", type=Path, nargs="*", required=True, help="JSON by stages/study_duplicates.py, one a seed"
    )
    parser.add_argument("--made-from", type=json.loads, required=True, help="selector, target and objective as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    settings = Study.model_validate(args.study)
    cases = [read(folder, settings) for folder in args.cases]
    seeds = {"validation": settings.validation_seeds, "test": settings.test_seeds}
    parts = {name: part([case for case in cases if case.seed in own], settings) for name, own in seeds.items()}
    records = [
        pl.read_csv(path, separator="\t", quote_char=None, columns=["s"]) for path in args.benchmarks.rglob("*.tsv")
    ]
    times = [record["s"].sum() for record in records]
    made = {
        "commit": commit(),
        "date": date.today().isoformat(),
        "machine": machine(),
        "job_seconds": sum(times),
        "jobs": len(times),
        "versions": versions(),
        **args.made_from,
        # Of a case without noise the examples are not read.
        "pool": numbers.average(case.examples.height for case in cases if case.noise),
        "cases": len(cases),
        "noise": settings.noise,
        "halves": settings.halves,
        "control": settings.control,
        "sanity": settings.sanity,
        "before": settings.before,
        "tokens": settings.tokens,
        "default": settings.default,
        "reject": settings.reject,
        "baselines": settings.baselines,
    }
    study = {
        "made": made,
        "claim": settings.claim.model_dump(),
        "parts": parts,
        "human": next((json.loads(path.read_text()) for path in args.human), None),
        "duplicates": numbers.copies([json.loads(path.read_text()) for path in args.duplicates]),
    }
    with whole(args.out) as written:
        written.write_text(json.dumps(study, indent=2, allow_nan=False) + "\n")
    print(f"{len(cases)} cases, {made['job_seconds']:.0f} s of jobs")


def read(folder: Path, settings: Study) -> Case:
    """Read one case; its path says what it is."""
    noise, half, seed = (part.partition("-")[2] for part in folder.parts[-3:])
    kinds = [*settings.halves[int(half)], settings.control]
    trained = pl.DataFrame(schema={"arm": pl.String, "ratio": pl.Float64})
    asked = settings if settings.doses is None or float(noise) == settings.noise else settings.doses
    if asked.arms and int(seed) in settings.test_seeds:
        runs = pl.DataFrame(json.loads((folder / "trained.json").read_text())["runs"])
        trained = pl.read_parquet(parquet(folder / "trained.parquet")).join(
            runs.select("arm", "ratio", "kept_corrupted"), on=["arm", "ratio"], how="left", nulls_equal=True
        )
    examples = pl.read_parquet(parquet(folder / "examples.parquet")) if float(noise) else pl.DataFrame()
    return Case(float(noise), int(half), int(seed), kinds, settings.sanity, examples, trained)


def part(cases: Sequence[Case], settings: Study) -> dict[str, Any] | None:
    """Return the numbers of the validation seeds, or of the test seeds."""
    if not cases:
        return None
    main = [case for case in cases if case.noise == settings.noise]
    doses = settings.doses.noise if settings.doses and settings.doses.arms else []
    methods = settings.methods
    rows, found = numbers.detection(main, methods, settings.resamples)
    lost = numbers.rejections(main, methods)
    tuned = numbers.training(main)
    claim = settings.claim
    closely = [claim.method, settings.default]
    return {
        "seeds": sorted({case.seed for case in cases}),
        "detection": rows,
        "differences": numbers.differences(main, found, methods, settings.baselines, closely, settings.resamples),
        "precision": numbers.precision(main, methods),
        "severity": numbers.severities(main, methods),
        "confounds": numbers.confounds(main, methods),
        "false_rejection": lost,
        "layers": numbers.layers(main) if "router" in methods else [],
        "doses": numbers.doses(cases, methods),
        "training": tuned,
        "training_at_other_noise": [
            {"noise": noise, "rows": numbers.training([case for case in cases if case.noise == noise])}
            for noise in doses
            if any(case.noise == noise for case in cases)
        ],
        "claim": numbers.claimed(found, claim.method, claim.against, claim.kinds),
        "goals": numbers.goals(found, settings.default, settings.baselines, lost, tuned),
    }


if __name__ == "__main__":
    run(main)
