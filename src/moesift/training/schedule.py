"""The learning-rate schedule and the gradient norm of every training."""

import math

MAX_GRADIENT_NORM = 1.0  # also in config/deepspeed


def rise_and_cosine(step: int, steps: int, rise: float) -> float:
    """Return the factor on the peak learning rate at a step: a linear rise, then half a cosine down to zero.

    Args:
        step: from 0.
        steps: of the whole training.
        rise: share of the steps in which it rises.
    """
    rising = max(1, math.ceil(rise * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
