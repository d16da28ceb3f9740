import torch

from moesift.methods import METHODS
from moesift.methods.contrast import moore_lewis


def test_it_is_the_difference_of_two_losses_per_token():
    """Of two targets; the last example has no response token."""
    nll, of_targets = torch.tensor([6.0, 3.0, float("nan")]), [[4.0, 8.0], [3.0, 0.0], [float("nan")] * 2]
    block = {"nll": nll, "nll_target": torch.tensor(of_targets), "n_tokens": torch.tensor([2.0, 3.0, 0.0])}
    (found,) = moore_lewis([block], {"target": torch.tensor([0, 1])})
    assert found[:2].tolist() == [[1.0, -1.0], [0.0, 1.0]]
    assert found[2].isnan().all()
    declared = METHODS["moore_lewis"]
    assert declared.by_target
    assert not declared.query_columns(declared.parameters())
