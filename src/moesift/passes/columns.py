"""What each pass gives of every example, by fixed columns. Imported with every plan: nothing heavy here.

A pass is the module of its name in this folder, and gives all of its columns at once. Where an example has no response
token within `data.max_length`, all are null but `n_tokens`, which is 0, and `refused`.
"""

from typing import Any

# What no model reads, and methods may: the pool itself; and which of its examples the warm-up of a seed trains on.
POOL, WARMUP = "pool", "warmup"
# A file of scores, which a method names as its `path`; and how the names of scores that rows bring begin in the pool.
EXTERNAL, BROUGHT = "external", "score:"
UNREAD = (POOL, WARMUP, EXTERNAL)
# How the state of a model ends that was warmed up on the queries of a target, not on the pool.
ON_TARGET = "_on_target"

# Each column with the name of its type in polars, which takes a third of a second to import.
PASSES: dict[str, dict[str, str]] = {
    POOL: {"source": "String", "corruption": "String", "messages": "List(Struct)"},
    WARMUP: {"in_warmup": "Boolean"},
    EXTERNAL: {"score": "Float64"},
    # By the tokenizer alone.
    "tokens": {
        "n_tokens": "Int64",  # response tokens, the end of the turn included
        "refused": "String",  # why the chat template or the tokenizer gives no tokens at all; null where it does
    },
    # By any causal language model.
    "likelihood": {
        "nll": "Float64",  # negative log-likelihood of the response tokens given the instruction, summed, in nats
        "nll_unconditional": "Float64",  # the same without the instruction
        "nll_end": "Float64",  # of the last response token alone, given all before it
        "hidden": "List(Float32)",  # what the middle layer's feed-forward block reads, in few numbers
    },
    # Of the last hidden states over all tokens, prompt and response: directions, of length 1.
    "representation": {
        "weighted": "List(Float16)",  # mean, with weights that rise with the place of a token
        "mean": "List(Float16)",
        "last_token": "List(Float16)",
    },
    # The same of what the middle layer's feed-forward block reads.
    "representation_middle": {
        "weighted": "List(Float16)",
        "mean": "List(Float16)",
        "last_token": "List(Float16)",
    },
    # By a Mixture of Experts: the logits of its routers, layer after layer. Differences that float16 would round away
    # count as much as large ones, since methods divide each number by its standard deviation.
    "router_logits": {
        "weighted": "List(Float32)",
        "last_token": "List(Float32)",
    },
    # By a selector with trash-can experts.
    "routing": {
        "log_odds": "List(Float64)",  # each routed layer's mean log odds over the response tokens
        "log_odds_all": "List(Float64)",  # over all tokens
    },
    "gates": {
        "nll_open": "Float64",  # as `nll`, with every keep share at 1
        "nll_shut": "Float64",  # with every keep share at 0
    },
    # By a checkpoint of the selector's LoRA warm-up. Both projections are alike, and of length 1.
    "gradients": {
        "gradient": "List(Float16)",  # of the mean loss per response token over the LoRA matrices, projected
        "adam": "List(Float16)",  # the step that Adam takes for it, projected
        "learning_rate": "Float64",  # mean of the checkpoint's epoch: the same for every example
    },
    # By a sequence classifier, read by the state `reward`.
    "reward": {
        "scores": "List(Float32)",  # of each label: its log-probability, or its logit where it is the only one
        "labels": "String",  # their names as a JSON list: the same for every example
    },
}
NEED_ROUTERS = ("routing", "gates", "router_logits")


def schema(pass_name: str) -> dict[str, Any]:
    """Return the columns of a pass with their types."""
    import polars as pl

    def type_of(name: str) -> Any:
        item = name.removeprefix("List(").removesuffix(")")
        return getattr(pl, item) if item == name else pl.List(getattr(pl, item))

    return {column: type_of(name) for column, name in PASSES[pass_name].items()}
