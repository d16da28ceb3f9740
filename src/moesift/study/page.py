"""The study as a Markdown page: every number and every sentence is made from study.json."""

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from moesift.study.answer import (
    clauses,
    goals,
    headline,
    held,
    human_answer,
    left_out,
    reported,
    training_answer,
    verdict,
)
from moesift.study.figures import CEILINGS, MEAN, drawable, kinds_of, ranked
from moesift.study.tables import matrix, tables
from moesift.study.words import (
    MISSING,
    duration,
    marked,
    mean_areas,
    named,
    number,
    percent,
    sentence_of,
    shown,
    table,
    value_of,
)

WIDTH = 120
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
        "Held-out loss after training, against training on a random part",
        "Held-out loss of the target tuned on what each arm keeps, minus that after training on a random part of the "
        "same size. The oracle keeps clean examples alone.",
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
    "2308.12032, eq. 4), the hardest first; an example that reaches 1 has no score and is never kept",
    "instruction_gain": "`1 - s(A|Q) / s(A)`, the share of the response's loss that its instruction takes away",
    "likelihood_pmi": "`log p(A|Q) + (log p(A|Q) - log p(A))`, the likelihood of the response plus its pointwise "
    "mutual information with the instruction, in nats per response token",
    "typical_pmi": "`z(likelihood_pmi) - z(d)` within the source, with d the robust Mahalanobis distance (minimum "
    "covariance determinant, Rousseeuw and Van Driessen 1999) of the logarithms of the loss, of the loss without the "
    "instruction and of the length, and of the last token's loss",
    "typical_inputs": "`z(likelihood_pmi) - z(d)` within the source, with d the same distance of these four "
    "numbers and of the first four principal components of what the router in the middle of the model reads, the mean "
    "over the response tokens",
    "expert_gain": "the loss with the keep share at 0 minus the loss with it at 1, in nats per token",
    "reducible": "the loss before the warm-up minus the loss after it, in nats per token",
    "length": "the number of response tokens, the longest first",
    "random": "uniform random numbers",
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
    return [verdict(study), headline(study), *told, *human_answer(study), *goals(part, name)]


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
    chosen = (
        f"`{of['default']}` is the method that the validation seeds chose. They hold the same kinds of corruption as "
        "the test seeds, so its numbers say what to expect of these kinds and not, as the routers' do, of unseen ones."
    )
    before = [of["before"]] if of["before"] else []
    versions = ", ".join(f"{package} {version}" for package, version in of["versions"].items())
    return [first, pools, parts, last, chosen, *before, *([f"Versions: {versions}."] if versions else [])]


def figures(part: Mapping[str, Any]) -> list[str]:
    """Return the figures as links, each with its caption."""
    return [text for name in drawable(part) for text in (f"![{FIGURES[name][0]}](study-{name}.png)", FIGURES[name][1])]


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
        "score would be paid for seeing which examples a corruption applies to. An example that a method gives no "
        "score is one that it never selects: it stands below all others, and is counted.",
        "**AUROC**: the chance that a clean example scores higher than a spoilt one, ties counted half. It is the "
        "statistic of Mann and Whitney over the number of pairs (Hanley & McNeil 1982, doi "
        "10.1148/radiology.143.1.7063747). The mean over kinds weighs them equally, seed by seed "
        f"({left_out(study)}). AUPRC is the average precision of finding the spoilt examples from the "
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
        "**Supervised probes**: a linear classifier on the routers' inputs that is told which examples are spoilt, "
        "for `probe_kind` of all kinds but the one it is judged on, for `probe_source` of all sources but one. It "
        "never judges an example that it was trained on. They show what the routers could read, and bound no score of "
        "another kind.",
        *(["**Scores**, the higher the better:", scores] if scores else []),
        *([ranknet] if of["objective"] == "contrastive" else []),
        "**Share of the oracle gap closed**: `(S - R) / (O - R)` of the held-out losses of the selection S, of a "
        "random one R and of the oracle's O, which knows the labels; 1 is as good as the oracle, 0 as random, below "
        "zero is worse than random. `S - R` of each seed is divided by the mean of `O - R` over the seeds, so that one "
        "seed with hardly a gap does not decide it. Where the interval of `O - R` holds zero there is no gap to close, "
        "and no share.",
    ]


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
