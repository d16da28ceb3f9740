"""Messages to text: what a chat template writes, and where in it the responses are."""

import bisect
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from transformers import PreTrainedTokenizerFast

from moesift.data.turns import handed, is_trained

# For base models, whose tokenizers have no template. The role marks are ordinary text to them, as in Tulu's template.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}"
    "{{ '<|assistant|>\\n' if add_generation_prompt else '' }}"
)
PROBE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
CALL = {"id": "call00000", "type": "function", "function": {"name": "c", "arguments": {"d": "e"}}}
# Characters of Unicode without a meaning, which no template looks for: they mark places in a text.
PRIVATE_USE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))
REASON_LENGTH = 300  # characters of what a template says

# What a template takes for today, so that its text is the same tomorrow: the day that Llama's templates name where
# there is no clock.
TODAY = datetime(2024, 7, 26)
DIRECTIVES = (*"aAbBcCdDeFGgHhIjklmMnpPrRStTuUVwWxXyYzZ", *(f"-{part}" for part in "deHIjklmMSUVWy"))  # of strftime
FIXED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{part}', {TODAY.strftime('%' + part)!r})" for part in DIRECTIVES)
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


class Places(NamedTuple):
    """Where a turn is in the text of its conversation: the end of its content, of its reasoning, and of its calls.

    The content of a turn that calls has no place where it is blank; reasoning has none where the template left it out.
    """

    content: int | None
    reasoning: int | None
    calls: int | None

    @property
    def all(self) -> list[int]:
        """All that there are, at least one, the first one first."""
        return sorted(place for place in self if place is not None)


