"""What each pass gives of every example, by fixed columns. Imported with every plan: nothing heavy here.

A pass is the module of its name in this folder, and gives all of its columns at once. Where an example has no response
token within `data.max_length`, all are null but `n_tokens`, which is 0, and `refused`.
"""

import polars as pl

# What no model reads, and methods may: the pool itself, and which of its examples the warm-up of a seed trains on.
POOL, WARMUP = "pool", "warmup"

PASSES: dict[str, dict[str, pl.DataType | type[pl.DataType]]] = {
    POOL: {"source": pl.String, "corruption": pl.String},
    WARMUP: {"in_warmup": pl.Boolean},
    # By the tokenizer alone.
    "tokens": {
        "n_tokens": pl.Int64,  # response tokens, the end of the turn included
        "refused": pl.String,  # why the chat template or the tokenizer gives no tokens at all; null where it does
    },
    # By any causal language model.
    "likelihood": {
        "nll": pl.Float64,  # negative log-likelihood of the response tokens given the instruction, summed, in nats
        "nll_unconditional": pl.Float64,  # the same without the instruction
        "nll_end": pl.Float64,  # of the last response token alone, given all before it
        "hidden": pl.List(pl.Float32),  # what the middle layer's feed-forward block reads, in few numbers
    },
    # By a selector with trash-can experts.
    "routing": {
        "log_odds": pl.List(pl.Float64),  # each routed layer's mean log odds over the response tokens
        "log_odds_all": pl.List(pl.Float64),  # over all tokens
        "expert_usage": pl.List(pl.Float32),  # each routed layer's mean shares of its experts, layer after layer
    },
    "gates": {
        "nll_open": pl.Float64,  # as `nll`, with every keep share at 1
        "nll_shut": pl.Float64,  # with every keep share at 0
    },
}
NEED_ROUTERS = ("routing", "gates")
