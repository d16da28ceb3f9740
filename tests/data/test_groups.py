import pytest

from moesift.data.groups import linked_groups


def talk(*texts, system=None):
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("conversations", "expected"),
    [
        ([], []),
        ([talk("a", "b"), talk("c", "b"), talk("d", "a")], [0, 1, 2]),  # an answer alone links nothing
        ([talk("a", "b"), talk("a", "c")], [0, 0]),  # a question does
        ([talk("a", "b"), talk("A", "c")], [0, 1]),  # as it is written
        ([talk("What  is it?", "A cat."), talk("what is it?\n", " a CAT.")], [0, 0]),  # an exchange, however written
        ([talk("caf\u00e9", "b"), talk("cafe\u0301", "c")], [0, 0]),  # one text to Unicode
        ([talk("a", "b", system="s"), talk("a", "c", system="t"), talk("a", "d")], [0, 0, 0]),
        ([talk("a", "b"), talk("c", "d", "a", "b"), talk("c", "x", "e", "f")], [0, 0, 0]),  # a chain
        ([talk("a", "b", "c", "d"), talk("a", "b", "e", "f"), talk("x", "y", "c", "z")], [0, 0, 1]),
        ([talk("ab", "c"), talk("a", "bc")], [0, 1]),
    ],
)  # fmt: skip
def test_conversations_are_linked_by_questions_and_exchanges(conversations, expected):
    found = linked_groups(conversations).tolist()
    assert [found.index(group) for group in found] == [expected.index(group) for group in expected]
