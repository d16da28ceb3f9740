"""Methods of the routers of a Mixture of Experts that was warmed up with trash-can experts."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from moesift.errors import UserError
from moesift.methods.declaration import N_TOKENS, Column, method

Layers = Literal["all"] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]  # routed layers, from 0
Tokens = Literal["response", "all"]  # what counts: what the assistant wrote, or the instruction too

TRAINED_ON = "the warm-up trained on it, so that its loss says nothing"


def _log_odds(state: str) -> dict[str, Column]:
    return {name: Column("routing", name, state) for name in ("log_odds", "log_odds_all")}


def calculate_quality_score(log_odds: np.ndarray, layers: Layers) -> np.ndarray:
    """Return the quality score: the mean of the log odds s over the chosen layers and the counted tokens, (N,) in nats.

    s = LSE(z) - LSE(u) of the quality experts against the trash cans; every layer counts the same tokens, so the mean
    of the layers' means is the mean over both.

    Args:
        log_odds: each layer's mean of s over the counted tokens, (N, L).
        layers: `all`, or indices of the routed layers that count.

    Raises:
        UserError: there is no such layer.
    """
    routed = log_odds.shape[1]
    chosen = list(range(routed)) if layers == "all" else list(layers)
    if max(chosen) >= routed:
        raise UserError(f"layers: {max(chosen)} is beyond the {routed} routed layers, numbered from 0")
    return log_odds[:, chosen].mean(axis=1)  # (N, L) -> (N,)


@method(
    reads=_log_odds("warmed"),
    caption="log odds of the quality experts against the trash-can experts, after the warm-up",
    source="moesift",
)
def router(
    log_odds: np.ndarray, log_odds_all: np.ndarray, *, layers: Layers = "all", tokens: Tokens = "response"
) -> np.ndarray:
    """Return the quality score of the warmed routers, (N,)."""
    return calculate_quality_score(log_odds_all if tokens == "all" else log_odds, layers)


@method(
    reads=_log_odds("untrained"),
    caption="the same before the warm-up",
    source="control of router",
)
def router_untrained(
    log_odds: np.ndarray, log_odds_all: np.ndarray, *, layers: Layers = "all", tokens: Tokens = "response"
) -> np.ndarray:
    """Return the quality score of routers whose trash-can experts are as they were drawn, (N,)."""
    return calculate_quality_score(log_odds_all if tokens == "all" else log_odds, layers)


@method(
    reads={
        "nll_shut": Column("gates", "nll_shut", "warmed"),
        "nll_open": Column("gates", "nll_open", "warmed"),
        "n_tokens": N_TOKENS,
    },
    caption="how much the routed experts reduce the loss, NLL(y | x; κ = 0) - NLL(y | x; κ = 1)",
    source="moesift",
)
def expert_gain(nll_shut: np.ndarray, nll_open: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
    """Return what the routed experts are worth to an example: loss without them minus loss with them, (N,) in nats.

    Per response token. Without them the keep share is 0 in every layer, with them it is 1; no learned gate is involved.
    """
    return (nll_shut - nll_open) / n_tokens


@method(
    reads={
        "nll_untrained": Column("likelihood", "nll", "untrained"),
        "nll_warmed": Column("likelihood", "nll", "warmed"),
        "in_warmup": Column("warmup", "in_warmup", "warmed"),
        "n_tokens": N_TOKENS,
    },
    caption="how much the warm-up reduces the loss; none for what it trained on",
    source="after arXiv 2206.07137, eq. 3",
)
def reducible(
    nll_untrained: np.ndarray, nll_warmed: np.ndarray, in_warmup: np.ndarray, n_tokens: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the loss that the warm-up took away, before minus after, per response token, (N,) in nats.

    The idea of the reducible hold-out loss (RHO-LOSS, Mindermann et al.) with the warmed selector in the place of the
    hold-out model: it says nothing of an example that the warm-up trained on.
    """
    return (nll_untrained - nll_warmed) / n_tokens, {TRAINED_ON: in_warmup}
