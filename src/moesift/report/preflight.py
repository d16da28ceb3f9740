"""What would stop a run, told from facts that cost next to nothing to collect; and the table that shows the facts."""

from collections.abc import Sequence
from dataclasses import dataclass

from moesift.models.chat import Encoded
from moesift.report.disk import Written

GIB = 2**30


@dataclass(frozen=True)
class Checked:
    """What one check has to say: lines for the table, and what would stop the run."""

    lines: list[str]
    problems: list[str]


@dataclass(frozen=True)
class Sampled:
    """A sample of a source: rows that were looked at, those of them that are refused, and how many rows there are."""

    name: str
    looked_at: int
    refused: int
    reason: str | None  # the most frequent one
    rows: int | None  # None: it does not say
    limit: int | None

    def examples(self, unknown: int) -> int:
        """Return how many examples the source gives, as far as the sample tells; duplicates are not looked for."""
        rows = unknown if self.rows is None else self.rows
        rows = rows if self.limit is None else min(rows, self.limit)
        return round(rows * (self.looked_at - self.refused) / self.looked_at)


@dataclass(frozen=True)
class Lengths:
    """How long examples are for one model, in tokens, as told by a sample."""

    mean: float  # as cut
    longest: int  # as it came
    cut: float  # share of the examples that data.max_length cuts
    lost: float  # share of those that have no response token within it


def lengths(encoded: Sequence[Encoded], weights: Sequence[float], max_length: int) -> Lengths:
    """Return the lengths of sampled examples that were encoded without a limit, each weighed by what it stands for."""
    weighed = list(zip(encoded, weights, strict=True))
    whole = sum(weights)
    return Lengths(
        mean=sum(weight * min(len(example.ids), max_length) for example, weight in weighed) / whole,
        longest=max(len(example.ids) for example in encoded),
        cut=sum(weight for example, weight in weighed if len(example.ids) > max_length) / whole,
        lost=sum(weight for example, weight in weighed if not any(example.response[1:max_length])) / whole,
    )


def data(samples: Sequence[Sampled], unknown: int, heldout: int) -> Checked:
    """Look at the sources: is something left for the pool?"""
    lines = []
    for sample in samples:
        rows = "rows of unknown number" if sample.rows is None else f"about {sample.rows:,} rows"
        taken = "" if sample.limit is None else f", at most {sample.limit:,} taken"
        refused = f", {sample.refused} refused, such as: {sample.reason}" if sample.refused else ", none refused"
        lines.append(f"  {sample.name}: {rows}{taken}; {sample.looked_at:,} looked at{refused}")
    examples = sum(sample.examples(unknown) for sample in samples)
    problems = []
    if samples and examples <= heldout:
        problems.append(
            f"data.heldout: {heldout:,} examples are asked for, but the sources have about {examples:,} in all; ask "
            "for fewer or read more rows"
        )
    return Checked([*lines, f"  in all about {examples:,} examples, {heldout:,} of them held out"], problems)


def fits(role: str, found: Lengths, max_length: int, positions: int | None) -> Checked:
    """Look at the lengths: does `data.max_length` leave responses, and has the model a position for each token?"""
    has = "" if positions is None else f"; the model has {positions:,} positions"
    line = (
        f"  {role}: {found.mean:,.0f} tokens on average, {found.longest:,} at most; data.max_length {max_length:,} "
        f"cuts {found.cut:.1%}, and {found.lost:.1%} have no response in it{has}"
    )
    problems = []
    if found.lost == 1:
        problems.append(
            f"data.max_length: {max_length} cuts every sampled example before its response begins, as the {role} "
            f"counts; the longest has {found.longest:,} tokens"
        )
    reached = min(max_length, found.longest)
    if positions is not None and reached > positions:
        problems.append(
            f"data.max_length: examples of {reached:,} tokens would be read, and {role}.model has {positions:,} "
            f"positions; set it to {positions} or less, or take another {role}"
        )
    return Checked([line], problems)


def lora(modules: int, targets: Sequence[str]) -> list[str]:
    """Return what is wrong with the target where it has no modules to tune."""
    return [] if modules else [f"train.lora_targets: no module of the target ends in {', '.join(targets)}"]


def disk(needed: Sequence[Written], there: int, free: int, folder: str) -> Checked:
    """Look at the disk: has it room for what is still to be written?"""
    total = sum(item.total for item in needed)
    missing = max(0.0, total - there)
    lines = [
        f"  {item.stage:9} {item.what:48} {item.times:>5} x {_size(item.bytes):>10} = {_size(item.total):>10}"
        for item in needed
    ]
    lines.append(f"  in all {_size(total)}, of which {_size(there)} are there; {folder} has {_size(free)} free")
    problems = []
    if missing > free:
        problems.append(
            f"{folder}: {_size(missing)} are still to be written, and {_size(free)} are free; make room, or make "
            f"{folder} a link to a larger disk"
        )
    return Checked(lines, problems)


def gpus(asked: int, visible: Sequence[str], submitted: bool, processes: dict[str, tuple[int, int]]) -> Checked:
    """Look at the GPUs: are there as many as a job asks for, and as many as processes that train on them?

    Args:
        asked: `throughput.gpus`.
        visible: the GPUs that are seen here.
        submitted: whether the jobs go to a cluster, whose nodes have the GPUs.
        processes: of each rule that trains, the processes of its accelerate file and the GPUs that the rule asks for.
    """
    if not asked:
        return Checked(["  none asked for (throughput.gpus: 0): everything is computed on the CPU"], [])
    where = "not looked for here: the jobs are submitted" if submitted else f"seen here: {len(visible)}"
    problems = []
    if not submitted and asked > len(visible):
        problems.append(
            f"throughput.gpus: {asked} for each job, but {len(visible)} can be seen here; 0 computes on the CPU, and "
            "`--profile slurm` submits the jobs to where the GPUs are"
        )
    for rule, (wanted, given) in processes.items():
        if wanted != given:
            problems.append(
                f"{rule}: its accelerate file asks for processes: {wanted}, and the rule for GPUs: {given}; give both "
                f"the same number, the rule's in the profile (set-resources: {{{rule}: {{gpu: {wanted}}}}})"
            )
    return Checked([f"  {asked} for each job that runs a model; {where}"], problems)


def memory(peaks: dict[str, float], available: float) -> list[str]:
    """Return which stages are estimated to need more than the memory of a GPU, in bytes."""
    return [
        f"{stage}: needs about {_size(peak)} of a GPU's {_size(available)}; lower throughput."
        f"{'micro_batch' if stage in ('warm up', 'train') else 'score_tokens'}"
        for stage, peak in peaks.items()
        if peak > available
    ]


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"
