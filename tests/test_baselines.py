from moesift.baselines import length_scores, random_scores
from moesift.chat import Encoded


def test_length_counts_response_tokens():
    examples = [Encoded([1, 2, 3], [False, True, True], False), Encoded([1, 2], [False, False], True)]
    assert length_scores(examples) == [2.0, 0.0]


def test_random_is_uniform_and_set_by_its_seed():
    scores = random_scores(10_000, seed=1)
    assert scores == random_scores(10_000, seed=1) != random_scores(10_000, seed=2)
    assert abs(sum(scores) / 10_000 - 0.5) < 0.02
    assert min(scores) >= 0
    assert max(scores) < 1
