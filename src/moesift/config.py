"""The configuration: its keys, their types and what they mean. It imports no torch.

The defaults live in `config/config.yaml` and nowhere else: every key is required here, and Snakemake merges a user's
file over the default one before it is validated (`validation.py`).
"""

import math
import os
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from moesift.fields import (
    Corruption,
    Count,
    File,
    MethodEntry,
    Name,
    NotNegative,
    OpenShare,
    Positive,
    Ratio,
    Section,
    Seed,
    Share,
    Unique,
    WheelTask,
    require_distinct,
)
from moesift.origins import Source, TargetTask
from moesift.selection import Select

EMBEDDED = "embedded"
SMOLLM2 = "smollm2"

# Where the data of evaluation tasks may come from, beside a directory.
WHEEL = "wheel"
HUB = "hub"


def _model(name: str) -> str:
    """Refuse a name that cannot be that of a model. Names on the hub are not looked up here."""
    if name in (EMBEDDED, SMOLLM2):
        return name
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise ValueError(f"{name} has no config.json: is it a model directory?")
        return name
    owned, pinned, revision = name.partition("@")
    if owned.startswith((".", "/", "~")) or owned.count("/") > 1 or (pinned and not revision):
        raise ValueError(f"{name} is neither a directory nor a name on the hub (owner/name, or owner/name@revision)")
    return name


Model = Annotated[str, AfterValidator(_model)]


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
        require_distinct("sources", [source.name for source in self.sources])
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


Dtype = Literal["float32", "bfloat16"]
DtypeKey = Annotated[
    Dtype | None, Field(description="precision of its weights in memory; null takes that of its files")
]


class Upcycle(Section):
    """How a dense model is turned into a Mixture-of-Experts model that computes the same function."""

    experts: Annotated[int, Field(ge=2)] = Field(description="copies of each feed-forward block")
    experts_per_token: Count = Field(description="how many of them run for a token; 1 costs what the dense model costs")
    seed: Seed = Field(description="seed of the new routers")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token: {self.experts_per_token} is more than the {self.experts} experts")
        return self


class Selector(Section):
    """The model that reads the pool: any for most methods, a Mixture of Experts for those of its routers."""

    model: Model = Field(description="`embedded`, `smollm2` (dense), a directory, or owner/name@revision on the hub")
    dtype: DtypeKey
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
    margin: NotNegative = Field(
        description="contrastive: nats of log odds by which an example should lead its negative"
    )
    negatives: Annotated[list[Corruption], Field(min_length=1), Unique] = Field(
        description="contrastive: kinds of corruption that the negatives are made by, used equally"
    )
    balance: NotNegative = Field(description="weight of the load balance over the real experts (alpha)")
    learning_rate: Positive = Field(description="learning rate of the routers, constant after a short rise")
    batch_size: Count = Field(description="examples per optimizer step")


class Reward(Section):
    """What the method `reward` reads: a sequence classifier, such as a reward model or a classifier of quality."""

    model: Model | None = Field(description="a directory, or a name on the hub: owner/name@revision; null is none")


class Target(Section):
    """The model that is tuned on the selection."""

    model: Model = Field(description="`embedded`, `smollm2`, a directory, or a name on the hub: owner/name@revision")
    dtype: DtypeKey


class LoraTrain(Section):
    """LoRA tuning of the selector."""

    accelerate: File = Field(description="accelerate configuration file: processes, DeepSpeed, precision")
    epochs: Count = Field(description="passes over the selection")
    learning_rate: Positive = Field(description="peak learning rate; linear rise, cosine fall")
    warmup_ratio: Share = Field(description="share of the steps in which the learning rate rises")
    batch_size: Count = Field(description="examples per optimizer step, over all processes")
    lora_rank: Count = Field(description="rank of the LoRA matrices")
    lora_alpha: Count = Field(description="LoRA scale numerator; the update is scaled by alpha / rank")
    lora_dropout: Share = Field(description="dropout on the input of the LoRA matrices")
    lora_targets: Annotated[list[str], Field(min_length=1), Unique] = Field(
        description="ends of the names of what gets LoRA matrices: modules, and the experts of a Mixture of Experts"
    )


class Train(LoraTrain):
    """Tuning of the target. With `method: full`, keys that begin with `lora_` have no effect, and rerun nothing."""

    method: Literal["lora", "full"] = Field(description="what is trained: LoRA matrices on the weights, or all weights")

    @property
    def unread(self) -> list[str]:
        """The keys that its method does not read."""
        return [key for key in type(self).model_fields if key.startswith("lora_")] if self.method == "full" else []


class Gradients(Section):
    """What `less`, `gist` and, if asked, `moore_lewis` read: the selector after a short LoRA warm-up."""

    share: Ratio = Field(description="share of the pool that the warm-up trains on, drawn by the seed")
    dimension: Count = Field(description="numbers that each gradient is projected to")
    train: LoraTrain


class Task(Section):
    """One evaluation: a task or a group of lm-eval."""

    name: Name = Field(description="lm-eval's name of the task or group")
    fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="examples before each question; null takes lm-eval's own number for the task"
    )
    limit: Count | None = Field(None, description="questions of the task, of each subtask of a group; null takes all")


class Evaluate(Section):
    """What the tuned target is measured on."""

    tasks: list[Task] = Field(
        description="lm-eval tasks or groups, each with its examples before a question and a limit of questions; with "
        "none, what is measured is the loss on held-out examples"
    )
    data: str = Field(
        description="where the tasks' data come from: `wheel` (the pinned one), `hub` (the tasks as lm-eval ships "
        "them), or a directory with files `{data set}/{configuration}/{split}.jsonl` or `.parquet`"
    )

    @model_validator(mode="after")
    def _data_is_there(self) -> Self:
        require_distinct("tasks", [task.name for task in self.tasks])
        if self.data not in (WHEEL, HUB) and not os.path.isdir(self.data):
            raise ValueError(f"data: {self.data} is neither `{WHEEL}`, `{HUB}` nor a directory")
        return self


class Estimate(Section):
    """Assumptions of `snakemake check`; no result depends on them."""

    pool_examples: Count = Field(description="rows of a data set on the hub that does not say how many it has")
    peak_tflops: Positive = Field(
        description="peak of one GPU in bf16, in TFLOP/s; measured instead where there is one"
    )
    memory_gib: Positive = Field(description="memory of one GPU in GiB; read from the GPU instead where there is one")
    utilisation: Ratio = Field(description="share of the peak that is reached")


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
    methods: Annotated[list[MethodEntry], Field(min_length=1)] = Field(
        description="what is compared: names of methods, or labels with settings"
    )
    data: Data
    targets: list[TargetTask] = Field(
        description="tasks that targeted methods select for, each by a few examples; may be empty"
    )
    embedded: Embedded
    selector: Selector
    warmup: Warmup
    gradients: Gradients
    reward: Reward
    select: Select
    target: Target
    train: Train
    evaluate: Evaluate
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
        require_distinct("targets", [target.name for target in self.targets])
        require_distinct("methods", [entry.label for entry in self.methods], "; give one another label")
        if self.warmup.objective == "contrastive" and self.warmup.expert_role == "partition":
            raise ValueError("warmup.expert_role: contrastive trains appended trash-can experts; partition has none")
        return self
