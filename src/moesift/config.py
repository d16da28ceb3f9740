"""What a configuration may say. Validated once, when Snakemake builds the DAG; it imports no torch.

The defaults live in `config/config.yaml` and nowhere else: every key is required here, and Snakemake merges a user's
file over the default one before it is validated.
"""

import datetime
import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import PurePosixPath
from types import UnionType
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

Method = Literal[
    "router",
    "router_untrained",
    "expert_gain",
    "reducible",
    "nll",
    "ifd",
    "instruction_gain",
    "likelihood_pmi",
    "typical_pmi",
    "typical_inputs",
    "length",
    "random",
]
Corruption = Literal[
    "swapped_alike",
    "swapped_response",
    "swapped_across",
    "wrong_choice",
    "wrong_number",
    "shuffled_words",
    "noise_10",
    "noise_30",
    "truncated",
    "unfinished",
    "repeated",
    "empty",
    "refusal",
    "gibberish",
    "perturbed_instruction",
]
WheelTask = Literal[
    "arc_easy",
    "arc_challenge",
    "boolq",
    "csqa",
    "openbookqa",
    "piqa",
    "socialiqa",
    "hellaswag",
    "winogrande",
]

EMBEDDED = "embedded"
SMOLLM2 = "smollm2"
# Where the data of evaluation tasks may come from, beside a directory.
WHEEL = "wheel"
HUB = "hub"
SHOWN = 200  # characters of a value that an error quotes


class ConfigError(ValueError):
    """The configuration cannot be used; the message lists every error, each with the path of its key."""


def _within(low: float, high: float, *, low_open: bool = False, high_open: bool = False) -> AfterValidator:
    """Refuse numbers outside an interval, in the notation that the message shows."""
    interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"

    def check(value: float) -> float:
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if not (above and below):
            raise ValueError(f"{value:g} is not in {interval}")
        return value

    return AfterValidator(check)


def _name(value: str) -> str:
    # Names become file names: nothing that climbs out of results/ or needs quoting.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
        raise ValueError(
            f"{value[:SHOWN]!r} is not a name: letters, digits, '_', '-' and '.', at most 100, beginning with a letter "
            "or digit"
        )
    return value


def _file(value: str) -> str:
    if not os.path.isfile(value):
        raise ValueError(f"{value} is not a file")
    return value


def _license(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,99}", value):
        raise ValueError(f"{value[:SHOWN]!r} is no short name of a licence, such as apache-2.0, cc-by-4.0 or other")
    return value


def _unique(values: list[Any]) -> list[Any]:
    if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(repeated)} is listed more than once")
    return values


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, _within(0, 1, high_open=True)]
OpenShare = Annotated[float, _within(0, 1, low_open=True, high_open=True)]
Ratio = Annotated[float, _within(0, 1, low_open=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_name)]
License = Annotated[str, AfterValidator(_license)]
File = Annotated[str, AfterValidator(_file)]
Unique = AfterValidator(_unique)


