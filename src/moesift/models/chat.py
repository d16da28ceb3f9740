"""Messages to tokens: the one tokenisation and chat template of warm-up, scoring, training and evaluation."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
    so that the tokens are those that the model reads in use.

    Raises:
        UserError: the chat template rewrites earlier turns, so that responses cannot be found in it.
    """
    rendered = [_render(messages, tokenizer) for messages in conversations]
    if not rendered:
        return []
    if finished is not None:
        rendered = [
            part if ends else _without_end(*part, tokenizer) for part, ends in zip(rendered, finished, strict=True)
        ]
    tokens = tokenizer([text for text, _ in rendered], add_special_tokens=False, return_offsets_mapping=True)
    examples = []
    for ids, offsets, (_, spans) in zip(tokens["input_ids"], tokens["offset_mapping"], rendered, strict=True):
        response = [any(start < to and end > since for since, to in spans) for start, end in offsets]
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
    messages: Sequence[dict[str, str]], tokenizer: PreTrainedTokenizerFast
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of a conversation and the character spans of its responses."""

    def template(turns: Sequence[dict[str, str]], **how: Any) -> str:
        return cast(str, tokenizer.apply_chat_template(list(turns), tokenize=False, **how))

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
    return whole, spans


def _without_end(
    text: str, spans: list[tuple[int, int]], tokenizer: PreTrainedTokenizerFast
) -> tuple[str, list[tuple[int, int]]]:
    """Return a conversation and its spans cut before the end token of its last response."""
    start, end = spans[-1]
    response = text[start:end].removesuffix(str(tokenizer.eos_token))
    return text[:start] + response, [*spans[:-1], (start, start + len(response))]
