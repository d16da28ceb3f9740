"""A small comparison as the other stages write it, and the report that is made of it.

There are 20 examples of two sources, a third of them truncated; `router` ranks them by id, `random` in another order,
and both keep half. `rds` keeps half for targets, `queries_only` none of it. What could break a page is in the name of a
source and in the text of a query.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from moesift import flags
from moesift.stages import report

CONFIG = {
    "experiment": "small",
    "seeds": [0],
    "selector": {"model": "a/selector", "upcycle": None},
    "warmup": {"objective": "budget", "trash_share": 0.3},
    "target": {"model": "a/target"},
}
METHODS = [
    {
        "label": label,
        "method": label,
        "caption": f"caption of {label}",
        "source": "a paper",
        "keeps": {"full": "pool", "queries_only": "queries"}.get(label, "budget"),
        "targets": ["one"] if label == "rds" else [],
        "each": None,
        "jobs": [f"scores/{label}/seed-{{seed}}"],
    }
    for label in ("router", "rds", "random", "full", "queries_only")
]
TASKS = [{"name": "mmlu", "fewshot": 5, "limit": None}]
SHARES = {"mmlu_law": 0.5, "mmlu_sums": 0.5}
KEPT = {
    "router": range(10),
    "random": [n for n in range(20) if n * 7 % 20 >= 10],
    "full": range(20),
    "rds": range(4, 14),
}
REJECTED = pl.DataFrame(
    {
        "source": ["b", "a", "b"],
        "reason": ["duplicate of 0123456789abcdef", "no text", "duplicate of fedcba9876543210"],
    }
)


def pool(corrupted: bool = True) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"{n:02}" for n in range(20)],
            "source": ["a"] * 12 + ["$b$ <&"] * 8,
            "messages": [
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes no " * n}]
                for n in range(1, 21)
            ],
            "choices": pl.Series([None] * 20, dtype=pl.List(pl.String)),
            "corruption": ["clean"] * 14 + ["truncated" if corrupted else "clean"] * 6,
        }
    )


def scores(method: str) -> pl.DataFrame:
    """The last example of the router has no score."""
    values = {
        "router": [*(19.0 - n for n in range(19)), None],
        "random": [n * 7 % 20.0 for n in range(20)],
        "rds": [1 - n / 20 for n in range(20)],
        "full": [0.0] * 20,
        "queries_only": [None] * 20,
    }
    frame = pl.DataFrame({"id": pool()["id"], "score": values[method], "n_tokens": range(1, 21)})
    return frame.with_columns(reason=pl.when(pl.col("score").is_null()).then(pl.lit("too long")))


def selection(method: str, targets: Sequence[str]) -> pl.DataFrame:
    """What `rds` keeps is taken by the targets in turns, and of these by the first and the second query in turns."""
    if method == "queries_only":
        return pl.concat([queries(target) for target in targets]).select("id")
    frame = pool().select("id", "source")[list(KEPT[method])]
    if method != "rds":
        return frame.select("id")
    turns = [(targets[n % len(targets)], n // len(targets) % 2) for n in range(10)]
    taken = [(target, f"{target}{query}", 0.9 - n / 10) for n, (target, query) in enumerate(turns)]
    return frame.hstack(pl.DataFrame(taken, schema=["target", "query", "score"], orient="row"))


def queries(target: str) -> pl.DataFrame:
    turns = [[{"role": "user", "content": f"of\n{target} <&{n}"}] for n in range(2)]
    return pl.DataFrame({"id": [f"{target}0", f"{target}1"], "messages": turns})


def evaluation(
    method: str,
    budget: str | None,
    seed: int | None,
    nll: float,
    accuracy: float = 0.25,
    targets: Sequence[str] = (),
) -> dict[str, Any]:
    """The first target's loss is 2, the second's 3, ...; with rds a half lower, and a little more with the seed."""
    losses = [2 + place - (0.5 + (seed or 0) / 64) * (method == "rds") for place in range(len(targets))]
    size = {"questions": 4, "of": 4, "cut": 1, "fewshot": 5, "version": 2, "hash": None, "shares": SHARES}
    mmlu = {"metrics": {"acc": accuracy, "acc_stderr": 0.01}, "higher_is_better": {"acc": True}, **size}
    versions = {"torch": "3" if method == "router" else "2"}
    return {
        "method": method,
        "budget": budget,
        "seed": seed,
        "heldout": {"nll": nll, "stderr": 0.02, "tokens": 30, "examples": 3},
        "targets": {
            target: {"nll": loss if nll == nll else nll, "stderr": 0.03, "tokens": 6, "examples": 2}
            for target, loss in zip(targets, losses, strict=True)
        },
        "tasks": {"mmlu": mmlu},
        "made_from": {
            "evaluation": {"tasks": TASKS},
            "commit": "abc1234",
            "machine": "a machine",
            "versions": versions,
        },
    }


def questions(method: str, targets: Sequence[str] = ()) -> pl.DataFrame:
    """Two tasks of two questions each, and three held-out examples; of these the router's losses are 2 nats lower.

    Of each target two held-out examples, of which the losses of rds are half a nat lower a token.
    """
    right = float(method == "router")
    rows = [(task, doc, f"{task} {doc}", "acc", right * (doc == 0)) for task in SHARES for doc in (0, 1)]
    for doc, tokens in enumerate((5.0, 10.0, 15.0)):
        rows += [
            ("heldout", doc, f"{doc:02}", "nll", 5 * tokens - 2 * right),
            ("heldout", doc, f"{doc:02}", "tokens", tokens),
        ]
    for target, (doc, tokens) in itertools.product(targets, enumerate((2.0, 4.0))):
        nll = tokens * (2 + targets.index(target) - 0.5 * (method == "rds"))
        for metric, value in (("nll", nll), ("tokens", tokens)):
            rows.append((f"heldout:{target}", doc, f"{target} {doc}", metric, value))
    return pl.DataFrame(rows, schema=["task", "doc_id", "doc_hash", "metric", "value"], orient="row")


def write(
    folder: Path,
    seeds: Sequence[int] = (0,),
    corrupted: bool = True,
    methods: Sequence[str] = ("router", "random"),
    losses: dict[tuple[str, int], float] | None = None,
    targets: Sequence[str] = (),
    contaminated: pl.DataFrame | None = None,
) -> list[str]:
    """Write what the stages write, and return the words of the stage `report`.

    Args:
        losses: the held-out loss of runs, by method and seed, in the place of 4.0 for the router and 4.2 for others.
        contaminated: what that stage found, where it ran.
    """
    for part in ("eval", "scores", "selected", "warmup"):
        (folder / part).mkdir(parents=True)
    files: dict[str, list[Path]] = {name: [] for name in ("evaluations", "scores", "selections", "queries", "curves")}

    def evaluated(one: dict[str, Any]) -> None:
        path = folder / f"eval/{one['method']}-{one['seed']}.json"
        path.write_text(json.dumps(one))
        questions(one["method"], targets).write_parquet(path.with_suffix(".parquet"))
        files["evaluations"].append(path)

    evaluated(evaluation("base", None, None, 5.0, targets=targets))
    for method in methods:
        for seed in seeds:
            budget = {"full": "ratio-1", "queries_only": "queries"}.get(method, "ratio-0.5")
            usual = 4.0 + seed / 9 if method == "router" else 4.2 + seed / 10
            loss = (losses or {}).get((method, seed), usual)
            evaluated(evaluation(method, budget, seed, loss, targets=targets))
            files["scores"].append(folder / f"scores/{method}/seed-{seed}.parquet")
            files["scores"][-1].parent.mkdir(exist_ok=True)
            scores(method).write_parquet(files["scores"][-1])
            selected = folder / f"selected/{method}/{budget}/seed-{seed}.parquet"
            selected.parent.mkdir(parents=True, exist_ok=True)
            selection(method, targets).write_parquet(selected)
            left_out = [("03", 1.0, "shares a run of words with question 7 of mmlu_law: a b"), ("19", None, "too long")]
            dropped = pl.DataFrame(left_out, schema=["id", "score", "reason"], orient="row")
            dropped.write_parquet(selected.with_suffix(".dropped.parquet"))
            files["selections"].append(selected)
    for target in targets:
        files["queries"].append(folder / f"targets/{target}/queries.parquet")
        files["queries"][-1].parent.mkdir(parents=True)
        queries(target).write_parquet(files["queries"][-1])
    for seed in seeds:
        files["curves"].append(folder / f"warmup/seed-{seed}/epoch-1.jsonl")
        files["curves"][-1].parent.mkdir()
        steps = {"epoch": [1, 1], "step": [0, 1], "nll": [5.0, 4.0], "trash_shares": [[0.1, 0.2]] * 2}
        pl.DataFrame(steps).write_ndjson(files["curves"][-1])
    pool(corrupted).write_parquet(folder / "pool.parquet")
    REJECTED.write_parquet(folder / "rejected.parquet")
    words = [word for name, paths in files.items() for word in (f"--{name}", *map(str, paths))]
    for seconds, job in enumerate(
        ["scores/rds/seed-0", "adapters/rds/ratio-0.5/seed-0", "adapters/full/ratio-1/seed-0"]
    ):
        record = folder / f"benchmarks/{job}.tsv"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"s\th:m:s\n{10 * seconds + 2}.5\t0:00:02\n")
    words += ["--benchmarks", str(folder / "benchmarks")]
    for name in ("pool.parquet", "rejected.parquet", "results.json", "tables", "page.html"):
        words += [f"--{name.partition('.')[0]}", str(folder / name)]
    if contaminated is not None:
        contaminated.write_parquet(folder / "contaminated.parquet")
        words += ["--contaminated", str(folder / "contaminated.parquet")]
    described = [method for method in METHODS if method["label"] in methods]
    return [*words, "--config", json.dumps({**CONFIG, "seeds": list(seeds)}), "--methods", json.dumps(described)]


def made(folder: Path, **changes: Any) -> Path:
    """Write a comparison and its report: results.json, tables and page.html of the folder that is returned."""
    report.main(**flags.parsed(report.main, write(folder, **changes)))
    return folder
