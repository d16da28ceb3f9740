"""The tables on the page of the study, from study.json. Where there are no numbers there is no table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moesift.study.figures import CEILINGS, MEAN, drawable, kinds_of, ranked
from moesift.study.words import (
    MISSING,
    NOT_COMPUTED,
    Found,
    loss,
    marked,
    mean_areas,
    named,
    number,
    percent,
    probability,
    sentence_of,
    shown,
    table,
    title,
    value_of,
)

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
        ("Human preference", human(study["human"])),
        ("Copies", copies(study["duplicates"])),
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
    gained = {(row["method"], row["kind"]): row for row in part["differences"]}
    rows = sorted((row for row in part["detection"] if row["kind"] in kinds), key=lambda row: kinds[row["kind"]])
    lines = [
        [
            f"`{row['method']}`",
            f"`{row['kind']}`",
            shown(row["auroc"], ".3f", MISSING),
            shown(row["bootstrap"], ".3f", MISSING),
            marked(gained.get((method, row["kind"]), {}).get("bootstrap")),
            number(row["auprc"], ".3f"),
            number(row["chance"], ".3f"),
            probability(row["p"]),
            probability(row["holm"]),
            number(row["clean"], "d"),
            number(row["corrupted"], "d"),
        ]
        for method in wanted
        for row in rows
        if row["method"] == method
    ]
    heads = ["method", "kind", "AUROC over seeds", "AUROC, bootstrap over examples"]
    heads += ["minus the best baseline's, bootstrap", "AUPRC", "its chance level", "p", "p, Holm"]
    heads += ["clean examples", "spoilt examples"]
    note = (
        f"Of {named(wanted)}: the method of the claim, that with the highest mean AUROC and the best baseline. The "
        "difference is paired by example, bold where its interval excludes zero."
    )
    unscored = {
        method: sum(row["without"] for row in part["detection"] if row["method"] == method and row["without"])
        for method in order
    }
    without = [f"{count} of `{method}`" for method, count in unscored.items() if count]
    if without:
        note += f" Spoilt examples without a score, of all methods: {', '.join(without)}."
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
            *(shown(cells.get((method, r), {}).get(group), ".1%", MISSING) for r in recalls for group in groups),
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
    note = (
        "Spearman's rho of severity and score; below zero, the worse an example is spoilt the lower is its score. A "
        "severity is a share of the response, of which a short one has the larger steps: read it beside each score's "
        "correlation with the length."
    )
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
    seeds = {row["noise"]: ", ".join(map(str, row["seeds"])) for row in part["doses"]}
    over = "; ".join(f"{percent(noise)} spoilt over the seeds {seeds[noise]}" for noise in noises)
    without = part["doses"][0]["without"]
    but = f" but {named(without)}, which at some share leave no clean example to compare with" if without else ""
    return [f"Mean AUROC over kinds{but}. {sentence_of(over)}", table(heads, lines)]


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
        f"interval excludes zero, on either side. Spoilt among the kept counts the control as well, which the oracle "
        f"leaves out. {sentence_of('; '.join(arms)) if arms else ''}"
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
        f"Over {found['pairs']} pairs of a response and its revision by an expert: the share in which the revised side "
        "scores higher, by the first test seed's selector and routers, with its bootstrap interval over pairs. 0.5 is "
        "chance."
    )
    return [note, table(["method", "agreement", "the interval"], lines)] if lines else []


def copies(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of the copies that the search for near-duplicates finds."""
    lines = [
        [
            percent(row["replaced"]),
            number(row["threshold"], ".2f"),
            number(row["copies"], "d"),
            shown(row["found"], ".1%", MISSING),
            number(row["others"], ".2%"),
        ]
        for row in rows
    ]
    note = (
        "Copies of clean examples, in upper case and with a share of their words replaced, among the originals: which "
        "of them `select.near_duplicates` finds at a threshold. On the right, pairs of originals that it finds as well."
    )
    heads = ["words replaced", "threshold", "copies", "found", "pairs of originals, for each original"]
    return [note, table(heads, lines)] if lines else []


def chosen(agreement: Found) -> str:
    """Say where the interval of an agreement lies to chance."""
    if agreement is None or any(agreement[end] is None for end in ("value", "low", "high")):
        return MISSING
    if agreement["low"] > 0.5:
        return "above chance"
    return "below chance" if agreement["high"] < 0.5 else "holds chance"


def matrix(
    note: str, cells: Mapping[tuple[str, str], Any], rows: Iterable[str], columns: Iterable[str], write: Callable
) -> list[str]:
    """Return a note and a table of what stands at (row, column); rows and columns without a cell are left out."""
    rows = [row for row in rows if any(row == other for other, _ in cells)]
    columns = [column for column in columns if any(column == other for _, other in cells)]
    lines = [[title(row), *(write(cells.get((row, column))) for column in columns)] for row in rows]
    lines = [[cell if cell != NOT_COMPUTED else MISSING for cell in line] for line in lines]
    return [note, table(["kind", *(f"`{column}`" for column in columns)], lines)] if lines else []
