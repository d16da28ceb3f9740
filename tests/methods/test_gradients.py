"""LESS and GIST from features, which tests/passes/test_gradients.py checks, against numbers by hand and by numpy."""

import numpy as np
import pytest
import torch

from moesift.methods.declaration import METHODS, Column
from moesift.methods.gradients import gist, less


def test_less_sums_products_over_checkpoints_by_their_learning_rates():
    queries = {"learning_rate_1": torch.tensor([torch.nan, 3e-5]), "learning_rate_2": torch.tensor([1e-5, 1e-5])}
    queries |= {"gradient_1": torch.tensor([[1.0, 0], [0, 1]]), "gradient_2": torch.tensor([[0.0, 1], [0, 1]])}
    blocks = [
        {"adam_1": torch.tensor([[1.0, 0], [0.6, 0.8]]), "adam_2": torch.tensor([[1.0, 0], [0, 1]])},
        {"adam_1": torch.tensor([[torch.nan, 0]]), "adam_2": torch.tensor([[1.0, 0]])},
    ]
    first, second = less(blocks, queries, epochs=(1, 2))
    assert first.tolist() == [pytest.approx([0.75, 0]), pytest.approx([0.75 * 0.6 + 0.25, 0.75 * 0.8 + 0.25])]
    assert second.isnan().all()
    reads = METHODS["less"].columns(METHODS["less"].parameters(epochs=[2]))
    assert reads["adam_2"] == Column("gradients", "adam", "lora-2")
    assert set(reads) == {"gradient_2", "adam_2", "learning_rate_2"}


@pytest.mark.parametrize("rank", [1, 2, 150])
def test_gist_is_the_cosine_in_the_subspace_of_each_target(rank):
    """By numpy, one pair at a time, from the eigenvectors of Σ g gᵀ; a query is there twice, one has no gradient."""
    rng = np.random.default_rng(0)
    wanted, pool = rng.normal(size=(7, 12)), rng.normal(size=(5, 12))
    wanted[4] = wanted[0]
    wanted[6] = np.nan
    pool[2] = np.nan
    owners = np.array([0, 1, 0, 1, 0, 1, 0])
    expected = np.full((5, 7), np.nan)
    for query in range(6):
        of_target = wanted[:6][owners[:6] == owners[query]]
        values, vectors = np.linalg.eigh(of_target.T @ of_target)
        basis = vectors[:, np.argsort(-values)][:, : min(rank, int((values > 1e-9).sum()))]
        for example in (0, 1, 3, 4):
            a, b = basis.T @ pool[example], basis.T @ wanted[query]
            expected[example, query] = a @ b / np.sqrt((a @ a) * (b @ b))
    queries = {"gradient": torch.tensor(wanted).float(), "target": torch.tensor(owners)}
    found = torch.cat(
        list(gist([{"gradient": torch.tensor(part).float()} for part in np.split(pool, [2])], queries, rank=rank))
    )
    assert np.allclose(found, expected, atol=1e-4, equal_nan=True)
