"""Methods of the likelihood of a response, with its instruction and without."""

import numpy as np

from moesift.methods.declaration import N_TOKENS, Column, method

NLL = Column("likelihood", "nll")
NLL_UNCONDITIONAL = Column("likelihood", "nll_unconditional")
NLL_END = Column("likelihood", "nll_end")

NO_HELP = "its IFD is 1 or more: the instruction does not make the response likelier"


@method(reads={"nll": NLL, "n_tokens": N_TOKENS}, caption="likelihood of the response", source="baseline")
def nll(nll: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
    """Return -NLL(y | x), the mean over the response tokens, (N,): the likely ones first."""
    return -nll / n_tokens


@method(
    reads={"nll": NLL, "nll_unconditional": NLL_UNCONDITIONAL},
    caption="instruction-following difficulty, NLL(y | x) / NLL(y); none at 1 or more",
    source="arXiv 2308.12032, eq. 4",
)
def ifd(nll: np.ndarray, nll_unconditional: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the mean loss of the response given the instruction over its mean loss alone, (N,): the hard ones first.

    Both are means over the same tokens, so that their number cancels. The paper leaves out what reaches 1, where the
    instruction does not help.
    """
    values = nll / nll_unconditional
    return values, {NO_HELP: values >= 1}


@method(
    reads={"nll": NLL, "nll_unconditional": NLL_UNCONDITIONAL},
    caption="share of the response's loss that the instruction takes away, 1 - NLL(y | x) / NLL(y)",
    source="arXiv 2308.12032, reversed",
)
def instruction_gain(nll: np.ndarray, nll_unconditional: np.ndarray) -> np.ndarray:
    """Return IFD reversed, (N,): a response that has nothing to do with its instruction gains nothing from it.

    Below zero where the instruction misleads.
    """
    return 1 - nll / nll_unconditional


@method(
    reads={"nll": NLL, "nll_unconditional": NLL_UNCONDITIONAL, "n_tokens": N_TOKENS},
    caption="likelihood plus what the instruction adds to it, -NLL(y | x) + (NLL(y) - NLL(y | x))",
    source="moesift, after arXiv 2104.08315",
)
def likelihood_pmi(nll: np.ndarray, nll_unconditional: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
    """Return log p(y | x) plus the pointwise mutual information log p(y | x) - log p(y), per response token, (N,).

    The likelihood falls where a response is broken text, the information (Fano 1961; of answers, Holtzman et al., arXiv
    2104.08315) where it is sound text that answers something else.
    """
    return (nll_unconditional - 2 * nll) / n_tokens
