"""Messages to tokens: one tokenisation and chat template for warm-up, passes, training and evaluation."""

import bisect
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from moesift.errors import UserError

# For base models, whose tokenizers have no template. The role marks are ordinary text to them, as in Tulu's template.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}"
    "{% endfor %}"
    "{{ '<|assistant|>\\n' if add_generation_prompt else '' }}"
)
PRIVATE_USE = range(0xE000, 0xF900)  # characters of Unicode without a meaning, which no template looks for


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
    """A conversation as text, with spans of its characters."""

    text: str
    responses: list[tuple[int, int]]  # including the end of the turn
    spelled: list[tuple[int, int]]  # text of a message that reads like a special token


def with_template(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Give a tokenizer the plain chat template if it has none, and its end token for padding if it has none.

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
    """Tokenise conversations and mark the tokens of the responses, including the end of the turn.

    The last response of a conversation that is not `finished` gets no end of its turn; by default all are finished.

    A conversation is rendered and tokenised as a whole, and a token belongs to a response if any of its characters
    does, so the tokens are the ones that the model sees in use. Only the template may write special tokens: a message
    that contains one as text (`<|im_end|>`) opens or closes no turn, and is encoded in ordinary tokens.

    Raises:
        UserError: the chat template refuses a conversation, or rewrites earlier turns, so that the responses cannot be
            located in its text.
    """
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    # The longest first, because one special token may begin with another.
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
            ids, offsets = _tokenise_spelled(part, tokenizer)
        response = _overlapping(offsets, part.responses)
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
    """Return each response of an example by itself: its tokens after one start token, without the instruction."""
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
    """Return the text of a conversation, its responses, and the places where a message contains a special token."""

    def template(turns: Sequence[dict[str, str]], **options: Any) -> str:
        try:
            return cast(str, tokenizer.apply_chat_template(list(turns), tokenize=False, **options))
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template refuses the turns {roles}: {error}; leave such "
                "conversations out, or set a plain chat template in the tokenizer's directory"
            ) from error

    text = template(messages)
    eos = str(tokenizer.eos_token)
    responses = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = template(messages[:turn], add_generation_prompt=True)
        after = template(messages[: turn + 1])
        if not (text.startswith(after) and after.startswith(before)):
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template rewrites earlier turns or opens responses with text that "
                "it then drops; set a plain chat template in the tokenizer's directory"
            )
        # White space that a template writes after the end token belongs to the next turn: a model never writes it.
        stripped = after.rstrip()
        responses.append((len(before), len(stripped if stripped.endswith(eos) else after)))
    if not special.pattern or not any(special.search(message["content"]) for message in messages):
        return Rendered(text, responses, [])
    # Special tokens in messages are replaced by a character that occurs nowhere else, which shows their places.
    mark = next(chr(code) for code in PRIVATE_USE if chr(code) not in text)
    replaced = [
        {**message, "content": special.sub(lambda match: mark * len(match.group()), message["content"])}
        for message in messages
    ]
    marked = template(replaced)
    if len(marked) != len(text):
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template changes messages that contain a special token; set a plain "
            "chat template in the tokenizer's directory"
        )
    return Rendered(text, responses, [match.span() for match in re.finditer(f"{mark}+", marked)])


def _overlapping(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each token, given by ascending offsets, whether any of its characters lies in a span."""
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    overlaps = [False] * len(offsets)
    for start, end in spans:
        first, behind = bisect.bisect_right(ends, start), bisect.bisect_left(starts, end)
        overlaps[first:behind] = [True] * (behind - first)
    return overlaps


def _without_end(conversation: Rendered, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    """Return a conversation cut before the end token of its last response."""
    text, responses, spelled = conversation
    start, end = responses[-1]
    end = start + len(text[start:end].removesuffix(str(tokenizer.eos_token)))
    return Rendered(text[:end], [*responses[:-1], (start, end)], [span for span in spelled if span[1] <= end])


def _tokenise_spelled(
    conversation: Rendered, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return tokens and offsets, with ordinary tokens where a message contains a special token as text.

    Every tokenizer splits a text at special tokens, so the tokens on both sides of one stay the same.
    """
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    bounds = [0, *itertools.chain(*conversation.spelled), len(conversation.text)]
    for part, (start, end) in enumerate(itertools.pairwise(bounds)):
        tokens = tokenizer(
            conversation.text[start:end],
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=part % 2 == 1,
        )
        ids += tokens["input_ids"]
        offsets += [(start + first, start + last) for first, last in tokens["offset_mapping"]]
    return ids, offsets
