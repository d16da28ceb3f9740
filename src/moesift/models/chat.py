"""Messages to tokens: the one tokenisation and chat template of warm-up, scoring, training and evaluation."""

import bisect
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from moesift.errors import UserError

# For base models, whose tokenizers bring no template. The role marks are ordinary text to them, as in Tulu's template.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}"
    "{{ '<|assistant|>\\n' if add_generation_prompt else '' }}"
)

MARK = "\uffff"  # stands for no character, so that no template looks for it


@dataclass(frozen=True)
class Encoded:
    """One example as tokens.

    Attributes:
        ids: token ids, at most `max_length` of them.
        response: for each token, whether an assistant wrote it; only these count in losses and scores.
        cut: whether tokens beyond `max_length` were left out.
    """

    ids: list[int]
    response: list[bool]
    cut: bool

    @property
    def predicted(self) -> int:
        """How many response tokens have a token before them, and so a prediction and a loss."""
        return sum(self.response[1:])


class Rendered(NamedTuple):
    """A conversation as text, and spans of its characters."""

    text: str
    responses: list[tuple[int, int]]  # the end of the turn included
    spelled: list[tuple[int, int]]  # what reads like a special token and was written by someone


def with_template(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Give a tokenizer without a chat template the plain one, and one without a padding token its end token.

    Raises:
        UserError: the tokenizer has no end token, which closes a response and so must be learned.
    """
    if tokenizer.eos_token is None:
        raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no eos_token; name one in tokenizer_config.json")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode(
    conversations: Iterable[Sequence[dict[str, str]]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    finished: Sequence[bool] | None = None,
) -> list[Encoded]:
    """Tokenise conversations and mark the tokens of the responses, the end of the turn included.

    Of a conversation that is not `finished` (none given: all are) the last response has no end of its turn.

    A conversation is rendered and tokenised whole, and a token belongs to a response when any of its characters does,
    so that the tokens are those that the model reads in use. Special tokens are the template's alone: a message that
    spells one (`<|im_end|>`) opens and closes no turn, but is spelled in ordinary tokens.

    Raises:
        UserError: the chat template refuses a conversation, or rewrites earlier turns, so that responses cannot be
            found in it.
    """
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    # The longest first: of two special tokens one may begin with the other.
    pattern = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))
    rendered = [_render(messages, tokenizer, pattern) for messages in conversations]
    if not rendered:
        return []
    if finished is not None:
        rendered = [
            part if ends else _without_end(part, tokenizer) for part, ends in zip(rendered, finished, strict=True)
        ]
    tokens = tokenizer([part.text for part in rendered], add_special_tokens=False, return_offsets_mapping=True)
    examples = []
    for ids, offsets, part in zip(tokens["input_ids"], tokens["offset_mapping"], rendered, strict=True):
        if part.spelled:
            ids, offsets = _spelled_out(part, tokenizer)
        response = _within(offsets, part.responses)
        examples.append(Encoded(ids[:max_length], response[:max_length], len(ids) > max_length))
    return examples


def encode_responses(
    conversations: Iterable[Sequence[dict[str, str]]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    finished: Sequence[bool] | None = None,
) -> list[Encoded | None]:
    """Do as `encode`, with None for a conversation that has no response token to learn from within `max_length`.

    Raises:
        UserError: no conversation has one, or as `encode`.
    """
    encoded = encode(conversations, tokenizer, max_length, finished)
    examples = [example if example.predicted else None for example in encoded]
    if not any(examples):
        raise UserError(f"data.max_length: no example has a response token within {max_length} tokens")
    return examples


def responses_alone(example: Encoded, start_id: int) -> list[Encoded]:
    """Return each response of an example alone: the same tokens behind one start token, and no instruction."""
    turns = []
    for is_response, run in itertools.groupby(
        zip(example.ids, example.response, strict=True), key=lambda pair: pair[1]
    ):
        if is_response:
            ids = [token for token, _ in run]
            turns.append(Encoded([start_id, *ids], [False] + [True] * len(ids), cut=False))
    return turns


def _render(
    messages: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerFast, special: re.Pattern[str]
) -> Rendered:
    """Return the text of a conversation, its responses, and where a message spells what `special` matches."""

    def template(turns: Sequence[dict[str, str]], **how: Any) -> str:
        try:
            return cast(str, tokenizer.apply_chat_template(list(turns), tokenize=False, **how))
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template refuses the turns {roles}: {error}; leave such "
                "conversations out, or set a plain chat template in the tokenizer's directory"
            ) from error

    whole = template(messages)
    eos = str(tokenizer.eos_token)
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = template(messages[:turn], add_generation_prompt=True)
        after = template(messages[: turn + 1])
        if not (whole.startswith(after) and after.startswith(before)):
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template rewrites earlier turns or opens responses with text that "
                "it then drops; set a plain chat template in the tokenizer's directory"
            )
        # Where a template puts white space behind the end token, it belongs to the next turn: a model never writes it.
        ending = after.rstrip()
        spans.append((len(before), len(ending if ending.endswith(eos) else after)))
    if not special.pattern or not any(special.search(message["content"]) for message in messages):
        return Rendered(whole, spans, [])
    marked = template(
        [
            {**message, "content": special.sub(lambda found: MARK * len(found.group()), message["content"])}
            for message in messages
        ]
    )
    if len(marked) != len(whole):
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template does not write messages as they are where they spell a "
            "special token; set a plain chat template in the tokenizer's directory"
        )
    places = [place for place, (mark, written) in enumerate(zip(marked, whole, strict=True)) if mark == MARK != written]
    return Rendered(whole, spans, _runs(places))


def _within(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Say of each token, whose offsets rise, whether any of its characters lies in a span."""
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    found = [False] * len(offsets)
    for since, to in spans:
        first, behind = bisect.bisect_right(ends, since), bisect.bisect_left(starts, to)
        found[first:behind] = [True] * (behind - first)
    return found


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive places, each as its first and the one behind its last."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def _without_end(conversation: Rendered, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    """Return a conversation cut before the end token of its last response."""
    text, responses, spelled = conversation
    start, end = responses[-1]
    end = start + len(text[start:end].removesuffix(str(tokenizer.eos_token)))
    return Rendered(text[:end], [*responses[:-1], (start, end)], [span for span in spelled if span[1] <= end])


def _spelled_out(conversation: Rendered, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[tuple[int, int]]]:
    """Return tokens and their offsets, with ordinary tokens for what a message spells.

    A special token parts the text in any case, so that the tokens on both sides are those that they would have been.
    """
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    ends = [0, *itertools.chain(*conversation.spelled), len(conversation.text)]
    for part, (start, end) in enumerate(itertools.pairwise(ends)):
        tokens = tokenizer(
            conversation.text[start:end],
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=part % 2 == 1,
        )
        ids += tokens["input_ids"]
        offsets += [(start + since, start + to) for since, to in tokens["offset_mapping"]]
    return ids, offsets
