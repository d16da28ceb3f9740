"""What each pass gives of every example, by fixed columns. Imported with every plan: nothing heavy here.

A pass is the module of its name in this folder, and gives all of its columns at once. Where an example has no response
token within `data.max_length`, all are null but `n_tokens`, which is 0, and `refused`.
"""

import polars as pl

# What no model reads, and methods may: the pool itself, and which of its examples the warm-up of a seed trains on.
POOL, WARMUP = "pool", "warmup"

PASSES: dict[str, dict[str, pl.DataType | type[pl.DataType]]] = {
    POOL: {"source": pl.String, "corruption": pl.String, "messages": pl.List(pl.Struct)},
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
    # Of the last hidden states over all tokens, prompt and response: directions, of length 1.
    "representation": {
        "weighted": pl.List(pl.Float16),  # mean, with weights that rise with the place of a token
        "mean": pl.List(pl.Float16),
        "last_token": pl.List(pl.Float16),
    },
    # The same of what the middle layer's feed-forward block reads.
    "representation_middle": {
        "weighted": pl.List(pl.Float16),
        "mean": pl.List(pl.Float16),
        "last_token": pl.List(pl.Float16),
    },
    # By a Mixture of Experts: the logits of its routers, layer after layer. Differences that float16 would round away
    # count as much as large ones, since methods divide each number by its standard deviation.
    "router_logits": {
        "weighted": pl.List(pl.Float32),
        "last_token": pl.List(pl.Float32),
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
    # By a checkpoint of the selector's LoRA warm-up. Both projections are alike, and of length 1.
    "gradients": {
        "gradient": pl.List(pl.Float16),  # of the mean loss per response token over the LoRA matrices, projected
        "adam": pl.List(pl.Float16),  # the step that Adam takes for it, projected
        "learning_rate": pl.Float64,  # mean of the checkpoint's epoch: the same for every example
    },
}
NEED_ROUTERS = ("routing", "gates", "router_logits")
