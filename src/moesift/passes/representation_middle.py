"""What the middle of a model reads of an example, pooled; the other half of its layers does not run."""

from collections.abc import Sequence

from moesift.models.chat import Encoded
from moesift.models.heads import middle_states
from moesift.passes.reader import Reader, Values
from moesift.passes.representation import pooled


def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, from half a forward pass."""
    return pooled(reader, "representation_middle", middle_states, examples, token_budget)