class Section(BaseModel):
    """Settings of one subject; a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        for part in _listed(value):
            if isinstance(part, bool):  # in YAML `on` and `yes` are true, and true would count as 1
                raise ValueError("is true or false, and no setting is a switch; put a word of YAML's in quotes")
            if isinstance(part, str) and part != part.encode(errors="replace").decode():
                raise ValueError("has half a surrogate pair, which cannot be written as UTF-8")
        return value


class Source(Section):
    """Where a part of the pool comes from: exactly one of `wheel`, `path` and `hub`."""

    name: Name = Field(description="what the rows of this source are called from here on")
    wheel: WheelTask | None = Field(None, description="a task of the pinned data wheel, its training split")
    path: str | None = Field(None, description="a local file: .jsonl, .json, .parquet, .jsonl.gz or .json.gz")
    hub: str | None = Field(None, description="a data set on the hub, by name")
    split: str = Field("train", description="hub: the split to take, where no `file` is given")
    file: str | None = Field(
        None, description="hub: one file of the data set instead of a split: as for `path`, or a .zip"
    )
    member: str | None = Field(None, description="hub: the file to take from a .zip, by the end of its path in there")
    revision: str | None = Field(None, description="hub: commit, tag or branch; null takes the newest")
    format: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_completion", "less"] = Field(
        "auto", description="how its rows are laid out; `auto` tells by their columns"
    )
    limit: Count | None = Field(None, description="rows to take, sampled by `data.seed`; null takes all")
    # No result depends on it, so it is told to the cards alone (and reruns nothing else).
    license: License | None = Field(
        None,
        exclude=True,
        description="for the cards: the licence of its text, by the hub's short name such as cc-by-4.0; null is that "
        "of the wheel's task, or unknown",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [origin for origin in ("wheel", "path", "hub") if getattr(self, origin) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of wheel, path and hub, not {' and '.join(given) or 'none'}")
        # os.path, since pathlib raises where a folder is closed or a name too long.
        if self.path is not None and not os.path.isfile(self.path):
            raise ValueError(f"path: {self.path} is not a file")
        for key in ("file", "revision"):
            if getattr(self, key) is not None and self.hub is None:
                raise ValueError(f"{key}: belongs to a data set of the hub, and there is no hub here")
        for key in ("file", "member"):
            inside = PurePosixPath(getattr(self, key) or "")
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"{key}: {inside} leads out of the data set")
        if self.revision is not None and os.path.isdir(str(self.hub)):
            raise ValueError(f"revision: {self.hub} is a directory here, which has no revisions")
        if (self.member is not None) != (self.file is not None and self.file.endswith(".zip")):
            raise ValueError("member: names what to take from a file that ends in .zip; give both or neither")
        return self


class Data(Section):
    """The pool."""

    sources: Annotated[list[Source], Field(min_length=1)] = Field(description="where the pool comes from")
    heldout: Count = Field(description="clean examples that never enter the pool; evaluation measures the loss on them")
    corrupt: Share = Field(description="share of the pool that is corrupted, with its label kept (for demonstrations)")
    corruptions: Annotated[list[Corruption], Unique] = Field(description="kinds of corruption, used equally")
    seed: Seed = Field(description="seed of sampling, splitting and corrupting")
    max_length: Annotated[int, Field(ge=8)] = Field(description="tokens an example may have; what is longer is cut")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len({source.name for source in self.sources}) < len(self.sources):
            raise ValueError("sources: two have the same name")
        if self.corrupt > 0 and not self.corruptions:
            raise ValueError("corruptions: is empty although corrupt is above 0")
        return self


class Embedded(Section):
    """The tiny models that the workflow pretrains when `selector.model` or `target.model` is `embedded`."""

    corpus: Annotated[list[WheelTask], Field(min_length=1), Unique] = Field(
        description="wheel tasks whose text is learned; disjoint from the pool's sources"
    )
    vocabulary: Annotated[int, Field(ge=300)] = Field(description="size of the byte-level BPE vocabulary")
    tokens: Count = Field(description="tokens that each model is trained on")
    learning_rate: Positive = Field(description="peak learning rate")
    seed: Seed = Field(description="seed of the initial weights and of the order of the text")


class Upcycle(Section):
    """How a dense model is turned into a Mixture-of-Experts model that computes the same function."""

    experts: Annotated[int, Field(ge=2)] = Field(description="copies of each feed-forward block")
    experts_per_token: Count = Field(description="how many of them run for a token; 1 costs what the dense model costs")
    seed: Seed = Field(description="seed of the new routers")
    dtype: Literal["float32", "bfloat16"] | None = Field(
        None, description="precision of its weights; unless given, that of the dense model"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token: {self.experts_per_token} is more than the {self.experts} experts")
        return self


class Selector(Section):
    """The MoE model whose routers score the pool."""

    model: str = Field(description="`embedded`, `smollm2` (dense), a local directory, or a name on the hub")
    upcycle: Upcycle | None = Field(
        description="turns a dense Llama, Mistral, Qwen2 or Qwen3 into a MoE; null does not"
    )

    @model_validator(mode="after")
    def _dense(self) -> Self:
        if self.upcycle is not None and self.model == EMBEDDED:
            raise ValueError("upcycle: the embedded selector is a MoE already; leave upcycle at null")
        return self


class Warmup(Section):
    """Training of the routers."""

    accelerate: File = Field(description="accelerate configuration file: processes, each of which holds the selector")
    epochs: Count = Field(description="passes over the warm-up examples; each is a checkpoint")
    examples: Count | None = Field(description="examples of the pool that the routers train on; null takes all")
    objective: Literal["budget", "contrastive", "lm"] = Field(description="what the routers are trained for")
    expert_role: Literal["appended", "partition"] = Field(
        description="trash-can experts are appended router rows, or the last of the model's own experts"
    )
    trash_ratio: OpenShare = Field(description="trash-can experts as a share of the model's experts")
    trash_share: OpenShare = Field(description="budget: target of the mean trash share per layer (rho)")
    dual_rate: NotNegative = Field(description="budget: step size of the dual ascent on the multipliers (eta)")
    damping: NotNegative = Field(description="budget: what a layer pays at once for missing the target, against swings")
    margin: NotNegative = Field(description="contrastive: nats of log odds by which an example should lead its twin")
    twins: Annotated[list[Corruption], Field(min_length=1), Unique] = Field(
        description="contrastive: kinds of corruption that the twins are made by, used equally"
    )
    balance: NotNegative = Field(description="weight of the load balance over the real experts (alpha)")
    learning_rate: Positive = Field(description="learning rate of the routers, constant after a short rise")
    batch_size: Count = Field(description="examples per optimizer step")


class Score(Section):
    """How the routers score an example."""

    layers: Literal["all"] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), Unique] = Field(
        description="routed layers that count, from 0: `all` or a list"
    )
    tokens: Literal["response", "all"] = Field(description="tokens that count; padding never does")


class Select(Section):
    """Which part of the ranking is kept."""

    ratio: Annotated[list[Ratio], BeforeValidator(_listed), Field(min_length=1), Unique] = Field(
        description="share of the pool that is kept: the best, or, with `reject`, a random part of what that leaves; "
        "one number or several"
    )
    format: Literal["parquet", "jsonl"] = Field(description="jsonl writes the selection a second time, as JSON lines")
    drop_top: Share = Field(description="share of the ranking that is left out from its top")
    decontaminate: Annotated[int, Field(ge=5)] | None = Field(
        description="drops examples that share so many consecutive words with a test question of `evaluate.tasks`"
    )
    near_duplicates: OpenShare | None = Field(
        description="Jaccard similarity of word shingles from which on only the best of several examples is kept"
    )
    quota: Literal["proportional", "equal"] | dict[Name, NotNegative] | None = Field(
        description="share of the selection that each source gets: as in the pool, equal, or by source"
    )
    reject: OpenShare | None = Field(
        description="share of each source that is rejected, first what has no score, then the lowest; of the rest the "
        "selection is drawn at random"
    )
    diversity: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = Field(
        description="candidates for each example that is kept; those that use the experts most unlike each other stay"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        most = max(self.ratio)
        if self.reject is not None and most > 1 - self.reject and not math.isclose(most, 1 - self.reject):
            raise ValueError(
                f"ratio: {most:g} of the pool is more than the {1 - self.reject:g} that `reject` leaves; keep less, "
                "reject less, or rank, with `reject: null`"
            )
        return self


class Target(Section):
    """The model that is tuned on the selection."""

    model: str = Field(description="`embedded`, `smollm2`, a local directory, or a name on the hub")


class Train(Section):
    """LoRA tuning of the target."""

    accelerate: File = Field(description="accelerate configuration file: processes, DeepSpeed, precision")
    epochs: Count = Field(description="passes over the selection")
    learning_rate: Positive = Field(description="peak learning rate; linear rise, cosine fall")
    warmup_ratio: Share = Field(description="share of the steps in which the learning rate rises")
    batch_size: Count = Field(description="examples per optimizer step, over all processes")
    lora_rank: Count = Field(description="rank of the LoRA matrices")
    lora_alpha: Count = Field(description="LoRA scale numerator; the update is scaled by alpha / rank")
    lora_dropout: Share = Field(description="dropout on the input of the LoRA matrices")
    lora_targets: Annotated[list[str], Field(min_length=1), Unique] = Field(
        description="modules that get LoRA matrices"
    )


class Task(Section):
    """One evaluation: a task or a group of lm-eval."""

    name: Name = Field(description="lm-eval's name of the task or group")
    fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="examples before each question; null takes lm-eval's own number for the task"
    )
    limit: Count | None = Field(None, description="questions of the task, of each subtask of a group; null takes all")


class Evaluate(Section):
    """What the tuned target is measured on."""

    tasks: Annotated[list[Task], Field(min_length=1)] = Field(
        description="lm-eval tasks or groups, each with its examples before a question and a limit of questions"
    )
    data: str = Field(
        description="where the tasks' data come from: `wheel` (the pinned one), `hub` (the tasks as lm-eval ships "
        "them), or a directory with files `{data set}/{configuration}/{split}.jsonl` or `.parquet`"
    )

    @model_validator(mode="after")
    def _data_is_there(self) -> Self:
        if self.data not in (WHEEL, HUB) and not os.path.isdir(self.data):
            raise ValueError(f"data: {self.data} is neither `{WHEEL}`, `{HUB}` nor a directory")
        return self


Baseline = Literal["filtered", "random", "balanced", "mid_nll", "bottom", "oracle", "full"]


class Claim(Section):
    """What the study is to show, written down before it is run."""

    method: Method = Field(description="the method that is claimed to see more")
    against: Annotated[list[Method], Field(min_length=1), Unique] = Field(description="than the best of these")
    kinds: Annotated[list[Corruption], Field(min_length=1), Unique] = Field(description="on these kinds of corruption")


class Doses(Section):
    """More and less noise than the tables of the study are of."""

    noise: Annotated[list[Annotated[float, _within(0, 1, high_open=True)]], Field(min_length=1), Unique] = Field(
        description="shares of the pool that are corrupted; at 0 nothing can be found, and only training tells"
    )
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = Field(
        description="those of the test seeds to run it on"
    )
    arms: Annotated[list[Method | Baseline], Unique] = Field(description="as in `study.arms`; none tunes nothing")
    ratios: Annotated[list[Ratio], Field(min_length=1), Unique] = Field(description="as in `study.ratios`")


class Human(Section):
    """Examples as they were and as experts revised them; scores should prefer the revised side."""

    path: File = Field(description="JSON, or JSON that is gzipped, with the keys of CoachLM's expert revisions")
    pairs: Count = Field(description="how many are drawn of those in which the response alone was revised")


class Study(Section):
    """`snakemake study`: pools with hidden labels, over several seeds, that show what a score sees and is worth."""

    validation_seeds: Annotated[list[Seed], Unique] = Field(description="seeds that choices may be made on")
    test_seeds: Annotated[list[Seed], Field(min_length=1), Unique] = Field(
        description="seeds that are run once and reported; each reseeds the pool, its noise, the warm-up and the "
        "embedded models"
    )
    methods: Annotated[list[Method], Field(min_length=1), Unique] = Field(description="scorers to compare")
    baselines: Annotated[list[Method], Field(min_length=1), Unique] = Field(
        description="scorers that a method should beat the best of"
    )
    noise: OpenShare = Field(description="share of the pool that is corrupted")
    doses: Doses | None = Field(description="more and less noise; null leaves it out")
    human: Human | None = Field(description="pairs that experts revised; null leaves them out")
    duplicates: Annotated[list[OpenShare], Unique] = Field(
        description="thresholds as `select.near_duplicates`, at which copies are looked for; none leaves it out"
    )
    halves: Annotated[list[Annotated[list[Corruption], Field(min_length=1), Unique]], Field(min_length=2)] = Field(
        description="kinds of corruption, parted: a pool has those of one part, its warm-up's twins those of the others"
    )
    control: Corruption = Field(description="a kind in every pool that does no harm to the response")
    sanity: Annotated[list[Corruption], Unique] = Field(
        description="kinds of the halves that any score should see; no mean over kinds has them"
    )
    before: str | None = Field(
        description="what was known when the test seeds were run, in sentences that the page prints; null says nothing"
    )
    claim: Claim
    default: Method = Field(description="the method that the validation seeds chose, held against the project's goals")
    arms: Annotated[list[Method | Baseline], Unique] = Field(
        description="what the target is tuned on: the best by a method, or a baseline; none tunes nothing"
    )
    reject: OpenShare = Field(
        description="filtered: share of each source that is rejected, the lowest by `default` first; the rest is drawn"
    )
    ratios: Annotated[list[Ratio], Field(min_length=1), Unique] = Field(description="shares of the pool that are kept")
    tokens: Count = Field(description="tokens that each tuning sees, whatever was kept")
    resamples: Count = Field(description="of the bootstrap and of the permutation test")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        seeds = [*self.validation_seeds, *self.test_seeds]
        kinds = [kind for half in self.halves for kind in half]
        for name, values in (("test_seeds", seeds), ("halves", [*kinds, self.control])):
            if repeated := sorted(str(value) for value, count in Counter(values).items() if count > 1):
                raise ValueError(f"{name}: {', '.join(repeated)} stands in two places")
        for noise in (self.noise, *(self.doses.noise if self.doses is not None else [])):
            if float(written := f"{noise:g}") != noise or "e" in written:
                raise ValueError(f"noise: {noise} cannot name a folder; give at most six digits")
        if self.doses is not None:
            if other := sorted(set(self.doses.seeds) - set(self.test_seeds)):
                raise ValueError(f"doses.seeds: {', '.join(map(str, other))} is none of the test_seeds")
            if self.noise in self.doses.noise:
                raise ValueError(f"doses.noise: {self.noise} is the noise that all else is of")
        read = {"bottom": "router", "mid_nll": "nll"}
        asked = [*self.arms, *(self.doses.arms if self.doses is not None else [])]
        arms = [read.get(arm, arm) for arm in asked if arm in read or arm not in get_args(Baseline)]
        named = [*self.baselines, self.default, self.claim.method, *self.claim.against, *arms]
        if missing := sorted(set(named) - set(self.methods)):
            raise ValueError(f"methods: {', '.join(missing)} is needed by baselines, default, claim or arms")
        if unknown := sorted(set(self.sanity) - set(kinds)):
            raise ValueError(f"sanity: {', '.join(unknown)} is in none of the halves")
        if unknown := sorted(set(self.claim.kinds) - set(kinds)):
            raise ValueError(f"claim.kinds: {', '.join(unknown)} is in none of the halves")
        return self


class TaskSize(Section):
    """How large an evaluation is, roughly."""

    name: Name = Field(description="the name in `evaluate.tasks`")
    questions: Count = Field(description="questions asked, the limits counted")
    prompt_tokens: Count = Field(description="tokens of a question with the examples before it")
    generated_tokens: Annotated[int, Field(ge=0)] = Field(description="tokens of an answer; 0 where answers are ranked")


class Estimate(Section):
    """What `snakemake check` assumes; it changes no result."""

    pool_examples: Count = Field(description="rows of a data set of the hub that does not say how many it has")
    peak_tflops: Positive = Field(description="peak of one GPU in bf16, in TFLOP/s, where none is at hand to measure")
    memory_gib: Positive = Field(description="memory of one GPU in GiB, likewise")
    utilisation: Ratio = Field(description="share of that peak that is reached")
    decode_ms: Positive = Field(description="milliseconds in which a batch of answers grows by one token")
    tasks: list[TaskSize] = Field(description="sizes of the evaluations")


class Throughput(Section):
    """What changes speed and memory but no result; a change here reruns nothing, save the shard count."""

    threads: Count = Field(description="CPU threads per job")
    gpus: Annotated[int, Field(ge=0)] = Field(description="GPUs per job that runs a model")
    shards: Count = Field(description="jobs that one scoring of the pool is split into")
    score_tokens: Count | None = Field(
        description="tokens, padding included, in one scoring batch; null takes what suits the device"
    )
    micro_batch: Count = Field(
        description="examples in one forward and backward pass of one process; the warm-up takes more where they are "
        "shorter than its step's longest"
    )
    activations: Literal["keep", "recompute"] = Field(
        description="whether warm-up and training keep what the backward pass needs, or each layer's input alone and "
        "compute the rest again (activation checkpointing): a third slower, for a fraction of the memory"
    )
    eval_batch_size: Count | Literal["auto"] = Field(
        description="requests that lm-eval answers at once; `auto` lets it find what a GPU holds, up to 64"
    )
    save_every: NotNegative = Field(
        description="seconds between two states that a killed warm-up or training goes on from"
    )
    live: Literal["tensorboard"] | None = Field(
        description="shows warm-ups and trainings while they run, by TensorBoard's event files below "
        "results/{experiment}/live; null does not"
    )

    @field_validator("live")
    @classmethod
    def _installed(cls, value: str | None) -> str | None:
        if value is not None and find_spec(value) is None:
            raise ValueError(f"needs the package {value}: pip install 'moesift[live]'")
        return value


class Config(Section):
    """The whole configuration."""

    experiment: Name = Field(description="folder below results/")
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = Field(description="each repeats warm-up to evaluation")
    methods: Annotated[list[Method], Field(min_length=1), Unique] = Field(description="scorers to compare")
    data: Data
    embedded: Embedded
    selector: Selector
    warmup: Warmup
    score: Score
    select: Select
    target: Target
    train: Train
    evaluate: Evaluate
    study: Study | None = Field(description="what `snakemake study` does; config/study.yaml has one")
    estimate: Estimate
    throughput: Throughput

    @model_validator(mode="after")
    def _sound(self) -> Self:
        reused = {source.wheel for source in self.data.sources if source.wheel} & set(self.embedded.corpus)
        if reused and EMBEDDED in (self.selector.model, self.target.model):
            raise ValueError(f"embedded.corpus: {', '.join(sorted(reused))} is also a source of the pool")
        if isinstance(self.select.quota, dict):
            unknown = set(self.select.quota) - {source.name for source in self.data.sources}
            if unknown or not math.isclose(sum(self.select.quota.values()), 1):
                wrong = f"no source is called {', '.join(sorted(unknown))}" if unknown else "the shares must sum to 1"
                raise ValueError(f"select.quota: {wrong}")
        asked = {*self.methods, *(self.study.methods if self.study is not None else [])}
        if self.warmup.objective == "contrastive":
            if self.warmup.expert_role == "partition":
                raise ValueError(
                    "warmup.expert_role: contrastive trains appended trash-can experts; partition has none"
                )
            if "reducible" in asked:
                raise ValueError(
                    "methods: reducible needs a warm-up that lowers the loss; contrastive leaves it as it is"
                )
        if "reducible" in asked and self.warmup.examples is None:
            raise ValueError(
                "warmup.examples: null trains on the whole pool, but reducible scores only what was not trained on; "
                "give a number, or leave reducible out of methods"
            )
        return self


def validated(raw: Mapping[str, Any]) -> Config:
    """Return the configuration, or say everything that is wrong with it.

    Raises:
        ConfigError: one line per error, each `path.of.key: what is wrong`.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(detail) for detail in error.errors())) from None
    missing = [
        f"{key}: {model} {reason}"
        for key, model in (("selector.model", config.selector.model), ("target.model", config.target.model))
        if (reason := _unusable(model))
    ]
    if missing:
        raise ConfigError("\n".join(missing))
    return config