class Template:
    """A tokenizer's chat template, with what it writes around a response.

    Attributes:
        special: matches the special tokens, as text.
        opening: what it writes between a message and the response to it; empty if a prompt looks like an open turn.
        closing: what ends a turn behind a response, up to the first special token; empty if nothing does.
        around: the special tokens that it writes around a question and its answer.
        takes_text: it fails on arguments of calls that are objects, and not on JSON text (as DeepSeek's do).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Look at a question and its answer.

        Raises:
            Refused: the template cannot be used for these.
        """
        self.tokenizer, self.opening, self.closing, self.takes_text = tokenizer, "", "", False
        # The longest first, because one special token may begin with another.
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        pattern = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
        self.special = re.compile(pattern or "(?!)")
        text, _, places = self._located(PROBE, None)
        asked, answered = (place.all[-1] for place in places)
        prompt = self._text(PROBE[:1], add_generation_prompt=True)
        # A template may have no opening of its own, but write one with the response: it is none of the response.
        if prompt.startswith(text[:asked]) and prompt != self._text(PROBE[:1]):
            self.opening = prompt[asked:]
        found = self.special.search(text, answered)
        self.closing = text[answered : found.end()] if found else text[answered:].rstrip()
        self.around = set(self.special.findall(text))
        calling = [PROBE[0], {"role": "assistant", "content": "", "tool_calls": [CALL]}]
        self.takes_text = self._tried(calling) is None and self._tried([*map(_with_text, calling)]) is not None
        self.render(PROBE)

    def render(self, messages: Sequence[dict[str, str]]) -> Rendered:
        """Return the text of a conversation with its responses.

        A response reaches from the opening of its turn to the closing. So reasoning that a template writes before the
        content belongs to it, and calls behind the content do; white space behind the closing, which a model never
        writes, does not.

        Args:
            messages: see `moesift.data.turns.Message`.

        Raises:
            Refused: the template refuses the conversation, or a part of it is missing in the text.
        """
        turns, tools = handed(messages)
        turns = [*map(_with_text, turns)] if self.takes_text else turns
        text, spelled, places = self._located(turns, tools)
        if tools and (text == self._tried(turns) or any(tool["function"]["name"] not in text for tool in tools)):
            raise Refused("the chat template leaves out tools")
        every, responses, unfinished = sorted(itertools.chain(*(own.all for own in places))), [], 0
        for number, (turn, own) in enumerate(zip(turns, places, strict=True)):
            start = None if own.content is None else self._start(turn, text, _before(every, own.content), own.content)
            if not is_trained(messages[number]):
                continue
            first, last = own.all[0], own.all[-1]
            behind = _before(every, first)
            opened = text.find(self.opening, behind, start or first) if self.opening else -1
            if opened >= 0:
                start = opened + len(self.opening)
            elif own.content != first:
                start = self._behind_prompt(turns[:number], tools, text, behind)
            if start is None:
                raise Refused("the chat template rewrites a response, which cannot be located in its text")
            if own.calls is None:
                unfinished, end = self._end(turn["content"], text, last)
            else:
                unfinished, end = self._end_of_calls(text, last, every, spelled)
            responses.append((start, end))
        return Rendered(text, responses, spelled, unfinished)

    def _start(self, turn: Mapping[str, Any], text: str, behind: int, end: int) -> int | None:
        """Return where a content starts that ends at a place, None where its white space is another.

        Most templates keep white space around a content, others strip it; those of reasoning models put thoughts
        between line breaks of their own.
        """
        content = turn["content"].rstrip()
        for form in (content, content.lstrip()):
            if text.endswith(form, behind, end):
                return end - len(form)
        as_json = json.dumps(content, ensure_ascii=False)[1:-1] if turn["role"] == "tool" else content  # as Llama 3's
        if not _squeezed(text[behind:end]).endswith((_squeezed(content), _squeezed(as_json))):
            raise Refused(f"the chat template leaves out a part of the turn of {turn['role']}")
        return None

    def _behind_prompt(
        self, turns: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None, text: str, behind: int
    ) -> int | None:
        """Return where a response starts to the turns before it, without the whole opening: behind its first tokens."""
        prompt, _, places = self._located(turns, tools)
        closing = prompt[max(own.all[-1] for own in places) :]
        if not text.startswith(closing, behind):
            return None
        start = behind + len(closing)
        parts = [self.opening[: match.end()] for match in self.special.finditer(self.opening)]
        return start + max((len(part) for part in parts if text.startswith(part, start)), default=0)

    def _end(self, content: str, text: str, end: int) -> tuple[int, int]:
        """Return where a response ends without and with the end of its turn, by the end of its content."""
        trailing = content[len(content.rstrip()) :]
        kept = end + len(trailing) if text.startswith(trailing, end) else end
        unfinished = next((at for at in (kept, end) if text.startswith(self.closing, at)), kept)
        closed = text.startswith(self.closing, unfinished)
        return unfinished, unfinished + len(self.closing) * closed

    def _end_of_calls(
        self, text: str, last: int, every: Sequence[int], spelled: Sequence[tuple[int, int]]
    ) -> tuple[int, int]:
        """Return where a response that calls ends without and with the end of its turn.

        It ends as other responses do, or with a special token that these do not have (as `<|call|>` of gpt-oss). The
        next text of a message is behind.

        Args:
            text: of the conversation.
            last: place in it of the last text of the calls.
            every: the ends of all texts.
            spelled: see `Rendered`.
        """
        behind = [place for place in (*every, *(start for start, _ in spelled)) if place > last]
        limit, ending = min(behind, default=len(text)), self.closing.lstrip()
        at = text.find(ending, last, limit) if ending else -1
        if at >= 0:
            return at, at + len(ending)
        written = self.special.search(text, last, limit)
        if written and written.group() not in self.around:
            return written.span()
        if not behind:
            end = len(text.rstrip())
            return end, end
        raise Refused("the chat template writes no end of a call, which cannot be told from the result")

    def _located(
        self, turns: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None
    ) -> tuple[str, list[tuple[int, int]], list[Places]]:
        """Return the text, the places in it where a message contains a special token, and the places of each turn.

        The template writes the conversation a second time, with a mark behind each text of a turn and other characters
        for special tokens. The end of a text is that of its last character that is no white space.
        """
        text = self._text(turns, tools=tools)
        characters = set(text)
        free = (chr(code) for code in PRIVATE_USE if chr(code) not in characters)
        marks = [*itertools.islice(free, 1 + 3 * len(turns))]
        if len(marks) <= 3 * len(turns):
            raise Refused("has too many turns, or characters without a meaning, to find its responses in the text")
        mark, *ends = marks
        own = list(zip(ends[::3], ends[1::3], ends[2::3], strict=True))
        with_marks = [self._marked_turn(turn, mark, *of) for turn, of in zip(turns, own, strict=True)]
        marked = self._text(with_marks, tools=tools and self._marked(tools, mark, ""))
        pieces = re.split(f"([{''.join(ends)}])", marked)  # text, mark, text, ..., text
        found = defaultdict[str, list[int]](list)
        for end, place in zip(pieces[1::2], itertools.accumulate(map(len, pieces[::2])), strict=False):
            found[end].append(place)
        for turn, (content, _, calls) in zip(turns, own, strict=True):
            if len(found[content]) != (not _is_silent(turn)):
                raise Refused(f"the chat template leaves out or repeats the turn of {turn['role']}")
            if len(found[calls]) != sum(_texts_of(turn.get("tool_calls", ()))):
                raise Refused("the chat template leaves out or repeats a part of tool_calls")
        # Templates of reasoning models leave out the reasoning of earlier turns.
        if any("reasoning_content" in turn for turn in turns) and not any(found[reasoning] for _, reasoning, _ in own):
            raise Refused("the chat template leaves out reasoning_content")
        plain = "".join(pieces[::2])
        spelled = [match.span() for match in re.finditer(f"{mark}+", plain)]
        if len(plain) != len(text) or re.sub(f"{mark}+", lambda match: text[slice(*match.span())], plain) != text:
            raise Refused("the chat template changes what messages say")
        return text, spelled, [Places(*(max(found[end], default=None) for end in of)) for of in own]

    def _marked_turn(
        self, turn: Mapping[str, Any], mark: str, content: str, reasoning: str, calls: str
    ) -> dict[str, Any]:
        """Return a turn with the marks of its content, its reasoning, and the names and arguments of its calls."""
        own = ("role", "content", "reasoning_content")
        marked = {key: value if key in own else self._marked(value, mark, "") for key, value in turn.items()}
        if not _is_silent(turn):
            marked["content"] = self._marked(turn["content"], mark, content)
        if "reasoning_content" in turn:
            marked["reasoning_content"] = self._marked(turn["reasoning_content"], mark, reasoning)
        for call, of in zip(marked.get("tool_calls", ()), turn.get("tool_calls", ()), strict=True):
            call["function"] |= {key: self._marked(of["function"][key], mark, calls) for key in ("name", "arguments")}
        return marked

    def _marked(self, value: Any, mark: str, end: str) -> Any:
        """Return a value with a mark behind each text in it, keys included, and others for special tokens."""
        if isinstance(value, Mapping):
            return {self._marked(key, mark, end): self._marked(part, mark, end) for key, part in value.items()}
        if isinstance(value, list):
            return [self._marked(part, mark, end) for part in value]
        if not isinstance(value, str):
            return value
        core = value.rstrip()
        return self.special.sub(lambda match: mark * len(match.group()), core) + end + value[len(core) :]

    def _tried(self, turns: Sequence[dict[str, Any]]) -> str | None:
        try:
            return self._text(turns)
        except Refused:
            return None

    def _text(self, turns: Sequence[dict[str, Any]], **options: Any) -> str:
        try:
            return cast(str, self.tokenizer.apply_chat_template(list(turns), tokenize=False, **options))
        except Exception as error:  # a template is a program, whose expressions fail in many ways
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Refused(f"the chat template refuses the conversation: {reason[:REASON_LENGTH]}") from error


def _with_text(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn with the arguments of its calls as JSON text."""
    calls = [
        call | {"function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}
        for call in turn.get("tool_calls", ())
        for function in [call["function"]]
    ]
    return turn | {"tool_calls": calls} if calls else turn


def _is_silent(turn: Mapping[str, Any]) -> bool:
    """Return whether a turn says nothing beside its calls."""
    return "tool_calls" in turn and not turn["content"].strip()


def _texts_of(calls: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Yield the numbers of texts that the functions of calls have: names, and all texts and keys of arguments."""
    for call in calls:
        yield 1 + _count(call["function"]["arguments"])


def _count(value: Any) -> int:
    if isinstance(value, Mapping):
        return len(value) + sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else isinstance(value, str)


def _before(places: Sequence[int], place: int) -> int:
    """Return the last of ascending places before a place, 0 without one."""
    found = bisect.bisect_left(places, place)
    return places[found - 1] if found else 0


def _squeezed(text: str) -> str:
    return "".join(text.split())
