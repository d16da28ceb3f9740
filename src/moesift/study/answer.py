"""The answer that the page of the study gives before all tables: what held, what is best, what training gained.

Every sentence is made from study.json, a negative result as plainly as a positive one.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from moesift.report.metrics import RANDOM
from moesift.study.figures import CEILINGS, MEAN, ranked
from moesift.study.words import Found, loss, mean_areas, named, number, percent, sentence_of, shown, sign, value_of


def reported(study: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the name and the numbers of the part that the page is about: the test seeds, or what there is instead."""
    for name in ("test", "validation"):
        if (part := study["parts"].get(name)) is not None:
            return name, part
    return "test", None


def verdict(study: Mapping[str, Any]) -> str:
    """Say whether the claim held on the test seeds, the differences that decide it, and on the validation seeds."""
    name, part = reported(study)
    if part is None:
        return "**Nothing was measured**, on test seeds or on validation seeds."
    caution = "" if name == "test" else "No test seeds were run, so nothing here is confirmed. "
    sentence = f"{caution}**On the {name} seeds the claim {held(part)}.** {clauses(study, part)}"
    other = study["parts"].get("validation")
    if name == "test" and other is not None:
        sentence += f" On the validation seeds it {held(other)}."
    return sentence


def held(part: Mapping[str, Any]) -> str:
    """Say whether the claim held on the seeds of a part, as the end of a sentence."""
    if not part["claim"]["kinds"] or part["claim"]["held"] is None:
        return "was not tested"
    return "held" if part["claim"]["held"] else "did not hold"


