"""What a small comparison is made of: pool, scores, selections, evaluations and curves, as the stages write them."""

import polars as pl

CONFIG = {
    "experiment": "small",
    "seeds": [0],
    "methods": ["router", "random"],
    "selector": {"model": "a/selector", "upcycle": None},
    "warmup": {"objective": "budget", "trash_share": 0.3},
    "select": {"ratio": [0.5], "reject": None},
    "target": {"model": "a/target"},
    "train": {"epochs": 1, "lora_rank": 8},
}
# What could break a page: markup, a line without an end, right-to-left text with marks that turn the order around,
# emoji, and a stack of accents that is higher than its line.
HOSTILE = "<script>alert('x')</script> & \"more\""
HARD = [HOSTILE, "x" * 3000, "\u202eשלום עולם\u202e مرحبا بالعالم", "👩‍👩‍👧‍👦🏳️‍🌈" * 60, "a" + "\u0301" * 400]
TASKS = [{"name": "mmlu", "fewshot": 5, "limit": None}]
SHARES = {"mmlu_law": 0.5, "mmlu_sums": 0.5}
SIZE = {"questions": 4, "of": 4, "fewshot": 5, "version": 2, "hash": None}


def pool(corrupted=True):
    return pl.DataFrame(
        {
            "id": [f"{n:02}" for n in range(20)],
            "source": ["a"] * 12 + ["$b$ <&"] * 8,
            "messages": [
                [{"role": "user", "content": f"{HARD[n % 5]} {n}"}, {"role": "assistant", "content": "yes " * 300}]
                for n in range(20)
            ],
            "corruption": ["clean"] * 14 + ["truncated" if corrupted else "clean"] * 6,
        }
    )


def scores(seeds=(0,)):
    """The router ranks by id, the lowest id first; its last example has no score. Random is any order."""
    ids = pool()["id"]
    parts = [
        pl.DataFrame(
            {
                "id": ids,
                "score": [*(19.0 - n for n in range(19)), None]
                if method == "router"
                else [n * 7 % 20.0 for n in range(20)],
                "reason": [*[None] * 19, "too long"] if method == "router" else pl.Series([None] * 20, dtype=pl.String),
            }
        ).with_columns(method=pl.lit(method), seed=pl.lit(seed, pl.Int64))
        for method in CONFIG["methods"]
        for seed in seeds
    ]
    return pl.concat(parts)


def selections(seeds=(0,)):
    """Half of the pool by the scores above: 00 to 09 by the router, ten others at random."""
    kept = {"router": range(10), "random": [n for n in range(20) if n * 7 % 20 >= 10]}
    rows = [(m, 0.5, seed, f"{n:02}", 0.0) for m, numbers in kept.items() for seed in seeds for n in numbers]
    return pl.DataFrame(rows, schema=["method", "ratio", "seed", "id", "score"], orient="row")


def dropped(seeds=(0,)):
    """Two examples that share words with questions, and one without a score, which is counted elsewhere."""
    said = "shares a run of words with question {} of mmlu_law: {}"
    reasons = {"03": said.format(7, "a b"), "05": said.format(41, "c"), "19": "too long"}
    rows = [("router", 0.5, seed, i, None if i == "19" else 1.0, why) for seed in seeds for i, why in reasons.items()]
    return pl.DataFrame(rows, schema=["method", "ratio", "seed", "id", "score", "reason"], orient="row")


def evaluation(method, ratio, seed, nats, accuracy=0.25, versions=(("torch", "2"),)):
    return {
        "method": method,
        "ratio": ratio,
        "seed": seed,
        "heldout": {"nll_per_token": nats, "stderr": 0.02, "tokens": 900, "examples": 30},
        "tasks": {
            "mmlu": {"metrics": {"acc": accuracy, "acc_stderr": 0.01}, **SIZE, "shares": SHARES},
            "mmlu_law": {"metrics": {"acc": 0.9, "acc_stderr": 0.01}, **SIZE, "questions": 2, "of": 2},
        },
        "made_from": {
            "evaluation": {"tasks": TASKS, "max_length": 64},
            "commit": "abc1234",
            "machine": "a machine",
            "versions": dict(versions),
        },
    }


def evaluations(seeds=(0,), router=4.0, random=4.2):
    runs = [evaluation("base", None, None, 5.0)]
    for seed in seeds:
        runs.append(evaluation("random", 0.5, seed, random + seed / 10))
        runs.append(evaluation("router", 0.5, seed, router + seed / 9, versions=(("torch", "3"),)))
    return runs


def questions(seeds=(0,)):
    """Two tasks of two questions each, and three held-out examples; of these the router's losses are 2 nats lower."""
    rows = []
    for method, ratio, of_method in (("base", None, (None,)), ("random", 0.5, seeds), ("router", 0.5, seeds)):
        for seed in of_method:
            run = (method, ratio, seed)
            rows += [
                (*run, task, doc, f"{task} {doc}", "acc", float(method == "router" and doc == 0))
                for task in SHARES
                for doc in (0, 1)
            ]
            for doc, tokens in enumerate((5.0, 10.0, 15.0)):
                nats = 5 * tokens - 2 * (method == "router")
                rows += [(*run, "heldout", doc, f"{doc:02}", *pair) for pair in (("nats", nats), ("tokens", tokens))]
    schema = {
        **{"method": pl.String, "ratio": pl.Float64, "seed": pl.Int64, "task": pl.String, "doc_id": pl.Int64},
        **{"doc_hash": pl.String, "metric": pl.String, "value": pl.Float64},
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def curves():
    steps = {"seed": [0, 0], "epoch": [1, 1], "step": [0, 1], "nats": [5.0, 4.0]}
    return pl.DataFrame({**steps, "trash_shares": [[0.1, 0.2]] * 2, "multipliers": [[0.0, 0.1]] * 2})


REJECTED = pl.DataFrame(
    {
        "source": ["b", "a", "b"],
        "reason": ["duplicate of 0123456789abcdef", "no text", "duplicate of fedcba9876543210"],
    }
)
KEEP_SHARES = pl.DataFrame(
    {
        "method": ["router"] * 2,
        "seed": [0] * 2,
        "layer": [0, 1],
        "low": [0.1, 0.2],
        "median": [0.5] * 2,
        "high": [0.9] * 2,
    }
)
DURATIONS = [
    {
        **{"rule": "train_adapter", "jobs": 2, "seconds": 90.0, "median_seconds": 45.0},
        **{"peak_gib": 1.5, "cpu_seconds": 80.0, "gpu_hours": None},
    }
]
