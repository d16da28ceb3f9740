import pytest
import torch

from moesift.models.batches import (
    by_token_budget,
    collate,
    micro_batches,
    micro_batches_by_tokens,
    per_example,
    shuffled_batches,
)
from moesift.models.chat import Encoded


def test_padding_is_on_the_right_and_counts_nothing():
    batch = collate([Encoded([5, 6, 7], [False, True, True], False), Encoded([8], [True], False)], pad_id=1)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert batch.real.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.response.tolist() == [[False, True, True], [True, False, False]]


def test_no_examples_make_a_batch_that_counts_nothing():
    batch = collate([], pad_id=1)
    assert batch.ids.shape == (1, 1)
    assert not batch.response.any()


def test_longest_first_within_the_budget():
    assert by_token_budget([3, 9, 4, 1, 4], budget=9) == [[1], [2, 4], [0, 3]]


def test_an_example_beyond_the_budget_is_alone():
    assert by_token_budget([50, 2, 2], budget=4) == [[0], [1, 2]]


def test_an_epoch_has_every_example_once_in_an_order_of_its_own():
    first, again, second = (shuffled_batches(10, 4, seed=3, epoch=e) for e in (0, 0, 1))
    assert first == again != second
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(index for batch in second for index in batch) == list(range(10))


def test_a_part_of_a_step_holds_as_many_tokens_as_the_longest_examples_would():
    lengths = [9, 1, 8, 2, 7, 3, 6]
    # At most 2 * 9 tokens: two of 9, two of 7, then four of 3.
    assert micro_batches_by_tokens(range(7), lengths, micro_batch=2, process=0, processes=1) == [
        [0, 2],
        [4, 6],
        [5, 3, 1],
    ]
    assert micro_batches_by_tokens([6, 4], lengths, micro_batch=1, process=0, processes=1) == [[4], [6]]


def test_processes_share_a_step_in_equally_many_parts_of_tokens():
    lengths = [9, 1, 8, 2, 7, 3, 6]
    parts = [micro_batches_by_tokens(range(7), lengths, micro_batch=2, process=p, processes=2) for p in (0, 1)]
    assert parts == [[[4, 6], [0]], [[5, 3, 1], [2]]]  # the largest of three was halved
    # One pass would hold them all, and the second process does half of it.
    assert [micro_batches_by_tokens(range(4), [5] * 4, 8, process=p, processes=2) for p in (0, 1)] == [
        [[0, 1]],
        [[2, 3]],
    ]


def test_processes_share_a_step_in_equally_many_parts():
    lengths = [9, 1, 8, 2, 7, 3, 6]
    parts = [micro_batches(range(7), lengths, micro_batch=2, process=p, processes=2) for p in (0, 1)]
    assert [len(p) for p in parts] == [2, 2]
    assert sorted(index for part in parts for micro in part for index in micro) == list(range(7))
    assert max(len(micro) for part in parts for micro in part) == 2


@pytest.mark.parametrize("divide", [micro_batches, micro_batches_by_tokens])
def test_a_step_smaller_than_the_processes_leaves_some_empty_handed(divide):
    parts = [divide([4], [1] * 5, micro_batch=2, process=p, processes=3) for p in range(3)]
    assert sorted(map(tuple, (micro for part in parts for micro in part))) == [(), (), (4,)]
    assert all(len(part) == 1 for part in parts)


def test_collated_tensors_have_the_types_that_models_take():
    batch = collate([Encoded([5], [True], False)], pad_id=1)
    assert (batch.ids.dtype, batch.real.dtype, batch.response.dtype) == (torch.int64, torch.int64, torch.bool)


def first_ids(longest: int, seen: list[int]):
    """What `per_example` measures with on a GPU that holds batches of at most `longest` examples."""

    def measure(batch):
        if len(batch.ids) > longest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(len(batch.ids))
        return batch.ids[:, 0]

    return measure


def test_a_batch_that_does_not_fit_is_halved():
    examples = [Encoded([number] * 3, [True] * 3, False) for number in range(7)]
    seen = []
    found = per_example(first_ids(2, seen), examples, 0, 100, torch.device("cpu"), "test")
    assert found == list(range(7))
    assert sorted(seen) == [1, 2, 2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        per_example(first_ids(0, seen), examples, 0, 100, torch.device("cpu"), "test")


def test_a_budget_that_is_left_open_is_that_of_the_device():
    examples = [Encoded([1] * 100, [True] * 100, False) for _ in range(11)]
    seen = []
    per_example(first_ids(99, seen), examples, 0, 0, torch.device("cpu"), "test")
    assert seen == [10, 1]  # 1,024 tokens
