"""The study as a Markdown page: every number and every sentence is made from study.json.

An interval is a dictionary with value, low and high, at 95%; any of them may be null. Where a number is missing a
sentence says so, and a cell of a table holds a dash. Negative results are written as plainly as positive ones.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moesift.report.metrics import RANDOM
from moesift.study.figures import CEILINGS, MEAN, drawable, kinds_of, ranked

WIDTH = 120
MISSING = "–"
Found = Mapping[str, Any] | None  # an interval

FIGURES = {
    "auroc": (
        "AUROC by kind of corruption and method",
        "AUROC of each kind of corruption (rows) and method (columns, the highest mean first) with its 95% interval "
        "over seeds. The two probes on the right are supervised: they show what could be read, and are no methods.",
    ),
    "doses": (
        "AUROC over the share of noise",
        "Mean AUROC and the clean share of the best fifth of the pool, over the share of spoilt examples in it.",
    ),
    "training": (
        "Held-out loss over the share of the pool that is kept",
        "Held-out loss of the tuned target over the share of the pool that is kept, and the share of the oracle gap "
        "that each selection closes. On the right, bars beyond the plot are cut.",
    ),
    "layers": (
        "AUROC by routed layer",
        "Mean AUROC of the router signal of each layer alone.",
    ),
}

SCORES = {
    "router": "the quality score after the warm-up, the mean over the routed layers and the counted tokens of "
    "`LSE(z) - LSE(u)`, the log odds of the quality experts (router logits z) against the trash-can experts (u), in "
    "nats",
    "router_untrained": "the same before the warm-up",
    "nll": "minus the mean loss of the response tokens given the instruction, in nats per token",
    "ifd": "`s(A|Q) / s(A)`, the loss of the response with its instruction over the loss without it (Li et al., arXiv "
    "2308.12032, eq. 4), the hardest first; an example that reaches 1 has no score",
    "instruction_gain": "`1 - s(A|Q) / s(A)`, the share of the response's loss that its instruction takes away",
    "likelihood_pmi": "`log p(A|Q) + (log p(A|Q) - log p(A))`, the likelihood of the response plus its pointwise "
    "mutual information with the instruction, in nats per response token",
    "expert_gain": "the loss with the keep share at 0 minus the loss with it at 1, in nats per token",
    "reducible": "the loss before the warm-up minus the loss after it, in nats per token",
    "length": "the number of response tokens, the longest first",
    "random": "uniform random numbers",
}


ARMS = {
    "base": "the untuned target",
    "full": "the target tuned on the whole pool",
    "filtered": "a random part of what is left when the lowest of each source are rejected",
    "random": "a random part",
    "balanced": "a random part that is balanced over the sources",
    "mid_nll": "the middle of the ranking by `nll`",
    "bottom": "the lowest scored by `router`",
    "oracle": "drawn by the labels",
}


def page(study: Mapping[str, Any]) -> str:
    """Return the page, in Markdown, with links to `study-{name}.png` beside it (see `study_figures`).

    Args:
        study: the dictionary of study.json.
    """
    name, part = reported(study)
    blocks = [
        "# Results",
        "This page is made from `study.json` by `python -m moesift.stages.study_page`: no sentence and no number of it "
        "is written by hand. Intervals are at 95%, over seeds where nothing else is said.",
        "## What was asked, and the answer",
        question(study),
        *answer(study),
        "## How it was made",
        *made(study),
    ]
    if part is not None:
        blocks += [f"## Figures, {name} seeds", *figures(part), f"## Tables, {name} seeds", *tables(study, part)]
    other = study["parts"].get("validation")
    if name == "test" and other is not None:
        blocks += ["## Validation seeds", *shorter(study, other)]
    return (
        "\n\n".join([wrapped(block) for block in [*blocks, "## How each number is computed", *computed(study)]]) + "\n"
    )


def reported(study: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the name and the numbers of the part that the page is about: the test seeds, or what there is instead."""
    for name in ("test", "validation"):
        if (part := study["parts"].get(name)) is not None:
            return name, part
    return "test", None