def clauses(study: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """Return the difference on each kind of the claim, and what its interval says."""
    method = study["claim"]["method"]
    told = [
        f"on `{row['kind']}` `{method}` minus `{row['best']}` is {shown(row['difference'], '+.3f')}"
        f"{apart(row['difference'], method, row['best'])}"
        if value_of(row["difference"]) is not None
        else f"on `{row['kind']}` the difference was not computed"
        for row in part["claim"]["kinds"]
    ]
    return sentence_of("; ".join(told)) if told else ""


def headline(study: Mapping[str, Any]) -> str:
    """Say which method has the highest mean AUROC, and how it does against the best single baseline."""
    name, part = reported(study)
    if part is None:
        return ""
    means = mean_areas(part)
    methods = [method for method in ranked(part) if value_of(means.get(method)) is not None]
    if not methods:
        return f"On the {name} seeds no method has a mean AUROC over all kinds."
    top = methods[0]
    tied = [method for method in methods if means[method]["value"] == means[top]["value"]]
    told = [
        f"On the {name} seeds {named(tied)} {'has' if len(tied) == 1 else 'share'} the highest mean AUROC over kinds, "
        f"{shown(means[top], '.3f')} "
        f"({left_out(study)}; 0.5 is chance)."
    ]
    baselines = [method for method in methods if method in study["made"]["baselines"]]
    if not baselines:
        told.append("No baseline has a mean AUROC to compare it with.")
    elif top in baselines:
        told.append(f"`{top}` is one of the baselines: **no other method is above the best single baseline.**")
        others = [method for method in methods if method not in baselines and method != RANDOM]
        if others:
            told.append(f"The best of the others is `{others[0]}` with {shown(means[others[0]], '.3f')}.")
            told.append(compared(part, others[0], top))
    else:
        told.append(compared(part, top, baselines[0], "the best single baseline"))
    method = study["claim"]["method"]
    if method in methods[1:]:
        place = f"number {methods.index(method) + 1} of {len(methods)}"
        told.append(f"`{method}`, the method of the claim, is {place} with {shown(means[method], '.3f')}.")
    reversed_ = [method for method in methods if (means[method]["high"] or 1.0) < 0.5]
    if reversed_:
        told.append(
            f"With the whole interval below 0.5, {named(reversed_)} "
            f"{'prefers' if len(reversed_) == 1 else 'prefer'} spoilt examples to clean ones."
        )
    ceilings = [
        f"`{probe}` {shown(means[probe], '.3f')}" for probe in CEILINGS if value_of(means.get(probe)) is not None
    ]
    if ceilings:
        told.append(f"Supervised probes of the routers' inputs: {', '.join(ceilings)}.")
    return " ".join(told)


def left_out(study: Mapping[str, Any]) -> str:
    """Say which kinds a mean over kinds is without."""
    control, sanity = study["made"]["control"], study["made"]["sanity"]
    if not sanity:
        return f"`{control}`, the control, is left out"
    return f"`{control}`, the control, and {named(sanity)}, which any score should see, are left out"


def human_answer(study: Mapping[str, Any]) -> list[str]:
    """Say how often the default method prefers what experts revised, and which method does so most often."""
    rows = {row["method"]: row["agreement"] for row in (study["human"] or {"methods": []})["methods"]}
    told = {method: found for method, found in rows.items() if value_of(found) is not None}
    default = study["made"]["default"]
    if default not in told:
        return []
    most = max(told, key=lambda method: told[method]["value"])
    return [
        f"What is not spoilt is not yet good: of {study['human']['pairs']} pairs that an expert revised, `{default}` "
        f"prefers the revised side in {shown(told[default], '.1%')}, `{most}`, the most of all, in "
        f"{shown(told[most], '.1%')}; chance is 50%."
    ]


def compared(part: Mapping[str, Any], method: str, against: str, role: str = "") -> str:
    """Say how the mean AUROC of two methods differs, and whether the interval of the difference excludes zero."""
    rows = [row for row in part["differences"] if row["kind"] == MEAN and row["method"] == method]
    row = next((row for row in rows if row["against"] == against), None)
    other = f"`{against}`" if not role else f"{role}, `{against}`,"
    if row is None or row["value"] is None:
        return f"Its difference to {other} was not computed."
    return f"Its difference to {other} is {shown(row, '+.3f')}{apart(row, method, against)}."


def apart(difference: Found, one: str, other: str) -> str:
    """Say what the interval of a difference of AUROCs, one minus other, tells; as the end of a sentence."""
    match sign(difference):
        case "above":
            return f": the interval excludes zero, `{one}` is better than `{other}`"
        case "below":
            return f": the interval excludes zero, `{one}` is worse than `{other}`"
        case "neither":
            return ": the interval does not exclude zero"
        case "unsure":
            return ", without an interval"
    return ""


def training_answer(study: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Say whether the top of the claim's method beats random, and random its bottom, at each ratio: lower is better."""
    top = study["claim"]["method"]
    ratios = sorted(
        {row["ratio"] for row in part["training"] if row["arm"] in (top, RANDOM) and row["ratio"] is not None}
    )
    rows = {(row["arm"], row["ratio"]): row for row in part["training"]}
    both = [ratio for ratio in ratios if all(loss(rows.get((arm, ratio))) is not None for arm in (top, RANDOM))]
    if not both:
        return [f"Training on the best by `{top}` was not compared with training on a random part."]
    signs = [sign(rows[top, ratio]["against_random"]) for ratio in both]
    better = [ratio for ratio in both if below(rows[top, ratio], rows[RANDOM, ratio])]
    told = (
        f"Held-out loss after training on the best by `{top}` (top) and on a random part of the same size: top is "
        f"lower at {len(better)} of {len(both)} ratios, with the interval of top minus random below zero at "
        f"{signs.count('below')} and above zero, worse than random, at {signs.count('above')}."
    )
    ordered = [ratio for ratio in both if loss(rows.get(("bottom", ratio))) is not None]
    if ordered:
        kept = [ratio for ratio in ordered if in_order(rows, top, ratio)]
        told += (
            " With the lowest scored by `router` (bottom), the order top better than random better than bottom is "
            f"found at {len(kept)} of {len(ordered)} ratios."
        )
    oracles = [sign(rows["oracle", ratio]["against_random"]) for ratio in both if ("oracle", ratio) in rows]
    if oracles and not {"below", "unsure"} & set(oracles):
        told += (
            " **At no ratio is the oracle itself told from random**: at this size and this share of noise, leaving out "
            "what is spoilt gains too little to be seen, so that no selection can be shown to gain by it."
        )
    return [
        told,
        "\n".join(at_ratio(rows, top, ratio) for ratio in both),
        *filtered_answer(study, rows),
        *other_noise(part),
    ]


def other_noise(part: Mapping[str, Any]) -> list[str]:
    """Say what the filter and the oracle gain over a random part at the other shares of spoilt examples."""
    found = [
        (other["noise"], row)
        for other in part["training_at_other_noise"]
        for row in other["rows"]
        if row["arm"] in ("filtered", "oracle")
    ]
    if not found:
        return []
    told = [
        f"{percent(noise)} spoilt: `{row['arm']}` {shown(row['against_random'], '+.3f')} ({percent(row['ratio'])} kept)"
        for noise, row in found
    ]
    alone = all(sign(row["against_random"]) == "unsure" for _, row in found)
    return [
        f"With more and with less noise, minus a random part, in nats per response token: {'; '.join(told)}."
        f"{' Of one seed, so without an interval.' if alone else ''}"
    ]


def filtered_answer(study: Mapping[str, Any], rows: Mapping[tuple[str, float], Mapping[str, Any]]) -> list[str]:
    """Say whether a random part of what a filter leaves beats a random part of the pool, where that was trained on."""
    signs = {ratio: sign(row["against_random"]) for (arm, ratio), row in rows.items() if arm == "filtered"}
    if not signs:
        return []
    below_random = [ratio for ratio in signs if below(rows["filtered", ratio], rows[RANDOM, ratio])]
    counts = Counter(signs.values())
    told = (
        f"The score as a filter: the lowest {percent(study['made']['reject'])} of "
        f"each source by `{study['made']['default']}` are rejected, and of the rest a random part is taken "
        f"(`filtered`). Its loss is below that of a random part of the whole pool at {len(below_random)} of "
        f"{len(signs)} ratios, with the interval of the difference below zero at {counts['below']} and above at "
        f"{counts['above']}:"
    )
    found = [f"{percent(ratio)} kept {shown(rows['filtered', ratio]['against_random'], '+.3f')}" for ratio in signs]
    return [f"{told} {', '.join(found)} nats per response token."]


def at_ratio(rows: Mapping[tuple[str, float], Mapping[str, Any]], top: str, ratio: float) -> str:
    """Return a line of the list: the losses at one ratio, their order, the difference to random and the gap closed."""
    losses = [
        f"{name} {number(loss(rows[arm, ratio]), '.3f')}"
        for name, arm in (("top", top), ("random", RANDOM), ("bottom", "bottom"), ("oracle", "oracle"))
        if loss(rows.get((arm, ratio))) is not None
    ]
    told = f"- {percent(ratio)} kept: {', '.join(losses)} nats per response token"
    if loss(rows.get(("bottom", ratio))) is not None:
        told += ", in the order asked for" if in_order(rows, top, ratio) else ", not in the order asked for"
    row = rows[top, ratio]
    verdicts = {
        "below": ", below random",
        "above": ", above random",
        "neither": ", not told from random",
        "unsure": ", without an interval",
        "missing": "",
    }
    told += f"; top minus random {shown(row['against_random'], '+.3f')}{verdicts[sign(row['against_random'])]}"
    told += (
        f"; share of the oracle gap closed: {shown(row['gap'], '.0%')}." if row["gap"] else "; no oracle gap to close."
    )
    others = {
        arm: found["nats"]["value"]
        for (arm, own), found in rows.items()
        if own == ratio and arm != "oracle" and loss(found) is not None
    }
    least = min(others.values())
    best = [arm for arm, value in others.items() if value == least]
    return f"{told} The lowest loss but for the oracle's: {named(best)}, {number(least, '.3f')}."


def in_order(rows: Mapping[tuple[str, float], Mapping[str, Any]], top: str, ratio: float) -> bool:
    """Return whether the loss of top is below random's and that below bottom's."""
    return below(rows[top, ratio], rows[RANDOM, ratio]) and below(rows[RANDOM, ratio], rows["bottom", ratio])


def below(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether the loss of one arm is lower than that of another."""
    return one["nats"]["value"] < other["nats"]["value"]


def goals(part: Mapping[str, Any], name: str) -> list[str]:
    """Say which of the goals are reached, with what was found."""
    if not part["goals"]:
        return []
    words = {True: "Reached", False: "Missed", None: "Not to be judged"}
    reached = sum(goal["reached"] is True for goal in part["goals"])
    count = len(part["goals"])
    listed = [
        f"- {words[goal['reached']]}: {goal['name']}. Found: {goal['found'] or 'not measured'}."
        for goal in part["goals"]
    ]
    return [f"Goals of the project that are reached on the {name} seeds: {reached} of {count}.", "\n".join(listed)]
