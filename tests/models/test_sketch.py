import numpy as np
import pytest
import torch

from moesift.models import sketch


def sketched(parts, dimension):
    """Sketch vectors of named parts, (N, n) each."""
    sums = torch.zeros(len(next(iter(parts.values()))), 2 * dimension)
    for name, values in parts.items():
        sketch.add(sums, name, values)
    return sketch.result(sums)


@pytest.mark.parametrize("dimension", [7, 64])
def test_it_is_a_product_with_a_matrix_of_one_sign_in_each_column(dimension):
    """Also of vectors with fewer numbers than the sketch."""
    torch.manual_seed(0)
    parts = {"a": torch.randn(3, 20), "b": torch.randn(3, 30)}
    matrices = []
    for name, values in parts.items():
        places = sketch.places(name, values.shape[1], dimension, torch.device("cpu"))
        matrix = torch.zeros(len(places), dimension)
        for row, place in enumerate(places.tolist()):
            matrix[row, place % dimension] = 1 if place < dimension else -1
        matrices.append(matrix)
    expected = torch.cat(list(parts.values()), dim=1) @ torch.cat(matrices)
    assert torch.allclose(sketched(parts, dimension), expected, atol=1e-5)


def test_inner_products_are_unbiased_with_the_variance_of_a_dense_projection():
    torch.manual_seed(0)
    x, y = torch.randn(2, 40) * torch.linspace(0.1, 2, 40)
    rows = torch.stack([x, y])
    found = []
    for trial in range(4000):
        first, second = sketched({f"part {trial}": rows}, 16)
        found.append((first @ second).item())
    inner, squares = (x @ y).item(), (x.square() @ y.square()).item()
    variance = ((x @ x) * (y @ y)).item() + inner**2 - 2 * squares
    assert np.mean(found) == pytest.approx(inner, abs=4 * (variance / 16 / len(found)) ** 0.5)
    assert np.var(found) == pytest.approx(variance / 16, rel=0.1)
