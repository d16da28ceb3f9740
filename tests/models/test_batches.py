import pytest
import torch
from given.models import random_dense_model

from moesift.errors import UserError
from moesift.models.batches import (
    by_token_budget,
    collate,
    mean_over,
    micro_batches,
    micro_batches_by_tokens,
    per_example,
    require_positions,
    shuffled_batches,
)
from moesift.models.chat import Encoded

LENGTHS = [9, 1, 8, 2, 7, 3, 6]


def test_padding_is_on_the_right_and_does_not_count():
    batch = collate([Encoded([5, 6, 7], [False, True, True]), Encoded([8], [True])], pad_id=1)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert batch.real.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.response.tolist() == [[False, True, True], [True, False, False]]
    assert batch.predicted.tolist() == [[False, True, True], [False, False, False]]
    assert (batch.ids.dtype, batch.real.dtype, batch.response.dtype) == (torch.int64, torch.int64, torch.bool)
    empty = collate([], pad_id=1)
    assert empty.ids.shape == (1, 1)
    assert not empty.response.any()


def test_a_mean_is_over_the_tokens_that_count():
    values = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 50.0], [7.0, 70.0]])  # 2 examples x 2 tokens, 2 numbers each
    assert mean_over(values, torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist() == [[2.0, 15.0], [7.0, 70.0]]


def test_batches_within_a_budget_take_the_longest_first():
    assert by_token_budget([3, 9, 4, 1, 4], budget=9) == [[1], [2, 4], [0, 3]]
    assert by_token_budget([50, 2, 2], budget=4) == [[0], [1, 2]]  # an example beyond the budget is alone


def test_an_epoch_has_every_example_once_in_its_own_order():
    first, again, second = (shuffled_batches(10, 4, seed=3, epoch=e) for e in (0, 0, 1))
    assert first == again != second
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(index for batch in second for index in batch) == list(range(10))


def test_a_micro_batch_holds_as_many_tokens_as_the_longest_examples_would():
    # At most 2 * 9 tokens: two of 9, two of 7, then three of 3.
    parts = micro_batches_by_tokens(range(7), LENGTHS, micro_batch=2, process=0, processes=1)
    assert parts == [[0, 2], [4, 6], [5, 3, 1]]
    assert micro_batches_by_tokens([6, 4], LENGTHS, micro_batch=1, process=0, processes=1) == [[4], [6]]


def test_processes_get_the_same_number_of_micro_batches():
    parts = [micro_batches(range(7), LENGTHS, micro_batch=2, process=p, processes=2) for p in (0, 1)]
    assert [len(p) for p in parts] == [2, 2]
    assert sorted(index for part in parts for micro in part for index in micro) == list(range(7))
    assert max(len(micro) for part in parts for micro in part) == 2
    by_tokens = [micro_batches_by_tokens(range(7), LENGTHS, micro_batch=2, process=p, processes=2) for p in (0, 1)]
    assert by_tokens == [[[4, 6], [0]], [[5, 3, 1], [2]]]  # the largest of three is halved
    # One pass would hold all four, but the second process does half of the work.
    equal = [micro_batches_by_tokens(range(4), [5] * 4, 8, process=p, processes=2) for p in (0, 1)]
    assert equal == [[[0, 1]], [[2, 3]]]


@pytest.mark.parametrize("divide", [micro_batches, micro_batches_by_tokens])
def test_a_step_with_fewer_examples_than_processes_leaves_some_without(divide):
    parts = [divide([4], [1] * 5, micro_batch=2, process=p, processes=3) for p in range(3)]
    assert sorted(map(tuple, (micro for part in parts for micro in part))) == [(), (), (4,)]
    assert all(len(part) == 1 for part in parts)


def first_ids(longest: int, sizes: list[int]):
    """A measure on a GPU that holds batches of at most `longest` examples."""

    def measure(batch):
        if len(batch.ids) > longest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch.ids))
        return batch.ids[:, 0]

    return measure


def test_a_batch_that_does_not_fit_is_halved():
    examples = [Encoded([number] * 3, [True] * 3) for number in range(7)]
    sizes = []
    values = per_example(first_ids(2, sizes), examples, 0, 100, torch.device("cpu"), "test")
    assert values == list(range(7))
    assert sorted(sizes) == [1, 2, 2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        per_example(first_ids(0, sizes), examples, 0, 100, torch.device("cpu"), "test")


# Rotary positions; learned ones under another name; and learned ones of which the first two are of no token.
@pytest.mark.parametrize(("family", "positions"), [("Llama", 64), ("GPT2", 64), ("Roberta", 62)])
def test_an_example_beyond_the_positions_is_refused(family, positions):
    model = random_dense_model(family)
    fits, too_long = (Encoded([5] * length, [False] + [True] * (length - 1)) for length in (positions, positions + 1))
    model(torch.tensor([fits.ids]))
    require_positions(model, [fits])
    message = rf"data.max_length: an example has {positions + 1} tokens, and .* has {positions} positions; set it to "
    with pytest.raises(UserError, match=f"{message}{positions}"):
        require_positions(model, [fits, too_long])


def test_the_default_budget_is_that_of_the_device():
    examples = [Encoded([1] * 100, [True] * 100) for _ in range(11)]
    sizes = []
    per_example(first_ids(99, sizes), examples, 0, 0, torch.device("cpu"), "test")
    assert sizes == [10, 1]  # 1,024 tokens
