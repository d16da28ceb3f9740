"""The kinds of corruption: each a pure function of an example and a seeded generator.

Each returns what the example became and how severe that is; it is asked only of an example that it is `applicable` to.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from moesift.config import Corruption
from moesift.data.formats import Message

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
class Given:
    """An example, and the responses of others that a swap may draw from. None of the lists needs to be free of its own.

    They hold each response as often as it occurs, so that a common response is no sign of a clean example.
    """

    turns: Sequence[Message]  # the last one is the response
    choices: Sequence[str]  # the answers of its question, empty where there are none
    alike: Sequence[str]  # responses of its source and its length bin
    own: Sequence[str]  # responses of its source
    foreign: Sequence[str]  # responses of all other sources

    @property
    def response(self) -> str:
        """The text that is corrupted."""
        return self.turns[-1]["content"]


class Corrupted(NamedTuple):
    """What an example became."""

    turns: list[Message]
    severity: float  # in (0, 1]; 1 where the whole response is affected
    finished: bool  # whether the response ends: without it, its end token is left out


def swapped_alike(given: Given, rng: random.Random) -> Corrupted:
    """The response of another example of the same source and length: source, length and style say nothing."""
    return _answered(given, _another(given, given.alike, rng))


def swapped_response(given: Given, rng: random.Random) -> Corrupted:
    """The response of another example of the same source."""
    return _answered(given, _another(given, given.own, rng))


def swapped_across(given: Given, rng: random.Random) -> Corrupted:
    """The response of an example of another source."""
    return _answered(given, _another(given, given.foreign, rng))


def wrong_choice(given: Given, rng: random.Random) -> Corrupted:
    """Another choice of the same question."""
    return _answered(given, _another(given, given.choices, rng))


def wrong_number(given: Given, rng: random.Random) -> Corrupted:
    """The same response with its last number missed by 1 to 9, as a slip of arithmetic would."""
    *_, last = NUMBER.finditer(given.response)
    written = last.group()
    decimals = len(written.partition(".")[2])
    value, miss = Decimal(written.replace(",", "")), Decimal(rng.randint(1, 9)).scaleb(-decimals)
    missed = value - miss if value > miss and rng.random() < 0.5 else value + miss
    shown = f"{missed:{',' if ',' in written else ''}.{decimals}f}"
    return _answered(given, given.response[: last.start()] + shown + given.response[last.end() :])


def shuffled_words(given: Given, rng: random.Random) -> Corrupted:
    """The same words in another order, white space in place."""
    words = WORD.findall(given.response)
    return _answered(given, _reworded(given.response, _reordered(words, rng)))


def noised_words(share: float) -> Callable[[Given, random.Random], Corrupted]:
    """The response with a share of its words, one at least, replaced by words of other responses of its source."""

    def noised(given: Given, rng: random.Random) -> Corrupted:
        words = WORD.findall(given.response)
        places = rng.sample(range(len(words)), max(1, round(share * len(words))))
        for place in places:
            words[place] = _another_word(words[place], given.own, rng)
        return _answered(given, _reworded(given.response, words), len(places) / len(words))

    return noised


def truncated(given: Given, rng: random.Random) -> Corrupted:
    """The first 20 to 60% of the words, one at least, as if that were all."""
    cut, severity = _cut(given.response, rng)
    return _answered(given, cut, severity)


def unfinished(given: Given, rng: random.Random) -> Corrupted:
    """The first 20 to 60% of the words, one at least, and no end token: what a limit of length leaves."""
    cut, severity = _cut(given.response, rng)
    return _answered(given, cut, severity)._replace(finished=False)


def repeated(given: Given, rng: random.Random) -> Corrupted:
    """The response up to one of its words, and from there the last 1 to 4 words over and over, to its old length.

    What a model that fell into a loop writes; as long as before, so that length says nothing.
    """
    words = looped = WORD.findall(given.response)
    start = 1
    while looped == words:
        start = rng.randint(1, len(words) // 2)
        period = rng.randint(1, min(4, start))
        loop = words[start - period : start]
        looped = words[:start] + [loop[place % period] for place in range(len(words) - start)]
    return _answered(given, _reworded(given.response, looped), 1 - start / len(words))


def empty(given: Given, rng: random.Random) -> Corrupted:
    """Nothing but the end token."""
    return _answered(given, "")


def refusal(given: Given, rng: random.Random) -> Corrupted:
    """A refusal of a sound question."""
    return _answered(given, rng.choice(REFUSALS))


def gibberish(given: Given, rng: random.Random) -> Corrupted:
    """Random letters in the place of each word's; a check of the machinery: whoever misses it has no signal."""
    words = ["".join(rng.choices(LETTERS, k=len(word))) for word in WORD.findall(given.response)]
    return _answered(given, _reworded(given.response, words))


