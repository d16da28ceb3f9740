"""The loss with the routed experts shut out, and with all of them at work, whatever the routers learnt."""

from collections.abc import Sequence

from moesift.models.chat import Encoded
from moesift.models.losses import nll
from moesift.passes.reader import Reader, Values


def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, a forward pass each."""
    trash_can = reader.trash_can
    assert trash_can is not None
    trained, columns = trash_can.gate, {}
    for column, gate in (("nll_open", "open"), ("nll_shut", "shut")):
        trash_can.gate = gate
        columns[column] = nll(reader.model, reader.tokenizer.pad_token_id, examples, token_budget)
    trash_can.gate = trained
    return columns
