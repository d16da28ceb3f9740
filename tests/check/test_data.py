import polars as pl
import pytest

from moesift.check.data import Lengths, Sample, length_problems, lengths
from moesift.config import Source
from moesift.models.chat import Encoded


def example(instruction: int, response: int) -> Encoded:
    return Encoded([7] * (instruction + response), [False] * instruction + [True] * response)


def test_lengths():
    found = lengths([example(3, 2), example(6, 6), example(10, 4)], [1, 1, 2], max_length=10)
    assert found == Lengths(mean=(5 + 10 + 2 * 10) / 4, response=(2 + 4 + 2 * 0) / 4, longest=14, cut=0.75, lost=0.5)
    assert lengths([example(0, 1)], [3], max_length=10).lost == 1  # nothing before it: it cannot be predicted


@pytest.mark.parametrize(
    ("found", "positions", "messages"),
    [
        (Lengths(8, 2, 90, 0.9, 0.9), 8, []),
        (Lengths(8, 2, 90, 0.9, 0.9), None, []),
        (Lengths(8, 2, 6, 0, 0), 6, []),  # the longest example has a position for each token
        (Lengths(8, 0, 90, 1, 1), 512, ["data.max_length: 8 tokens of the target end before the response of every"]),
        (
            Lengths(8, 2, 90, 0.5, 0),
            6,
            ["data.max_length: examples may have up to 8 tokens, but target.model has only"],
        ),
    ],
)
def test_lengths_that_fit_no_model_are_problems(found, positions, messages):
    problems = length_problems("target", found, 8, positions, all_seen=True)
    assert len(problems) == len(messages)
    assert all(problem.startswith(message) for problem, message in zip(problems, messages, strict=True))


def test_examples_that_were_not_seen_may_be_as_long_as_is_allowed():
    (said,) = length_problems("target", Lengths(6, 2, 6, 0, 0), 8, 6, all_seen=False)
    assert said.startswith("data.max_length: examples may have up to 8 tokens, but target.model has only 6 positions")


def test_a_sample_says_how_large_its_source_is():
    source = Source(name="some", hub="owner/some", limit=400)
    examples = pl.DataFrame({"id": range(150)})
    counted = Sample(
        source.model_copy(update={"limit": None}), examples, ["row 3 is not JSON", "row 4 is not JSON"] * 25, 1000
    )
    unknown = Sample(source, examples, [], None)
    assert (counted.size(9000), unknown.size(9000), unknown.size(10)) == (750, 400, 10)
    assert counted.describe() == ("some: about 1,000 rows; 200 looked at, 50 rejected, most often: row … is not JSON")
    assert unknown.describe() == "some: unknown number of rows, limit 400; 150 looked at, 0 rejected"
