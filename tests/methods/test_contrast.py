import torch

from moesift.methods import METHODS, Column
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


def test_the_warm_ups_train_routers_or_lora_matrices():
    declared = METHODS["moore_lewis"]
    routers, lora = (declared.columns(declared.parameters(**given)) for given in ({}, {"weights": "lora", "epoch": 2}))
    assert routers["nll"] == Column("likelihood", "nll", "warmed")
    assert routers["nll_target"] == Column("likelihood", "nll", "warmed_on_target")
    assert lora["nll"] == Column("likelihood", "nll", "lora-2")
    assert lora["nll_target"] == Column("likelihood", "nll", "lora-2_on_target")
