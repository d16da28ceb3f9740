"""How long the responses are, and which conversations have no tokens, by the tokenizer alone."""

from collections.abc import Sequence

from moesift.models.chat import Encoded
from moesift.passes.reader import Reader, Values


def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the response tokens of each example, and why it has none."""
    return {
        "n_tokens": [example.predicted for example in examples],
        "refused": [example.refused for example in examples],
    }
