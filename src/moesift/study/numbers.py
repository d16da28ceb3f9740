"""The numbers of the study, from the examples of its cases and from what was trained on parts of them.

A case is one pool: a share of noise, one half of the kinds of corruption, a seed. Its examples come as one frame: id,
source, kind, severity, applicable (the kinds that could have been made of a clean example), n_tokens, control, a column
with the scores of each method, layer_scores (of `router`), probe_kind (a list, by the case's kinds) and probe_source.

Intervals are Student's over the seeds: a seed is another pool, other noise, another warm-up and, where they are made
here, other models. What is averaged over kinds weighs them equally and leaves out the control and what any score sees.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from moesift.data.corruption import CLEAN
from moesift.study.detection import (
    areas,
    false_rejection,
    length_bins,
    length_correlation,
    precision_at,
    severity_correlation,
    source_variance,
    stratified_area,
)
from moesift.study.intervals import bootstrap_areas, holm, permutation_null, permutation_p, t_interval

MEAN = "mean"
PROBES = ("probe_kind", "probe_source")
SHARES = (0.05, 0.1, 0.2)
RECALLS = (0.5, 0.7)
BINS = 5  # of response length, within which pairs are compared
LEAST_GAP = 0.002  # nats per token between random and oracle, below which a share of it is noise

Numbers = Mapping[int, float | None]  # by seed
Areas = Mapping[tuple[str, str], Numbers]  # by method and kind


@dataclass(frozen=True)
class Case:
    """One pool of the study."""

    noise: float
    half: int
    seed: int
    kinds: Sequence[str]  # of its half, then the control
    sanity: Sequence[str]  # of its kinds, those that any score should see, which no mean is to profit from
    examples: pl.DataFrame
    trained: pl.DataFrame  # arm, ratio, id, nats, tokens, right; no rows where nothing was trained


def interval(by_seed: Numbers) -> dict[str, float | None]:
    """Return the mean over the seeds that have a number, with its interval; nulls where none has."""
    values = [value for value in by_seed.values() if value is not None]
    if not values:
        return {"value": None, "low": None, "high": None}
    return t_interval(np.array(values))._asdict()


def difference(one: Numbers, other: Numbers) -> Numbers:
    """Return one minus the other, seed by seed."""
    pairs = {seed: (one[seed], other.get(seed)) for seed in one}
    return {seed: None if a is None or b is None else a - b for seed, (a, b) in pairs.items()}


def mean(numbers: Sequence[Numbers]) -> Numbers:
    """Return the mean of several numbers, seed by seed; None where one is missing."""
    found: dict[int, float | None] = {}
    for seed in numbers[0]:
        values = [by_seed[seed] for by_seed in numbers if by_seed.get(seed) is not None]
        found[seed] = average(values) if len(values) == len(numbers) else None
    return found


def scored(case: Case, method: str, kind: str | None = None) -> pl.DataFrame:
    """Return the examples of a case with the `score` of one method.

    An example that a method gives no score is one that it never selects: it stands below all that have one, all such
    alike. Only the order of scores is read here, so that the number in its place says nothing else. What a probe could
    not judge takes no part.

    Args:
        kind: with one, its examples and the clean ones that it could have been made of, so that the corruption is all
            that tells them apart; without, all examples but the control's.
    """
    score = pl.col(method)
    if method == "probe_kind":
        score = pl.col(method).list.get(case.kinds.index(kind)) if kind else pl.lit(None, pl.Float64)
    if method not in PROBES:
        score = score.fill_null(score.min() - 1)
    frame = case.examples.with_columns(score=score, bin=length_bins(case.examples["n_tokens"], BINS))
    clean = pl.col("kind") == CLEAN
    if kind is None:
        return frame.filter(pl.col("kind") != case.kinds[-1])
    return frame.filter((pl.col("kind") == kind) | (clean & pl.col("applicable").list.contains(kind)))


def averaged(cases: Sequence[Case]) -> list[str]:
    """Return the kinds that a mean over kinds is of: without the control and what any score should see."""
    return list(dict.fromkeys(kind for case in cases for kind in case.kinds[:-1] if kind not in case.sanity))


def by_seed(cases: Sequence[Case], measure: Callable[[Case], float | None]) -> Numbers:
    """Return a number of each seed: the mean over its cases, None where one of them has none."""
    found = defaultdict(list)
    for case in cases:
        found[case.seed].append(measure(case))
    return {seed: None if None in values else average(values) for seed, values in found.items()}


def auroc(cases: Sequence[Case], method: str, kind: str) -> Numbers:
    """Return the area under the ROC curve of one kind, by seed."""
    of_kind = [case for case in cases if kind in case.kinds]
    return by_seed(of_kind, lambda case: areas(scored(case, method, kind)).row(0, named=True)["auroc"])


def detection(cases: Sequence[Case], methods: Sequence[str], resamples: int) -> tuple[list[dict[str, Any]], Areas]:
    """Return the rows of the detection table, and the areas behind them, by method, kind (or mean) and seed."""
    kinds = list(dict.fromkeys(kind for case in cases for kind in case.kinds))
    found: dict[tuple[str, str], Numbers] = {}
    rows = []
    for method in (*methods, *PROBES):
        own = []
        for kind in kinds:
            of_kind = [case for case in cases if kind in case.kinds]
            frames = [scored(case, method, kind) for case in of_kind]
            tables = [areas(frame).row(0, named=True) for frame in frames]
            found[method, kind] = auroc(cases, method, kind)
            own.append(
                {
                    "method": method,
                    "kind": kind,
                    "auroc": interval(found[method, kind]),
                    "auprc": average([table["auprc"] for table in tables]),
                    "chance": average([table["chance"] for table in tables]),
                    "stratified": average([stratified_area(frame, ["source", "bin"])["auroc"][0] for frame in frames]),
                    "clean": sum(table["clean"] for table in tables),
                    "corrupted": sum(table["corrupted"] for table in tables),
                    "without": sum(unscored(frame, method) for frame in frames),
                    **resampled(frames, resamples),
                }
            )
        tested = [row for row in own if row["p"] is not None]
        for row, adjusted in zip(tested, holm(np.array([row["p"] for row in tested])) if tested else [], strict=True):
            row["holm"] = float(adjusted)
        found[method, MEAN] = mean([found[method, kind] for kind in averaged(cases)])
        rows += [*own, {"method": method, "kind": MEAN, "auroc": interval(found[method, MEAN])} | EMPTY]
    return rows, found


EMPTY = dict.fromkeys(("bootstrap", "auprc", "chance", "stratified", "p", "holm", "clean", "corrupted", "without"))


def resampled(frames: Sequence[pl.DataFrame], resamples: int) -> dict[str, Any]:
    """Return the bootstrap interval over examples of one kind's area, and the p-value of the permutation test."""
    ranks, corrupted, strata = ranked([frame.filter(pl.col("score").is_not_null()) for frame in frames])
    if corrupted.all() or not corrupted.any():
        return {"bootstrap": interval({}), "p": None, "holm": None}
    (found,) = bootstrap_areas(ranks[None], corrupted, strata, [[1.0]], resamples, seed=0)
    null = permutation_null(ranks, corrupted, strata, resamples, seed=0)
    return {"bootstrap": found._asdict(), "p": permutation_p(found.value, null), "holm": None}