def perturbed_instruction(given: Given, rng: random.Random) -> Corrupted:
    """The instruction's words in another order before the sound response: the negative control, which may even help."""
    asked = given.turns[-2]
    shuffled = _reordered(WORD.findall(asked["content"]), rng)
    turns = [*given.turns[:-2], {**asked, "content": _reworded(asked["content"], shuffled)}, given.turns[-1]]
    return Corrupted(turns, 1.0, finished=True)


MAKE: dict[Corruption, Callable[[Given, random.Random], Corrupted]] = {
    "swapped_alike": swapped_alike,
    "swapped_response": swapped_response,
    "swapped_across": swapped_across,
    "wrong_choice": wrong_choice,
    "wrong_number": wrong_number,
    "shuffled_words": shuffled_words,
    "noise_10": noised_words(0.1),
    "noise_30": noised_words(0.3),
    "truncated": truncated,
    "unfinished": unfinished,
    "repeated": repeated,
    "empty": empty,
    "refusal": refusal,
    "gibberish": gibberish,
    "perturbed_instruction": perturbed_instruction,
}


def applicable(given: Given, kinds: Sequence[Corruption]) -> list[Corruption]:
    """Return those of the kinds that would change the example."""
    words = WORD.findall(given.response)
    others = {
        "swapped_alike": given.alike,
        "swapped_response": given.own,
        "swapped_across": given.foreign,
        "wrong_choice": given.choices,
    }

    def applies(kind: Corruption) -> bool:
        match kind:
            case "swapped_alike" | "swapped_response" | "swapped_across" | "wrong_choice":
                return any(response != given.response for response in others[kind])
            case "wrong_number":
                return NUMBER.search(given.response) is not None
            case "shuffled_words":
                return len(set(words)) > 1
            case "noise_10" | "noise_30":
                # Of one or two words another answer would be left, not noise.
                return len(words) > 2 and any(set(WORD.findall(response)) - set(words) for response in given.own)
            case "truncated" | "unfinished":
                return len(words) > 1
            case "repeated":
                return len(words) > 3 and len(set(words)) > 1
            case "refusal":
                return given.response not in REFUSALS
            case "perturbed_instruction":
                return len(given.turns) > 1 and len(set(WORD.findall(given.turns[-2]["content"]))) > 1
            case "empty" | "gibberish":
                return bool(words)

    return [kind for kind in kinds if applies(kind)]


def _answered(given: Given, response: str, severity: float = 1.0) -> Corrupted:
    return Corrupted([*given.turns[:-1], {**given.turns[-1], "content": response}], severity, finished=True)


def _another(given: Given, responses: Sequence[str], rng: random.Random) -> str:
    while (drawn := rng.choice(responses)) == given.response:
        pass
    return drawn


def _another_word(word: str, responses: Sequence[str], rng: random.Random) -> str:
    while True:
        words = WORD.findall(rng.choice(responses))
        if words and (drawn := rng.choice(words)) != word:
            return drawn


def _reordered(words: Sequence[str], rng: random.Random) -> list[str]:
    shuffled = list(words)
    while shuffled == list(words):
        shuffled = rng.sample(words, len(words))
    return shuffled


def _reworded(text: str, words: Sequence[str]) -> str:
    """Return the text with as many other words, its white space in place."""
    remaining = iter(words)
    return WORD.sub(lambda _: next(remaining), text)


def _cut(response: str, rng: random.Random) -> tuple[str, float]:
    """Return the first 20 to 60% of the words, one at least, and the share that is lost."""
    words = list(WORD.finditer(response))
    kept = max(1, round(len(words) * rng.uniform(0.2, 0.6)))
    return response[: words[kept - 1].end()], 1 - kept / len(words)
