"""A method of a sequence classifier: a reward model, or a classifier of quality."""

import json
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from moesift.errors import UserError
from moesift.methods.declaration import Column, method

NO_TOKENS = "the reward model gets no response: its chat template refuses it, or data.max_length cuts it off"

Label = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]


@method(
    reads={"scores": Column("reward", "scores", "reward"), "labels": Column("reward", "labels", "reward")},
    caption="what `reward.model` says: the logit of its only label, or the log-probability of `label`",
    source="the model's",
)
def reward(
    scores: np.ndarray, labels: np.ndarray, *, label: Label | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the score of one label, (N,).

    Args:
        scores: of all L labels, (N, L).
        labels: their names as a JSON list, the same for all, (N,); null where the model read nothing.
        label: name or number, from 0; it may be left out where there is one label.

    Raises:
        UserError: there is no such label, or there are several and none is named.
    """
    unread = np.array([names is None for names in labels])
    return scores[:, _place(json.loads(labels[~unread][0]), label)], {NO_TOKENS: unread}


def _place(names: Sequence[str], label: str | int | None) -> int:
    if label is None and len(names) == 1:
        return 0
    known = ", ".join(f"{name} ({number})" for number, name in enumerate(names))
    if label is None:
        raise UserError(f"methods: reward: label: reward.model has several labels; name the good one of {known}")
    if label in names:
        return names.index(str(label))
    if isinstance(label, str) or label >= len(names):
        raise UserError(f"methods: reward: label: reward.model has no label {label}; it has {known}")
    return label
