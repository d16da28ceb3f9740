"""What the methods read of the pool, and which measurements hold it. Imported with every plan: nothing heavy here.

What one reader of the pool is asked for is measured together, in one file that is named by what it holds. A reader is
the selector as it came, or the epochs of one warm-up.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from moesift.config import Method

TOKENS = "tokens"  # response tokens, which every measurement counts


class Measured(NamedTuple):
    """A quantity of every example (see `stages/measure.py`), and the model that it is measured with.

    `selector` is the model as it came, `first` the warm-up's epoch 0, `last` its last epoch.
    """

    quantity: str
    model: Literal["selector", "first", "last"]


# What a method is computed from, in the order of the arguments of its formula in `methods.py`.
READS: dict[Method, tuple[Measured, ...]] = {
    "router": (Measured("signals", "last"),),
    "router_untrained": (Measured("signals", "first"),),
    "expert_gain": (Measured("nats_shut", "last"), Measured("nats_open", "last")),
    "reducible": (Measured("nats", "first"), Measured("nats", "last")),
    "nll": (Measured("nats", "selector"),),
    "ifd": (Measured("nats", "selector"), Measured("nats_alone", "selector")),
    "instruction_gain": (Measured("nats", "selector"), Measured("nats_alone", "selector")),
    "likelihood_pmi": (Measured("nats", "selector"), Measured("nats_alone", "selector")),
    "typical_pmi": tuple(Measured(quantity, "selector") for quantity in ("nats", "nats_alone", "nats_end")),
    "typical_inputs": tuple(
        Measured(quantity, "selector") for quantity in ("nats", "nats_alone", "nats_end", "sketch")
    ),
    "length": (Measured("tokens", "selector"),),
    "random": (Measured("tokens", "selector"),),
}

# What a selection that is to be diverse looks at.
USAGE = Measured("usage", "last")

# Quantities that one forward pass gives together; each of the others takes one of its own.
TOGETHER = (("nats", "nats_end", "sketch"), ("signals", "signals_all", "inputs", "usage"))


def what_is_read(methods: Iterable[Method], diverse: bool) -> set[Measured]:
    """Return what methods read of the pool, and a selection, if it is to be diverse."""
    return {reads for method in methods for reads in READS[method]} | ({USAGE} if diverse else set())


def by_pass(read: Iterable[Measured]) -> list[tuple[Measured, ...]]:
    """Return what is read, parted into forward passes; the response tokens are counted in any, and need none."""
    passes: dict[tuple[str, tuple[str, ...]], list[Measured]] = {}
    for one in sorted(set(read)):
        if one.quantity != TOKENS:
            together = next((group for group in TOGETHER if one.quantity in group), (one.quantity,))
            passes.setdefault((one.model, together), []).append(one)
    return [tuple(group) for group in passes.values()]


def planned(made: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the measurement that each wanted quantity of a reader is taken from.

    What was measured is not measured again, and all that is missing is measured together: one more method makes one
    more measurement, of what no other method reads.

    Args:
        made: the names of the reader's measurements so far, quantities joined by +. Of two that share one the first
            counts.
        wanted: quantities.

    Returns:
        The names by quantity.
    """
    names: dict[str, str] = {}
    for name in made:
        if names.keys().isdisjoint(quantities := name.split("+")):
            names |= dict.fromkeys(quantities, name)
    missing = sorted(set(wanted) - names.keys() - {TOKENS})
    names |= dict.fromkeys(missing, "+".join(missing))
    # A pass for the tokens alone is for pools of which nothing else is asked.
    names.setdefault(TOKENS, min(names.values(), default=TOKENS))
    return {quantity: names[quantity] for quantity in wanted}
