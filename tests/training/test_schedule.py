import pytest

from moesift.training.schedule import rise_and_cosine


def test_the_learning_rate_rises_then_falls_as_half_a_cosine():
    factors = [rise_and_cosine(step, 12, 0.3) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:7] == pytest.approx([1.0, 0.9619398, 0.8535534], abs=1e-6)  # (1 + cos(k pi / 8)) / 2
    assert factors[8] == pytest.approx(0.5)
    assert factors == sorted(factors[:4]) + sorted(factors[4:], reverse=True)
