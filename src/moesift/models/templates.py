"""Messages to text: what a chat template writes, and where in it the responses are."""

import bisect
import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from transformers import PreTrainedTokenizerFast

# For base models, whose tokenizers have no template. The role marks are ordinary text to them, as in Tulu's template.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}"
    "{{ '<|assistant|>\\n' if add_generation_prompt else '' }}"
)
PROBE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
# Characters of Unicode without a meaning, which no template looks for: they mark places in a text.
PRIVATE_USE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))
REASON_LENGTH = 300  # characters of what a template says

# What a template takes for today, so that its text is the same tomorrow: the day that Llama's templates name where
# there is no clock.
TODAY = datetime(2024, 7, 26)
FIXED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{part}', '{TODAY.strftime('%' + part)}')" for part in "YmdBbAaHMSyIpj")
    + " }}{% endmacro %}\n"
)


class Refused(Exception):
    """A conversation that a template refuses, or whose responses cannot be located in its text; says why."""


class Rendered(NamedTuple):
    """A conversation as text, with spans of its characters."""

    text: str
    responses: list[tuple[int, int]]  # including the end of the turn
    spelled: list[tuple[int, int]]  # text of a message that reads like a special token
    unfinished: int  # where the last response ends without the end of its turn

    def without_end(self) -> "Rendered":
        """Return the conversation cut before the end of the turn of its last response."""
        cut, (start, _) = self.unfinished, self.responses[-1]
        spelled = [span for span in self.spelled if span[1] <= cut]
        return Rendered(self.text[:cut], [*self.responses[:-1], (start, cut)], spelled, cut)


class Template:
    """A tokenizer's chat template, with what it writes around a response.

    Attributes:
        special: matches the special tokens, as text.
        opening: what it writes between a message and the response to it; empty if a prompt looks like an open turn.
        closing: what ends a turn behind a response, up to the first special token; empty if nothing does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Look at a question and its answer.

        Raises:
            Refused: the template cannot be used for these.
        """
        self.tokenizer, self.opening, self.closing = tokenizer, "", ""
        # The longest first, because one special token may begin with another.
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        pattern = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
        self.special = re.compile(pattern or "(?!)")
        text, _, (asked, answered) = self._located(PROBE)
        prompt = self._text(PROBE[:1], add_generation_prompt=True)
        # A template may have no opening of its own, but write one with the response: it is none of the response.
        if prompt.startswith(text[:asked]) and prompt != self._text(PROBE[:1]):
            self.opening = prompt[asked:]
        found = self.special.search(text, answered)
        self.closing = text[answered : found.end()] if found else text[answered:].rstrip()
        self.render(PROBE)

    def render(self, messages: Sequence[dict[str, str]]) -> Rendered:
        """Return the text of a conversation with its responses.

        A response reaches from the opening of its turn to the closing. So thoughts that a template writes before the
        content belong to it; white space behind the closing, which a model never writes, does not.

        Raises:
            Refused: the template refuses the conversation or a part of a message is missing in the text.
        """
        text, spelled, ends = self._located(messages)
        places, responses, unfinished = sorted(ends), [], 0
        for message, end in zip(messages, ends, strict=True):
            content, previous = message["content"], bisect.bisect_left(places, end)
            behind = places[previous - 1] if previous else 0
            # Most templates keep white space around a content, others strip it; those of reasoning models put thoughts
            # between line breaks of their own.
            forms = (content.rstrip(), content.strip())
            start = next((end - len(form) for form in forms if text.endswith(form, behind, end)), None)
            if start is None and not _squeezed(text[behind:end]).endswith(_squeezed(content)):
                raise Refused(f"the chat template leaves out a part of the turn of {message['role']}")
            if message["role"] != "assistant":
                continue
            opened = text.find(self.opening, behind, start or end) if self.opening else -1
            if opened >= 0:
                start = opened + len(self.opening)
            if start is None:
                raise Refused("the chat template rewrites a response, which cannot be located in its text")
            trailing = content[len(content.rstrip()) :]
            kept = end + len(trailing) if text.startswith(trailing, end) else end
            unfinished = next((at for at in (kept, end) if text.startswith(self.closing, at)), kept)
            closed = text.startswith(self.closing, unfinished)
            responses.append((start, unfinished + len(self.closing) * closed))
        return Rendered(text, responses, spelled, unfinished)

    def _located(self, messages: Sequence[dict[str, str]]) -> tuple[str, list[tuple[int, int]], list[int]]:
        """Return the text, the places in it where a message contains a special token, and the end of each content.

        The template writes the conversation a second time, with a mark behind each content and other characters for
        special tokens. The end of a content is that of its last character that is no white space.
        """
        text = self._text(messages)
        characters = set(text)
        free = (chr(code) for code in PRIVATE_USE if chr(code) not in characters)
        mark, *behind = itertools.islice(free, 1 + len(messages))
        marked = self._text(
            [
                {**message, "content": self._marked(message["content"], mark, end)}
                for message, end in zip(messages, behind, strict=True)
            ]
        )
        pieces = re.split(f"([{''.join(behind)}])", marked)  # text, mark, text, ..., text
        places = dict(zip(pieces[1::2], itertools.accumulate(map(len, pieces[::2])), strict=False))
        for message, end in zip(messages, behind, strict=True):
            if marked.count(end) != 1:
                raise Refused(f"the chat template leaves out or repeats the turn of {message['role']}")
        plain = "".join(pieces[::2])
        spelled = [match.span() for match in re.finditer(f"{mark}+", plain)]
        if len(plain) != len(text) or re.sub(f"{mark}+", lambda match: text[slice(*match.span())], plain) != text:
            raise Refused("the chat template changes what messages say")
        return text, spelled, [places[end] for end in behind]

    def _marked(self, content: str, mark: str, end: str) -> str:
        core = content.rstrip()
        return self.special.sub(lambda match: mark * len(match.group()), core) + end + content[len(core) :]

    def _text(self, messages: Sequence[dict[str, str]], **options: Any) -> str:
        try:
            return cast(str, self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
        except Exception as error:  # a template is a program, whose expressions fail in many ways
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Refused(f"the chat template refuses the conversation: {reason[:REASON_LENGTH]}") from error


def _squeezed(text: str) -> str:
    return "".join(text.split())