def repeated_keys(text: str) -> list[str]:
    """Return the keys that stand twice in a section of a YAML file, each with its line; YAML itself keeps the last."""
    try:
        waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    except yaml.YAMLError:
        return []  # Snakemake reads JSON as well, which may be indented by tabs
    found: list[str] = []
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias may repeat a node without end
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            waiting += [value for _, value in node.value]
            counts = Counter(key.value for key in keys)
            found += [f"line {key.start_mark.line + 1}: {key.value}" for key in keys if counts[key.value] > 1]
    return found


def _line(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "model_type":
        return f"{path}: is {_shown(detail['input'])}, not a section with keys of its own"
    if isinstance(detail["input"], (int, float, str)):
        path = re.sub(r"\.\d+$", "", path)  # of a list of plain values the value itself is shown, not its place
    if detail["type"] == "extra_forbidden":
        *parents, key = detail["loc"]
        near = difflib.get_close_matches(str(key), _keys(parents), n=1)
        return f"{path}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{path}: is missing"
    if detail["type"] == "value_error":
        # Validators of a section name the key themselves; those of a value need it named.
        message = str(detail["ctx"]["error"])
        named = re.match(r"[a-z_.]+: ", message)
        return f"{path}.{message}" if named and path else message if named else f"{path}: {message}"
    shown = _shown(detail["input"])
    return f"{path}: {shown} is refused: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _shown(value: Any) -> str:
    """Return a value as one would write it in YAML, the beginning of it where it is long."""
    if not isinstance(value, (int, float, str, datetime.date, type(None))):
        return "this"
    text = "null" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _keys(path: list[Any]) -> list[str]:
    """Return the keys that the section at `path` knows."""
    section: Any = Config
    for part in path:
        section = get_args(section)[0] if isinstance(part, int) else section.model_fields[part].annotation
        section = get_args(section)[0] if isinstance(section, UnionType) else section
    return list(section.model_fields)


def _unusable(model: str) -> str | None:
    """Say why a model cannot be what the key asks for; None where it can. A hub name is not looked up here."""
    if model in (EMBEDDED, SMOLLM2):
        return None
    if os.path.isdir(model):
        found = os.path.isfile(os.path.join(model, "config.json"))
        return None if found else "has no config.json: is it a model directory?"
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return "is neither a directory nor a name on the hub (owner/name)"
    return None