def question(study: Mapping[str, Any]) -> str:
    """Say what the study asks."""
    return (
        "Does a score find the spoilt examples of an instruction pool, and is training on what it keeps better than on "
        f"a random part of the pool? The claim, which stands in the configuration: {claimed(study)}"
    )


def claimed(study: Mapping[str, Any]) -> str:
    """Return the claim as a sentence."""
    claim = study["claim"]
    return (
        f"the AUROC of `{claim['method']}` is above that of the best of {named(claim['against'])}, on "
        f"{named(claim['kinds'])}{' alike' if len(claim['kinds']) > 1 else ''}, with the lower end of the interval of "
        "the difference above zero."
    )


def answer(study: Mapping[str, Any]) -> list[str]:
    """Return the plain answer, a paragraph or a list each: the claim, the best method, the training and the goals."""
    name, part = reported(study)
    if part is None:
        return [verdict(study)]
    told = training_answer(study, part) if part["training"] else ["Nothing was trained on what the methods keep."]
    return [verdict(study), headline(study), *told, *goals(part, name)]


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
    top, control = methods[0], study["made"]["control"]
    tied = [method for method in methods if means[method]["value"] == means[top]["value"]]
    told = [
        f"On the {name} seeds {named(tied)} {'has' if len(tied) == 1 else 'share'} the highest mean AUROC over kinds, "
        f"{shown(means[top], '.3f')} "
        f"(`{control}`, the control, is left out; 0.5 is chance)."
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
        told.append(f"The supervised ceilings: {', '.join(ceilings)}.")
    return " ".join(told)


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


def sign(difference: Found) -> str:
    """Return above, below or neither for where an interval lies to zero, unsure without ends, missing without value."""
    if value_of(difference) is None or difference is None:
        return "missing"
    if difference["low"] is None or difference["high"] is None:
        return "unsure"
    return "above" if difference["low"] > 0 else "below" if difference["high"] < 0 else "neither"


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
    others = [
        sentence
        for other in part["training_at_other_noise"]
        for sentence in filtered_answer(
            study,
            {(row["arm"], row["ratio"]): row for row in other["rows"]},
            f"Where {percent(other['noise'])} are spoilt",
        )
    ]
    return [told, "\n".join(at_ratio(rows, top, ratio) for ratio in both), *filtered_answer(study, rows), *others]


def filtered_answer(
    study: Mapping[str, Any], rows: Mapping[tuple[str, float], Mapping[str, Any]], where: str = ""
) -> list[str]:
    """Say whether a random part of what a filter leaves beats a random part of the pool, where that was trained on."""
    signs = {ratio: sign(row["against_random"]) for (arm, ratio), row in rows.items() if arm == "filtered"}
    if not signs:
        return []
    below_random = [ratio for ratio in signs if below(rows["filtered", ratio], rows[RANDOM, ratio])]
    counts = Counter(signs.values())
    told = (
        f"{f'{where}, the' if where else 'The'} score as a filter: the lowest {percent(study['made']['reject'])} of "
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
        f"; share of the oracle gap closed: {shown(row['gap'], '.0%')}."
        if row["gap"]
        else "; the oracle is not told from random, so there is no gap to close."
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


def loss(row: Mapping[str, Any] | None) -> float | None:
    """Return the held-out loss of a row of the training, None without one."""
    return None if row is None else value_of(row["nats"])


def goals(part: Mapping[str, Any], name: str) -> list[str]:
    """Say which of the goals are reached, with what was found."""
    if not part["goals"]:
        return []
    words = {True: "Reached", False: "Missed", None: "Not measured"}
    reached = sum(goal["reached"] is True for goal in part["goals"])
    count = len(part["goals"])
    listed = [
        f"- {words[goal['reached']]}: {goal['name']}. Found: {goal['found'] or 'not measured'}."
        for goal in part["goals"]
    ]
    return [f"Goals of the project that are reached on the {name} seeds: {reached} of {count}.", "\n".join(listed)]


def made(study: Mapping[str, Any]) -> list[str]:
    """Say how the numbers were made, and on what."""
    of = study["made"]
    command = of.get("command") or "snakemake study"
    commit = f"at commit `{of['commit']}`" if of.get("commit") else "at a commit that is not known"
    seconds = "not recorded"
    if of.get("job_seconds") is not None:
        jobs = "all" if of.get("jobs") is None else of["jobs"]
        seconds = f"{duration(of['job_seconds'])}, the sum over {jobs} jobs, of which several may run at once"
    seeds = [
        f"{name} seeds {', '.join(map(str, part['seeds']))}"
        for name in ("validation", "test")
        if (part := study["parts"].get(name)) is not None
    ]
    first = (
        f"`{command}` {commit}, {of['date']}, on {of['machine']}. Run time: {seconds}. Selector `{of['selector']}`, "
        f"target `{of['target']}`; objective of the warm-up: {of['objective']}. "
        f"{sentence_of('; '.join(seeds) or 'no seeds')}"
    )
    cases = f"{number(of['cases'], 'd')} cases of {number(of['pool'], '.0f')} examples in the mean"
    pools = (
        "A case is one pool: its share of noise, a part of the kinds that it is spoilt by, and a seed. There were "
        f"{cases}; the tables are of pools with {percent(of['noise'])} spoilt. Each also holds `{of['control']}`, the "
        "control, which does no harm to the response. The kinds are parted:"
    )
    parts = "\n".join(f"- {named(kinds)}" for kinds in of["halves"])
    unseen = (
        "The warm-up of a case learns from corrupted twins of the kinds of the other parts, so that the routers are "
        "judged on kinds that they were not trained on. "
        if of["objective"] == "contrastive"
        else ""
    )
    last = (
        f"{unseen}Every tuning of the target sees {number(of['tokens'], ',.0f')} tokens, whatever was kept. The "
        f"baselines that a method should beat the best of: {named(of['baselines'])}."
    )
    versions = ", ".join(f"{package} {version}" for package, version in of["versions"].items())
    return [first, pools, parts, last, *([f"Versions: {versions}."] if versions else [])]


def figures(part: Mapping[str, Any]) -> list[str]:
    """Return the figures as links, each with its caption."""
    return [text for name in drawable(part) for text in (f"![{FIGURES[name][0]}](study-{name}.png)", FIGURES[name][1])]


def tables(study: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return the tables of a part, each with a heading and what it shows; none where there are no numbers."""
    methods = ranked(part)
    sections = [
        ("Detection by kind", detection(part, methods)),
        ("Detection within source and length", stratified(part, methods)),
        ("Detection in detail", details(study, part)),
        ("Differences to the best baseline", differences(part, methods)),
        ("What the best and the lowest share hold", precision(part, methods)),
        ("Clean examples that are lost", rejection(part, methods)),
        ("Confounds", confounds(part, methods)),
        ("Severity", severity(part, methods)),
        ("More and less noise", doses(part, methods)),
        ("Training", training(part["training"])),
        *(
            (f"Training where {percent(other['noise'])} are spoilt", training(other["rows"]))
            for other in part["training_at_other_noise"]
        ),
        ("Human preference", human(part.get("human") or study.get("human"))),
    ]
    return [text for title, blocks in sections if blocks for text in (f"### {title}", *blocks)]


def detection(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of the AUROC of each kind and method, the mean first."""
    columns = [*methods, *(probe for probe in CEILINGS if any(row["method"] == probe for row in part["detection"]))]
    cells = {(row["kind"], row["method"]): row["auroc"] for row in part["detection"]}
    return matrix("AUROC; 0.5 is chance.", cells, [MEAN, *kinds_of(part)], columns, lambda found: shown(found, ".2f"))


def stratified(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of the AUROC within a source and a length bin."""
    cells = {(row["kind"], row["method"]): row["stratified"] for row in part["detection"]}
    note = "AUROC over the pairs of a clean and a spoilt example of the same source and length bin."
    return matrix(note, cells, kinds_of(part), methods, lambda value: number(value, ".2f"))


def details(study: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return a table of the claim's method, the method with the highest mean AUROC and the best baseline."""
    means = mean_areas(part)
    order = [method for method in ranked(part) if value_of(means.get(method)) is not None]
    best = [method for method in order if method in study["made"]["baselines"]][:1]
    wanted = dict.fromkeys([study["claim"]["method"], *order[:1], *best])
    kinds = {kind: place for place, kind in enumerate(kinds_of(part))}
    rows = sorted((row for row in part["detection"] if row["kind"] in kinds), key=lambda row: kinds[row["kind"]])
    lines = [
        [
            f"`{row['method']}`",
            f"`{row['kind']}`",
            shown(row["auroc"], ".3f", MISSING),
            shown(row["bootstrap"], ".3f", MISSING),
            number(row["auprc"], ".3f"),
            number(row["chance"], ".3f"),
            probability(row["p"]),
            probability(row["holm"]),
            number(row["corrupted"], "d"),
            number(row["without"], "d"),
        ]
        for method in wanted
        for row in rows
        if row["method"] == method
    ]
    heads = ["method", "kind", "AUROC over seeds", "AUROC, bootstrap over examples", "AUPRC", "its chance level"]
    heads += ["p", "p, Holm", "spoilt examples", "without a score"]
    note = f"Of {named(wanted)}: the method of the claim, that with the highest mean AUROC and the best baseline."
    return [note, table(heads, lines)] if lines else []


def differences(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of each method's AUROC minus that of the best baseline of the kind."""
    cells = {(row["kind"], row["against"], row["method"]): row for row in part["differences"]}
    order = [MEAN, *kinds_of(part)]
    pairs = sorted(dict.fromkeys((kind, against) for kind, against, _ in cells), key=lambda pair: order.index(pair[0]))
    columns = [method for method in methods if any(method == other for *_, other in cells)]
    lines = [
        [title(kind), f"`{against}`", *(marked(cells.get((kind, against, method))) for method in columns)]
        for kind, against in pairs
    ]
    note = (
        "AUROC minus that of the baseline with the highest AUROC on the kind, paired by seed; bold where the interval "
        "excludes zero, on either side."
    )
    return [note, table(["kind", "best baseline", *(f"`{m}`" for m in columns)], lines)] if lines else []


def precision(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of the clean share of the best and the spoilt share of the lowest scored."""
    cells = {(row["method"], row["share"]): row for row in part["precision"]}
    shares = sorted({share for _, share in cells})
    heads = [
        "method",
        *(f"clean, best {percent(s)}" for s in shares),
        *(f"spoilt, lowest {percent(s)}" for s in shares),
    ]
    lines = [
        [
            f"`{method}`",
            *(number(cells.get((method, s), {}).get(name), ".1%") for name in NAMES_KEPT for s in shares),
        ]
        for method in methods
        if any(method == other for other, _ in cells)
    ]
    chance = next((row["chance"] for row in part["precision"] if row["chance"] is not None), None)
    note = "Shares of clean and of spoilt examples at the two ends of the ranking, the control left out."
    if chance is not None:
        note += f" Of the whole {chance:.1%} are clean and {1 - chance:.1%} spoilt, which is what chance gives."
    return [note, table(heads, lines)] if lines else []


NAMES_KEPT = ("kept_clean", "rejected_corrupted")


def rejection(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of the clean examples that are lost when a share of the spoilt ones is found."""
    cells = {(row["method"], row["recall"]): row for row in part["false_rejection"]}
    recalls = sorted({recall for _, recall in cells})
    groups = ("clean", "hard", "easy")
    heads = ["method", *(f"{group}, {percent(recall)} found" for recall in recalls for group in groups)]
    lines = [
        [
            f"`{method}`",
            *(number(cells.get((method, r), {}).get(group), ".1%") for r in recalls for group in groups),
        ]
        for method in methods
        if any(method == other for other, _ in cells)
    ]
    note = (
        "Share of all clean examples, of the hard and of the easy ones that is rejected where the given share of "
        "the spoilt examples is found. Lower is better; a score that only knows difficulty loses the hard ones."
    )
    return [note, table(heads, lines)] if lines else []


def confounds(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of how far a score is the length or the source in disguise."""
    rows = {row["method"]: row for row in part["confounds"]}
    lines = [
        [f"`{method}`", number(rows[method]["length"], "+.2f"), number(rows[method]["source"], ".2f")]
        for method in methods
        if method in rows
    ]
    heads = ["method", "Spearman's rho with the response's length", "share of the ranks' variance between sources"]
    return ["Over clean examples alone.", table(heads, lines)] if lines else []


def severity(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of how a score goes with the severity of a corruption."""
    cells = {(row["kind"], row["method"]): row["rho"] for row in part["severity"]}
    kinds = [kind for kind in kinds_of(part) if any(kind == other for other, _ in cells)]
    note = "Spearman's rho of severity and score; below zero, the worse an example is spoilt the lower is its score."
    return matrix(note, cells, kinds, methods, lambda value: number(value, "+.2f"))


def doses(part: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Return the table of the mean AUROC by the share of noise, where there are several."""
    if "doses" not in drawable(part):
        return []
    cells = {(row["method"], row["noise"]): row for row in part["doses"]}
    noises = sorted({noise for _, noise in cells})
    heads = ["method", *(f"AUROC, {percent(noise)} spoilt" for noise in noises)]
    heads += [f"clean in the best 20%, {percent(noise)} spoilt" for noise in noises]
    lines = [
        [
            f"`{method}`",
            *(shown(cells.get((method, noise), {}).get("auroc"), ".3f", MISSING) for noise in noises),
            *(number(cells.get((method, noise), {}).get("kept_clean"), ".1%") for noise in noises),
        ]
        for method in methods
        if any(method == other for other, _ in cells)
    ]
    return ["Mean AUROC over kinds.", table(heads, lines)]


def training(tuned: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of a training, by ratio, the lowest loss first; the untuned target comes before all."""
    rows = sorted(tuned, key=lambda row: (row["ratio"] or 0.0, loss(row) is None, loss(row) or 0.0))
    lines = [
        [
            MISSING if row["ratio"] is None else percent(row["ratio"]),
            f"`{row['arm']}`",
            shown(row["nats"], ".3f", MISSING),
            shown(row["right"], ".3f", MISSING),
            number(row["kept_corrupted"], ".1%"),
            marked(row["against_random"]),
            shown(row["gap"], ".2f", MISSING),
        ]
        for row in rows
    ]
    heads = ["kept", "arm", "held-out loss (nats per response token)", "accuracy", "spoilt among the kept"]
    heads += ["loss minus random's (nats)", "share of the oracle gap closed"]
    arms = [f"`{arm}` is {ARMS[arm]}" for arm in dict.fromkeys(row["arm"] for row in rows) if arm in ARMS]
    note = (
        "The lowest loss first. Differences to random are paired by seed, below zero is better; bold where the "
        f"interval excludes zero, on either side. {sentence_of('; '.join(arms)) if arms else ''}"
    )
    return [note.rstrip(), table(heads, lines)] if lines else []


def human(found: Mapping[str, Any] | None) -> list[str]:
    """Return the table of the agreement with human revisions, where there are any."""
    if not found:
        return []
    lines = [
        [f"`{row['method']}`", shown(row["agreement"], ".3f", MISSING), chosen(row["agreement"])]
        for row in found["methods"]
    ]
    note = (
        f"Over {found['pairs']} pairs of an example and its revision by an expert: the share in which the revised side "
        "scores higher. 0.5 is chance."
    )
    return [note, table(["method", "agreement", "the interval"], lines)] if lines else []


def chosen(agreement: Found) -> str:
    """Say where the interval of an agreement lies to chance."""
    if agreement is None or any(agreement[end] is None for end in ("value", "low", "high")):
        return MISSING
    if agreement["low"] > 0.5:
        return "above chance"
    return "below chance" if agreement["high"] < 0.5 else "holds chance"


def shorter(study: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return what the validation seeds gave: the claim, the AUROC of each method, and the training."""
    methods = ranked(part)
    means = mean_areas(part)
    gained = {row["method"]: row for row in part["differences"] if row["kind"] == MEAN}
    lines = [
        [
            f"`{method}`",
            shown(means.get(method), ".3f", MISSING),
            marked(gained.get(method)),
            f"`{gained[method]['against']}`" if method in gained else MISSING,
        ]
        for method in [*methods, *(probe for probe in CEILINGS if probe in means)]
    ]
    cells = {(row["kind"], row["method"]): value_of(row["auroc"]) for row in part["detection"]}
    seeds = f"{'Seed' if len(part['seeds']) == 1 else 'Seeds'} {', '.join(map(str, part['seeds']))}"
    blocks = [
        f"{seeds}. Choices may have been made here, so this confirms nothing. The claim {held(part)}. "
        f"{clauses(study, part)}",
        table(["method", "mean AUROC", "minus the best baseline's", "best baseline"], lines),
        *matrix("AUROC by kind.", cells, kinds_of(part), methods, lambda value: number(value, ".2f")),
    ]
    return blocks + (training_answer(study, part) if part["training"] else [])


def computed(study: Mapping[str, Any]) -> list[str]:
    """Say how each number is computed, with sources."""
    of = study["made"]
    methods = dict.fromkeys(
        row["method"] for part in study["parts"].values() if part is not None for row in part["detection"]
    )
    scores = "\n".join(f"- `{method}`: {SCORES[method]}." for method in methods if method in SCORES)
    ranknet = (
        "**Contrastive warm-up**: the trash-can experts' router rows learn from pairs of an example x and its "
        "corrupted twin x' by `softplus(margin - (S(x) - S(x')))`, the pairwise loss of RankNet (Burges et al. 2005, "
        "doi 10.1145/1102351.1102363) with a margin."
    )
    return [
        "**Who is compared with whom.** Every AUROC compares spoilt examples with clean ones that the same corruption "
        "could have been made of: a truncated response, for one, with responses of more than one word. Otherwise a "
        "score would be paid for seeing which examples a corruption applies to. An example without a score takes no "
        "part, and is counted.",
        "**AUROC**: the chance that a clean example scores higher than a spoilt one, ties counted half. It is the "
        "statistic of Mann and Whitney over the number of pairs (Hanley & McNeil 1982, doi "
        "10.1148/radiology.143.1.7063747). The mean over kinds weighs them equally, seed by seed, and leaves the "
        f"control (`{of['control']}`) out. AUPRC is the average precision of finding the spoilt examples from the "
        "lowest score up; its chance level is their share.",
        "**Interval over seeds**: Student's t, `m ± t(0.975, n - 1) s / sqrt(n)` over the n seeds' numbers; one seed "
        "has none, and the ends may leave the range of the number. A seed is another pool, other noise and another "
        "warm-up. Differences are taken seed by seed first. The best baseline is the one with the highest mean on the "
        "same seeds, which favours it.",
        "**Bootstrap over examples**: the percentile interval of resamples drawn, with replacement, within source and "
        "class; whatever is compared is computed of the same resample, paired (Efron & Tibshirani 1993, section 13.3). "
        "Scores are ranks within their pool.",
        "**p**: the labels are permuted within the sources of each pool; one-sided, `(1 + permutations that reach the "
        "AUROC) / (1 + permutations)`. Within sources, as a score that only tells sources apart should not count. "
        "Adjusted over the kinds of a method by the step-down procedure of Holm (1979, Scandinavian Journal of "
        "Statistics 6:65-70).",
        "**Hard and easy**: of the clean examples of each source, the fifth with the highest and the fifth with the "
        "lowest loss by another model, the untuned target. A threshold is the lowest score that rejects the "
        "share of spoilt examples.",
        "**Confounds**: Spearman's rank correlation of score and response tokens; eta squared of the score's ranks by "
        "source, the H of Kruskal and Wallis (1952) over n - 1.",
        "**Supervised ceilings**: a linear classifier on the routers' inputs that is told which examples are spoilt, "
        "for `probe_kind` of all kinds but the one it is judged on, for `probe_source` of all sources but one. It "
        "never judges an example that it was trained on.",
        *(["**Scores**, the higher the better:", scores] if scores else []),
        *([ranknet] if of["objective"] == "contrastive" else []),
        "**Share of the oracle gap closed**: `(S - R) / (O - R)` of the held-out losses of the selection S, of a "
        "random one R and of the oracle's O, which knows the labels; 1 is as good as the oracle, 0 as random, below "
        "zero is worse than random. `S - R` of each seed is divided by the mean of `O - R` over the seeds, so that one "
        "seed with hardly a gap does not decide it. Where the interval of `O - R` holds zero there is no gap to close, "
        "and no share.",
    ]


def matrix(
    note: str, cells: Mapping[tuple[str, str], Any], rows: Iterable[str], columns: Iterable[str], write: Callable
) -> list[str]:
    """Return a note and a table of what stands at (row, column); rows and columns without a cell are left out."""
    rows = [row for row in rows if any(row == other for other, _ in cells)]
    columns = [column for column in columns if any(column == other for _, other in cells)]
    lines = [[title(row), *(write(cells.get((row, column))) for column in columns)] for row in rows]
    lines = [[cell if cell != NOT_COMPUTED else MISSING for cell in line] for line in lines]
    return [note, table(["kind", *(f"`{column}`" for column in columns)], lines)] if lines else []


def title(kind: str) -> str:
    """Return a kind of corruption, or their mean, as the first cell of a row."""
    return "mean over kinds" if kind == MEAN else f"`{kind}`"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))


NOT_COMPUTED = "not computed"


def shown(found: Found, form: str, missing: str = NOT_COMPUTED) -> str:
    """Return a number with its interval in brackets, the number alone without one."""
    if found is None or found["value"] is None:
        return missing
    if found["low"] is None or found["high"] is None:
        return number(found["value"], form)
    return f"{number(found['value'], form)} [{number(found['low'], form)}, {number(found['high'], form)}]"


def marked(difference: Found) -> str:
    """Return a difference for a cell, in bold where its interval excludes zero."""
    text = shown(difference, "+.3f", MISSING)
    return f"**{text}**" if sign(difference) in ("above", "below") else text


def number(value: float | None, form: str) -> str:
    """Return a number, or a dash; what is rounded to zero keeps its minus only where signs are asked for."""
    if value is None:
        return MISSING
    text = format(value + 0, form)  # -0.0 + 0 is 0.0
    return text if "+" in form else re.sub(r"^-(?=[0.]+%?$)", "", text)


def percent(share: float | None) -> str:
    """Return a share as a percentage, as short as it can be, or a dash."""
    return MISSING if share is None else f"{100 * share:.3g}%"


def probability(p: float | None) -> str:
    """Return a p-value with three decimals."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, in seconds where it is below a minute."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def mean_areas(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean AUROC over kinds of each method, with its interval."""
    return {row["method"]: row["auroc"] for row in part["detection"] if row["kind"] == MEAN}


def value_of(found: Found) -> float | None:
    """Return the number of an interval, None where there is no interval or no number."""
    return None if found is None else found["value"]


def named(names: Iterable[str]) -> str:
    """Return names as code, in a list that reads as a sentence."""
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def sentence_of(text: str) -> str:
    """Return the text as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def wrapped(block: str) -> str:
    """Return a block of Markdown with its prose in lines of at most 120 characters; code is not broken."""
    if block.startswith(("|", "#", "![")):
        return block
    kept = re.sub(
        r"`[^`]*`", lambda found: found.group().replace(" ", "\0"), block
    )  # a line that begins `- ` is a list
    lines = []
    for line in kept.split("\n"):
        indent = "  " if line.startswith("- ") else ""
        lines += textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")
