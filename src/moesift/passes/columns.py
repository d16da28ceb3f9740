"""What each pass gives of every example, by fixed columns. Imported with every plan: nothing heavy here.

A pass is the module of its name in this folder, and gives all of its columns at once. Where an example has no response
token within `data.max_length`, all are null but `n_tokens`, which is 0.
"""

from typing import Any

# What no model reads, and methods may: the pool itself, and which of its examples the warm-up of a seed trains on.
POOL, WARMUP = "pool", "warmup"

# Each column with the name of its type in polars, which takes a third of a second to import.
PASSES: dict[str, dict[str, str]] = {
    POOL: {"source": "String", "corruption": "String"},
    WARMUP: {"in_warmup": "Boolean"},
    # By the tokenizer alone.
    "tokens": {
        "n_tokens": "Int64",  # response tokens, the end of the turn included
    },
    # By any causal language model.
    "likelihood": {
        "nll": "Float64",  # negative log-likelihood of the response tokens given the instruction, summed, in nats
        "nll_unconditional": "Float64",  # the same without the instruction
        "nll_end": "Float64",  # of the last response token alone, given all before it
        "hidden": "List(Float32)",  # what the middle layer's feed-forward block reads, in few numbers
    },
    # By a selector with trash-can experts.
    "routing": {
        "log_odds": "List(Float64)",  # each routed layer's mean log odds over the response tokens
        "log_odds_all": "List(Float64)",  # over all tokens
        "expert_usage": "List(Float32)",  # each routed layer's mean shares of its experts, layer after layer
    },
    "gates": {
        "nll_open": "Float64",  # as `nll`, with every keep share at 1
        "nll_shut": "Float64",  # with every keep share at 0
    },
}
NEED_ROUTERS = ("routing", "gates")


def schema(pass_name: str) -> dict[str, Any]:
    """Return the columns of a pass with their types."""
    import polars as pl

    def type_of(name: str) -> Any:
        item = name.removeprefix("List(").removesuffix(")")
        return getattr(pl, item) if item == name else pl.List(getattr(pl, item))

    return {column: type_of(name) for column, name in PASSES[pass_name].items()}
