"""A small study.json, as `study_results` writes it."""

NOTHING = {"value": None, "low": None, "high": None}


def interval(value, half=None):
    ends = (None, None) if half is None else (round(value - half, 6), round(value + half, 6))
    return dict(zip(("value", "low", "high"), (value, *ends), strict=True))


def detected(method, kind, area, half=0.02):
    row = {"method": method, "kind": kind, "auroc": interval(area, half)}
    if kind == "mean":
        return row | dict.fromkeys(
            ("bootstrap", "auprc", "chance", "stratified", "p", "holm", "clean", "corrupted", "without"), None
        )
    return row | {
        "bootstrap": interval(area, 0.01),
        "auprc": 0.25,
        "chance": 0.125,
        "stratified": area - 0.05,
        "p": 0.0005,
        "holm": 0.031,
        "clean": 400,
        "corrupted": 80,
        "without": 2,
    }


def tuned(arm, ratio, nats, against=None, gap=None):
    return {
        "arm": arm,
        "ratio": ratio,
        "nats": interval(nats, 0.01),
        "right": interval(0.3, 0.02),
        "kept_corrupted": 0.25,
        "against_random": against,
        "gap": gap,
    }


def part(seeds, router=0.7, nll=0.6, held=True, gained=0.1, top=3.4):
    """Numbers in which `router` has the first mean AUROC, `nll` the second; they differ by `gained` -+ 0.03."""
    areas = {"router": router, "nll": nll, "length": 0.4, "random": 0.5, "probe_kind": 0.9, "probe_source": 0.8}
    kinds = ("wrong_choice", "swapped_alike", "perturbed_instruction", "mean")
    return {
        "seeds": seeds,
        "detection": [detected(method, kind, area) for method, area in areas.items() for kind in kinds],
        "differences": [
            {"method": one, "against": "nll", "kind": kind, **interval(gained if one == "router" else -0.2, 0.03)}
            | {"bootstrap": interval(gained, 0.01) if (one, kind) == ("router", "wrong_choice") else None}
            for one in ("router", "length", "random")
            for kind in kinds
        ],
        "precision": [
            {"method": "router", "share": share, "kept_clean": 0.875, "rejected_corrupted": 0.5, "chance": 0.7}
            for share in (0.05, 0.2)
        ],
        "severity": [{"method": "router", "kind": "wrong_choice", "rho": -0.25}],
        "confounds": [{"method": "router", "length": -0.5, "source": 0.125}],
        "false_rejection": [
            {"method": "router", "recall": 0.5}
            | {"clean": interval(0.25), "hard": interval(0.375, 0.025), "easy": interval(0.125)}
        ],
        "layers": [{"layer": layer, "method": "router", "auroc": interval(0.6, 0.05)} for layer in range(3)],
        "doses": [dose(0.3, router, 0.75)],
        "training": [
            tuned("base", None, 4.7),
            tuned("router", 0.2, top, interval(top - 3.5, 0.02), interval(0.5, 0.25)),
            tuned("random", 0.2, 3.5),
            tuned("bottom", 0.2, 3.6, interval(0.1, 0.02), interval(-0.5, 0.25)),
            tuned("oracle", 0.2, 3.3, interval(-0.2, 0.02)),
            tuned("full", 1, 3.45),
        ],
        "training_at_other_noise": [
            {
                "noise": 0.7,
                "rows": [tuned("random", 0.2, 3.9), tuned("filtered", 0.2, 3.7, interval(-0.2, 0.05))],
            }
        ],
        "claim": {
            "kinds": [{"kind": "wrong_choice", "difference": interval(gained, 0.03), "best": "nll"}],
            "held": held,
        },
        "goals": [
            {"name": "mean AUROC at least 0.65", "found": "0.700 [0.680, 0.720]", "reached": True},
            {"name": "half of the oracle gap closed", "found": "0.40", "reached": False},
        ],
    }


def study(test=None, validation=None):
    return {
        "made": {
            "commit": "b2f6925",
            "date": "2026-11-23",
            "command": "snakemake study --cores 2",
            "machine": "two cores",
            "job_seconds": 4321.0,
            "jobs": 123,
            "versions": {"torch": "2.13.0"},
            "selector": "smollm2",
            "target": "embedded",
            "pool": 600.5,
            "cases": 12,
            "objective": "contrastive",
            "noise": 0.3,
            "halves": [["swapped_alike"], ["wrong_choice"]],
            "control": "perturbed_instruction",
            "sanity": [],
            "before": None,
            "tokens": 60000,
            "default": "router",
            "reject": 0.5,
            "baselines": ["length", "nll"],
        },
        "claim": {"method": "router", "kinds": ["wrong_choice"], "against": ["length", "nll"]},
        "parts": {"validation": validation, "test": test},
        "human": None,
        "duplicates": [],
    }


def dose(noise, auroc, kept_clean):
    return {
        "noise": noise,
        "seeds": [1, 2],
        "method": "router",
        "auroc": interval(auroc, 0.02),
        "kept_clean": kept_clean,
        "without": [],
    }


def nulled(numbers):
    """Return the same JSON without any number but those that say which row it is."""
    if isinstance(numbers, dict):
        named = ("ratio", "share", "recall", "noise", "layer", "seeds")
        return {key: value if key in named else nulled(value) for key, value in numbers.items()}
    if isinstance(numbers, list):
        return [nulled(entry) for entry in numbers]
    return None if isinstance(numbers, (int, float)) else numbers