def resampled_difference(
    ones: Sequence[pl.DataFrame], others: Sequence[pl.DataFrame], resamples: int
) -> dict[str, float | None]:
    """Return the area of one method minus that of another on the same examples, with its paired bootstrap interval."""
    (one, corrupted, strata), (other, *_) = ranked(ones), ranked(others)
    if corrupted.all() or not corrupted.any():
        return interval({})
    (found,) = bootstrap_areas(np.stack([one, other]), corrupted, strata, [[1.0, -1.0]], resamples, seed=0)
    return found._asdict()


def ranked(frames: Sequence[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the examples of several cases together: ranks, which are corrupted, and strata, (N,) each.

    Scores become ranks within their case, and strata are the sources of each case.
    """
    together = pl.concat(
        [
            frame.select(
                corrupted=pl.col("kind") != CLEAN,
                rank=pl.col("score").rank() / pl.len(),
                stratum=pl.format("{} {}", pl.lit(place), "source"),
            )
            for place, frame in enumerate(frames)
        ]
    )
    strata = together["stratum"].rank("dense").to_numpy()
    return together["rank"].to_numpy(), together["corrupted"].to_numpy(), strata


def unscored(frame: pl.DataFrame, method: str) -> int:
    """Return how many corrupted examples a method gives no score; of a probe, those that it could not judge."""
    return frame.filter(pl.col("kind") != CLEAN)["score" if method in PROBES else method].null_count()


def average(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are there, None of none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def best_of(found: Areas, methods: Sequence[str], kind: str) -> str:
    """Return the method with the highest mean area of a kind."""
    return max(methods, key=lambda method: interval(found[method, kind])["value"] or 0.0)


def differences(
    cases: Sequence[Case],
    found: Areas,
    methods: Sequence[str],
    baselines: Sequence[str],
    closely: Sequence[str],
    resamples: int,
) -> list:
    """Return each method's area minus that of the best baseline, for each kind and their mean, paired by seed.

    Args:
        found: the areas of the cases, see `detection`.
        closely: methods whose difference on each kind has a bootstrap interval over examples as well.
        resamples: how many of it.
    """

    def over_examples(method: str, against: str, kind: str) -> dict[str, float | None] | None:
        if kind == MEAN or method not in closely:
            return None
        of_kind = [case for case in cases if kind in case.kinds]
        ones, others = ([scored(case, name, kind) for case in of_kind] for name in (method, against))
        return resampled_difference(ones, others, resamples)

    rows = []
    for kind in dict.fromkeys(kind for _, kind in found):
        against = best_of(found, baselines, kind)
        rows += [
            {"method": method, "against": against, "kind": kind, "bootstrap": over_examples(method, against, kind)}
            | interval(difference(found[method, kind], found[against, kind]))
            for method in methods
            if method != against
        ]
    return rows


def precision(cases: Sequence[Case], methods: Sequence[str]) -> list[dict]:
    """Return the clean share of the best, and the corrupted share of the lowest scored, for several shares."""
    rows = []
    for method in methods:
        frames = [scored(case, method) for case in cases]
        tables = [precision_at(frame, SHARES) for frame in frames]
        clean = average([float((frame["kind"] == CLEAN).to_numpy().mean()) for frame in frames])
        for place, share in enumerate(SHARES):
            rows.append(
                {
                    "method": method,
                    "share": share,
                    "kept_clean": average([table["kept_clean"][place] for table in tables]),
                    "rejected_corrupted": average([table["rejected_corrupted"][place] for table in tables]),
                    "chance": clean,
                }
            )
    return rows


def rejections(cases: Sequence[Case], methods: Sequence[str]) -> list[dict]:
    """Return which share of the clean, the hard and the easy examples is lost where a share of the noise is found."""

    def of_method(method: str) -> list[dict[str, Any]]:
        tables = {id(case): false_rejection(scored(case, method), RECALLS) for case in cases}

        def lost(column: str, place: int) -> dict[str, float | None]:
            return interval(by_seed(cases, lambda case: tables[id(case)][column][place]))

        return [
            {"method": method, "recall": recall, **{group: lost(group, place) for group in ("clean", "hard", "easy")}}
            for place, recall in enumerate(RECALLS)
        ]

    return [row for method in methods for row in of_method(method)]


def severities(cases: Sequence[Case], methods: Sequence[str]) -> list[dict]:
    """Return Spearman's rho of severity and score, of the kinds whose severity varies."""
    rows = []
    for method in methods:
        by_kind = defaultdict(list)
        for case in cases:
            for kind, rho, _ in severity_correlation(scored(case, method)).iter_rows():
                by_kind[kind].append(rho)
        rows += [
            {"method": method, "kind": kind, "rho": rho}
            for kind, values in by_kind.items()
            if (rho := average(values)) is not None
        ]
    return rows


def confounds(cases: Sequence[Case], methods: Sequence[str]) -> list[dict]:
    """Return how far a score is the response's length or the source in disguise, over clean examples."""
    return [
        {
            "method": method,
            "length": average([length_correlation(scored(case, method))["clean"] for case in cases]),
            "source": average([source_variance(scored(case, method)) for case in cases]),
        }
        for method in methods
    ]


def layers(cases: Sequence[Case]) -> list[dict]:
    """Return the mean area over kinds of each routed layer of the warmed routers alone."""
    (scores,) = cases[0].examples["layer_scores"].drop_nulls().head(1).to_list()
    rows = []
    for layer in range(len(scores)):
        alone = [
            replace(case, examples=case.examples.with_columns(layer=pl.col("layer_scores").list.get(layer)))
            for case in cases
        ]
        numbers = mean([auroc(alone, "layer", kind) for kind in averaged(cases)])
        rows.append({"layer": layer, "method": "router", "auroc": interval(numbers)})
    return rows


def doses(cases: Sequence[Case], methods: Sequence[str]) -> list[dict]:
    """Return the mean area over kinds, and the clean share of the best fifth, for each share of noise.

    The mean is of the same kinds at each share: `without` are those that somewhere leave no clean example that they
    could have been made of.
    """
    by_noise = {
        noise: [case for case in cases if case.noise == noise]
        for noise in sorted({case.noise for case in cases} - {0.0})  # without noise there is nothing to find
    }
    without = [
        kind
        for kind in averaged(cases)
        if any(None in auroc(own, methods[0], kind).values() for own in by_noise.values())
    ]
    rows: list[dict[str, Any]] = []
    for noise, own in by_noise.items():
        for method in methods:
            kept = [precision_at(scored(case, method), [0.2])["kept_clean"][0] for case in own]
            numbers = mean([auroc(own, method, kind) for kind in averaged(cases) if kind not in without])
            row = {"noise": noise, "seeds": sorted({case.seed for case in own}), "method": method}
            found = {"without": without, "auroc": interval(numbers), "kept_clean": average(kept)}
            rows.append(row | found)
    return rows


def copies(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict]:
    """Return how many copies are found as near-duplicates, over seeds whose rows (see `duplicates.found`) are alike."""
    return [
        {
            "replaced": rows[0]["replaced"],
            "threshold": rows[0]["threshold"],
            "copies": sum(row["copies"] for row in rows),
            "found": interval({seed: row["found"] for seed, row in enumerate(rows)}),
            "others": average([row["others"] for row in rows]),
        }
        for rows in zip(*by_seed, strict=True)
    ]


def training(cases: Sequence[Case]) -> list[dict]:
    """Return the held-out loss and accuracy of each arm and ratio, and how they compare with random and oracle.

    The share of the oracle gap is S - R of each seed over the mean of O - R over the seeds, so that a seed with hardly
    a gap does not decide it. Where the oracle itself is not told from random there is no gap to close, and no share.
    """
    runs = list(dict.fromkeys(run for case in cases for run in case.trained.select("arm", "ratio").unique().rows()))
    outcome: dict[tuple[str, float | None], dict[str, Numbers]] = {}
    for arm, ratio in runs:
        tuned = (pl.col("arm") == arm) & pl.col("ratio").eq_missing(ratio)

        def measured(expression: pl.Expr, tuned: pl.Expr = tuned) -> Numbers:
            return by_seed(cases, lambda case: case.trained.filter(tuned).select(expression).item())

        outcome[arm, ratio] = {
            "nats": measured(pl.col("nats").sum() / pl.col("tokens").sum()),
            "right": measured(pl.col("right").mean()),
            "kept_corrupted": measured(pl.col("kept_corrupted").first()),
        }
    rows = []
    for (arm, ratio), numbers in outcome.items():
        row: dict[str, Any] = {"arm": arm, "ratio": ratio, "against_random": None, "gap": None}
        row |= {"nats": interval(numbers["nats"]), "right": interval(numbers["right"])}
        row["kept_corrupted"] = average(list(numbers["kept_corrupted"].values()))
        if arm != "random" and ("random", ratio) in outcome:
            gained = difference(numbers["nats"], outcome["random", ratio]["nats"])
            row["against_random"] = interval(gained)
            if arm != "oracle" and ("oracle", ratio) in outcome:
                possible = gap(difference(outcome["oracle", ratio]["nats"], outcome["random", ratio]["nats"]))
                if possible is not None:
                    shares = {s: None if g is None else g / possible for s, g in gained.items()}
                    row["gap"] = interval(shares)
        rows.append(row)
    return sorted(rows, key=lambda row: (row["ratio"] is not None, row["ratio"] or 0, row["arm"]))


def gap(possible: Numbers) -> float | None:
    """Return the oracle's mean loss minus random's where its interval is below zero, None where there is none such."""
    found = interval(possible)
    value, high = found["value"], found["high"]
    return value if value is not None and value < -LEAST_GAP and high is not None and high < 0 else None


def claimed(found: Areas, method: str, against: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """Return whether a method sees more than the best of others on each of some kinds: all lower bounds above zero."""
    rows, held = [], True
    for kind in kinds:
        best = best_of(found, against, kind)
        gained = interval(difference(found[method, kind], found[best, kind]))
        rows.append({"kind": kind, "best": best, "difference": gained})
        held = held and (gained["low"] or 0) > 0
    return {"kinds": rows, "held": held}


def goals(
    found: Areas,
    method: str,
    baselines: Sequence[str],
    lost: Sequence[Mapping[str, Any]],
    tuned: Sequence[Mapping[str, Any]],
) -> list[dict]:
    """Return what the project asks of its default method, what was found, and whether it is reached.

    Whether it is reached is None where there is no oracle gap that a share of could be closed, and where the interval
    of the share holds zero and a half alike.
    """
    best = best_of(found, baselines, MEAN)
    gained, own = interval(difference(found[method, MEAN], found[best, MEAN])), interval(found[method, MEAN])
    rows = [
        {
            "name": f"mean AUROC of {method} at least 0.05 above the best single baseline, lower bound above 0",
            "found": f"{shown(gained, '+.3f')} over {best}",
            "reached": (gained["value"] or 0) >= 0.05 and (gained["low"] or 0) > 0,
        },
        {
            "name": f"mean AUROC of {method} at least 0.80",
            "found": shown(own, ".3f"),
            "reached": (own["value"] or 0) >= 0.80,
        },
    ]
    hard = {
        row["method"]: row["hard"] for row in lost if row["recall"] == RECALLS[0] and row["hard"]["value"] is not None
    }
    if method in hard and "nll" in hard:
        rows.append(
            {
                "name": f"{method} loses at most half as many hard clean examples as nll, half of the noise found",
                "found": f"{shown(hard[method], '.1%')} against {shown(hard['nll'], '.1%')}",
                "reached": hard[method]["value"] <= hard["nll"]["value"] / 2,
            }
        )
    at_fifth = {row["arm"]: row for row in tuned if row["ratio"] == 0.2}
    # What is selected by default is what the filter leaves, not the top of the ranking.
    for arm, name in (("filtered", f"the filter by {method}"), (method, f"the top of {method}")):
        if arm not in at_fifth or "oracle" not in at_fifth:
            continue
        share = at_fifth[arm]["gap"]
        told = (
            f"the oracle minus random is {shown(at_fifth['oracle']['against_random'], '+.3f')} nats, not told from zero"
            if share is None
            else shown(share, ".2f")
        )
        reached = None if share is None or (share["low"] <= 0 and share["high"] >= 0.5) else share["value"] >= 0.5
        rows.append(
            {"name": f"{name} closes at least half of the oracle gap at 20%", "found": told, "reached": reached}
        )
    return rows


def shown(interval: Mapping[str, float | None], form: str) -> str:
    """Return an interval in words."""
    if interval["value"] is None:
        return "not measured"
    if interval["low"] is None:
        return format(interval["value"], form)
    return f"{interval['value']:{form}} [{interval['low']:{form}}, {interval['high']:{form}}]"
