"""The kinds of corruption: each a pure function of an example and a seeded generator.

A kind may only be asked of an example that it is `applicable` to, which is one that it would change.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from moesift.config import Corruption
from moesift.data.turns import Message

WORD = re.compile(r"\S+")
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot answer this question.",
    "As a language model I am not able to do this.",
    "Sorry, I do not know.",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Example:
    """An example, and the responses that a swap may take in place of its own.

    The lists may hold the example's own response. They hold each response as often as it occurs in the pool, so that a
    common response is not a sign of a clean example.
    """

    turns: Sequence[Message]  # the last one is the response
    choices: Sequence[str] = ()  # the answers of a multiple-choice question
    similar: Sequence[str] = ()  # responses of the same source and the same bin of lengths
    same_source: Sequence[str] = ()
    other_sources: Sequence[str] = ()

    @property
    def response(self) -> str:
        """The text of the last turn."""
        return self.turns[-1]["content"]


class Corrupted(NamedTuple):
    """A corrupted example."""

    turns: list[Message]
    severity: float  # in (0, 1]; 1 where the whole response is affected
    finished: bool  # False: the end token of the response is left out


Corrupt = Callable[[Example, random.Random], Corrupted]

# Where a swap takes its response from.
SWAPS: dict[Corruption, Callable[[Example], Sequence[str]]] = {
    "swapped_alike": lambda example: example.similar,  # neither source nor length nor style gives it away
    "swapped_response": lambda example: example.same_source,
    "swapped_across": lambda example: example.other_sources,
    "wrong_choice": lambda example: example.choices,
}


def swap(candidates: Callable[[Example], Sequence[str]]) -> Corrupt:
    """Return the corruption that puts another response in place of the example's own."""

    def swapped(example: Example, rng: random.Random) -> Corrupted:
        while (response := rng.choice(candidates(example))) == example.response:
            pass
        return _with_response(example, response)

    return swapped


def wrong_number(example: Example, rng: random.Random) -> Corrupted:
    """The same response with its last number off by 1 to 9 in its last digit, as after a slip of arithmetic."""
    *_, last = NUMBER.finditer(example.response)
    text = last.group()
    decimals = len(text.partition(".")[2])
    value, error = Decimal(text.replace(",", "")), Decimal(rng.randint(1, 9)).scaleb(-decimals)
    wrong = value - error if value > error and rng.random() < 0.5 else value + error
    formatted = f"{wrong:{',' if ',' in text else ''}.{decimals}f}"
    return _with_response(example, example.response[: last.start()] + formatted + example.response[last.end() :])


def shuffled_words(example: Example, rng: random.Random) -> Corrupted:
    """The same words in another order; white space stays in place."""
    return _with_response(example, _shuffled(example.response, rng))


def noise(share: float) -> Corrupt:
    """Return the corruption that replaces a share of the words, at least one, by words of the same source."""

    def noised(example: Example, rng: random.Random) -> Corrupted:
        words = WORD.findall(example.response)
        places = rng.sample(range(len(words)), max(1, round(share * len(words))))
        for place in places:
            words[place] = _other_word(words[place], example.same_source, rng)
        return _with_response(example, _with_words(example.response, words), len(places) / len(words))

    return noised


def truncated(example: Example, rng: random.Random) -> Corrupted:
    """The first 20 to 60% of the words, at least one, and the end token."""
    words = list(WORD.finditer(example.response))
    kept = max(1, round(len(words) * rng.uniform(0.2, 0.6)))
    return _with_response(example, example.response[: words[kept - 1].end()], 1 - kept / len(words))


def unfinished(example: Example, rng: random.Random) -> Corrupted:
    """The first 20 to 60% of the words, at least one, without the end token, as a limit of length would leave it."""
    return truncated(example, rng)._replace(finished=False)


def repeated(example: Example, rng: random.Random) -> Corrupted:
    """The response up to one of its words, then the last 1 to 4 words in a loop, as from a degenerate model.

    It has as many words as before, so that its length does not give it away.
    """
    words = looped = WORD.findall(example.response)
    start = 1
    while looped == words:
        start = rng.randint(1, len(words) // 2)
        period = rng.randint(1, min(4, start))
        loop = words[start - period : start]
        looped = words[:start] + [loop[place % period] for place in range(len(words) - start)]
    return _with_response(example, _with_words(example.response, looped), 1 - start / len(words))


def empty(example: Example, rng: random.Random) -> Corrupted:
    """The end token alone."""
    return _with_response(example, "")


def refusal(example: Example, rng: random.Random) -> Corrupted:
    """A refusal to answer."""
    return _with_response(example, rng.choice(REFUSALS))


def gibberish(example: Example, rng: random.Random) -> Corrupted:
    """Random letters in place of each word: a sanity check that every useful score must pass."""
    words = ["".join(rng.choices(LETTERS, k=len(word))) for word in WORD.findall(example.response)]
    return _with_response(example, _with_words(example.response, words))


def perturbed_instruction(example: Example, rng: random.Random) -> Corrupted:
    """The words of the instruction in another order before the unchanged response: a negative control."""
    *before, instruction, response = example.turns
    shuffled = {**instruction, "content": _shuffled(instruction["content"], rng)}
    return Corrupted([*before, shuffled, response], 1.0, finished=True)


MAKE: dict[Corruption, Corrupt] = {
    **{kind: swap(candidates) for kind, candidates in SWAPS.items()},
    "wrong_number": wrong_number,
    "shuffled_words": shuffled_words,
    "noise_10": noise(0.1),
    "noise_30": noise(0.3),
    "truncated": truncated,
    "unfinished": unfinished,
    "repeated": repeated,
    "empty": empty,
    "refusal": refusal,
    "gibberish": gibberish,
    "perturbed_instruction": perturbed_instruction,
}


def applicable(example: Example, kinds: Sequence[Corruption]) -> list[Corruption]:
    """Return those of the kinds that would change the example: none for a response with calls or reasoning."""
    if example.turns[-1].get("more"):
        return []
    response, words = example.response, WORD.findall(example.response)
    distinct = set(words)

    def applies(kind: Corruption) -> bool:
        match kind:
            case "swapped_alike" | "swapped_response" | "swapped_across" | "wrong_choice":
                return any(candidate != response for candidate in SWAPS[kind](example))
            case "wrong_number":
                return NUMBER.search(response) is not None
            case "shuffled_words":
                return len(distinct) > 1
            case "noise_10" | "noise_30":
                # With one or two words the result would be another answer, not noise.
                return len(words) > 2 and any(set(WORD.findall(other)) - distinct for other in example.same_source)
            case "truncated" | "unfinished":
                return len(words) > 1
            case "repeated":
                return len(words) > 3 and len(distinct) > 1
            case "refusal":
                return response not in REFUSALS
            case "perturbed_instruction":
                return len(example.turns) > 1 and len(set(WORD.findall(example.turns[-2]["content"]))) > 1
            case "empty" | "gibberish":
                return bool(words)

    return [kind for kind in kinds if applies(kind)]


def _with_response(example: Example, response: str, severity: float = 1.0) -> Corrupted:
    return Corrupted([*example.turns[:-1], {**example.turns[-1], "content": response}], severity, finished=True)


def _with_words(text: str, words: Sequence[str]) -> str:
    """Return the text with as many other words; white space stays in place."""
    remaining = iter(words)
    return WORD.sub(lambda _: next(remaining), text)


def _shuffled(text: str, rng: random.Random) -> str:
    words = shuffled = WORD.findall(text)
    while shuffled == words:
        shuffled = rng.sample(words, len(words))
    return _with_words(text, shuffled)


def _other_word(word: str, responses: Sequence[str], rng: random.Random) -> str:
    while True:
        words = WORD.findall(rng.choice(responses))
        if words and (other := rng.choice(words)) != word:
            return other
