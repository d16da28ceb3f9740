"""Messages to tokens: one tokenisation and chat template for warm-up, passes, training and evaluation."""

import bisect
import functools
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from moesift.errors import UserError
from moesift.models.templates import FIXED_CLOCK, PLAIN_TEMPLATE, PROBE, Refused, Rendered, Template

NO_END = (
    "its chat template writes nothing at the end of a response: no end is learned, and a response that was cut off is "
    "like one that was not"
)

BY_TOOLS = "{{% if tools +%}}{}{{%+ else +%}}{}{{%+ endif %}}"  # the plus signs keep white space

Tokens = tuple[list[int], list[tuple[int, int]]]  # ids, and the characters of each


@dataclass(frozen=True)
class Encoded:
    """One example as tokens.

    Attributes:
        ids: token ids, at most `max_length` of them.
        response: for each token, whether an assistant wrote it; only these count in losses and scores.
        refused: why it has no tokens, if it has none.
    """

    ids: list[int]
    response: list[bool]
    refused: str | None = None

    @property
    def predicted(self) -> int:
        """How many response tokens have a token before them, and so a prediction and a loss."""
        return sum(self.response[1:])


def with_template(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Give a tokenizer the plain chat template if it has none, and its end token for padding if it has none.

    Of several templates the one called default is taken, and for conversations with tools the one called tool_use, as
    by transformers. The clock of a template is stopped.

    Raises:
        UserError: the tokenizer has no end token, or no template that can write a question and its answer.
    """
    name = tokenizer.name_or_path
    if tokenizer.eos_token is None:
        raise UserError(f"{name}: its tokenizer has no eos_token; name one in tokenizer_config.json")
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise UserError(
                f"{name}: has several chat templates ({', '.join(template)}), and none is called default; copy the one "
                "to use to chat_template.jinja in the tokenizer's directory"
            )
        # Of a template by itself Jinja drops a line break at the end.
        with_tools, without = (template.get(kind, "").removesuffix("\n") for kind in ("tool_use", "default"))
        template = BY_TOOLS.format(with_tools, without) if with_tools else template["default"]
    template = PLAIN_TEMPLATE if template is None else template
    has_clock = "strftime_now" in template and not template.startswith(FIXED_CLOCK)
    tokenizer.chat_template = FIXED_CLOCK + template if has_clock else template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not end_of_turn(tokenizer):
        print(f"{name}: {NO_END}", file=sys.stderr)
    return tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return what the chat template writes at the end of a response, empty if nothing.

    Raises:
        UserError: the template cannot write a question and its answer.
    """
    return _template_of(tokenizer).closing


def require_embeddings(tokenizer: PreTrainedTokenizerFast, rows: int) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for, if a text may have them.

    Special tokens that nothing writes are left alone: some models have them for images.

    Args:
        tokenizer: of the model.
        rows: of the embedding.

    Raises:
        UserError: names the tokens.
    """
    template, padding = str(tokenizer.chat_template), tokenizer.pad_token_id
    used = {padding, *start_of_text(tokenizer), *encode([PROBE], tokenizer, 10_000)[0].ids}
    special = {id: token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = {token: id for token, id in tokenizer.get_vocab().items() if id >= rows}
    missing = {token: id for token, id in beyond.items() if id not in special or id in used or special[id] in template}
    if missing:
        listed = ", ".join(f"{token} ({id})" for token, id in sorted(missing.items(), key=lambda item: item[1])[:5])
        advice = "name another pad_token in tokenizer_config.json, or " if set(missing.values()) == {padding} else ""
        raise UserError(
            f"{tokenizer.name_or_path}: {len(missing)} tokens of the tokenizer have no embedding in the model, which "
            f"has {rows}: {listed}; {advice}enlarge the embedding with resize_token_embeddings"
        )


def start_of_text(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the tokens that begin a text of its own.

    They are those that the tokenizer puts before every text, else its start token. Models that have neither have learnt
    that texts follow an end token.
    """
    ids = _put_before(tokenizer)
    return ids or [tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id]


def encode(
    conversations: Iterable[Sequence[dict[str, str]]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    finished: Sequence[bool] | None = None,
) -> list[Encoded]:
    """Tokenise conversations and mark the tokens of the responses, including the end of the turn.

    The last response of a conversation that is not `finished` gets no end of its turn; by default all are finished.

    A conversation is rendered and tokenised as a whole, and a token belongs to a response if any of its characters
    does, so the tokens are the ones that the model sees in use. It begins with the tokens that the tokenizer puts
    before every text, if the template does not write them. Only the template may write special tokens: a message that
    contains one as text (`<|im_end|>`) opens or closes no turn, and is encoded in ordinary tokens.

    A conversation that the template refuses, or that has a text without a token, has no tokens, and says why.

    Raises:
        UserError: the template cannot write a question and its answer.
    """
    template, before = _template_of(tokenizer), _put_before(tokenizer)
    written_before = "".join(tokenizer.convert_ids_to_tokens(before))
    # These may cover white space around them, which is none of their own.
    swallowing = {id for id, token in tokenizer.added_tokens_decoder.items() if token.lstrip or token.rstrip}
    rendered: list[Rendered | str] = []
    for place, messages in enumerate(conversations):
        try:
            part = template.render(messages)
            rendered.append(part if finished is None or finished[place] else part.without_end())
        except Refused as reason:
            rendered.append(str(reason))
    texts = [part for part in rendered if isinstance(part, Rendered)]
    tokens = iter(_tokenised(texts, tokenizer, template.special))
    examples = []
    for part in rendered:
        found = part if isinstance(part, str) else next(tokens)
        if isinstance(part, str) or isinstance(found, str):
            examples.append(Encoded([], [], refused=str(found)))
            continue
        ids, offsets = found
        if swallowing.intersection(ids):
            offsets = [
                _stripped(part.text, *span) if id in swallowing else span for id, span in zip(ids, offsets, strict=True)
            ]
        response = _overlapping(offsets, part.responses)
        if before and not part.text.lstrip().startswith(written_before):
            ids, response = before + ids, [False] * len(before) + response
        examples.append(Encoded(ids[:max_length], response[:max_length]))
    return examples


def encode_responses(
    conversations: Iterable[Sequence[dict[str, str]]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    finished: Sequence[bool] | None = None,
) -> list[Encoded | None]:
    """Do as `encode`, with None for a conversation that has no response token to learn from within `max_length`.

    Why some have no tokens at all is printed.

    Raises:
        UserError: no conversation has one.
    """
    encoded = encode(conversations, tokenizer, max_length, finished)
    reasons = Counter(example.refused for example in encoded if example.refused)
    refused = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    if refused:
        print(f"{tokenizer.name_or_path}: without tokens: {refused}")
    examples = [example if example.predicted else None for example in encoded]
    if not any(examples):
        problem = f"data.max_length: no example has a response token within {max_length} tokens"
        raise UserError(f"{problem} ({refused})" if refused else problem)
    return examples


def responses_alone(example: Encoded, *start: int) -> list[Encoded]:
    """Return each response of an example by itself: its tokens after start tokens, without the instruction."""
    turns = []
    for is_response, run in itertools.groupby(
        zip(example.ids, example.response, strict=True), key=lambda pair: pair[1]
    ):
        if is_response:
            ids = [token for token, _ in run]
            turns.append(Encoded([*start, *ids], [False] * len(start) + [True] * len(ids)))
    return turns


def _template_of(tokenizer: PreTrainedTokenizerFast) -> Template:
    try:
        return Template(tokenizer)
    except Refused as reason:
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template cannot be used, not even for a question and its answer: "
            f"{reason}; set a plain chat template in the tokenizer's directory"
        ) from reason


def _put_before(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the special tokens that the tokenizer itself puts before every text."""
    whole = tokenizer("a", return_special_tokens_mask=True)
    masked = zip(whole["input_ids"], whole["special_tokens_mask"], strict=True)
    return [id for id, _ in itertools.takewhile(lambda pair: pair[1], masked)]


def _tokenised(
    rendered: Sequence[Rendered], tokenizer: PreTrainedTokenizerFast, special: re.Pattern[str]
) -> list[Tokens | str]:
    """Return the tokens of each text, or why it has none."""
    texts = [part.text for part in rendered]
    if not texts:
        return []
    try:
        whole = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        if len(texts) == 1:
            return [f"the tokenizer has no tokens for the text: {' '.join(str(error).split())}"]
        return [found for part in rendered for found in _tokenised([part], tokenizer, special)]
    found = zip(rendered, whole["input_ids"], whole["offset_mapping"], strict=True)
    return [
        _tokenise_spelled(part, tokenizer, special) if part.spelled else (ids, offsets) for part, ids, offsets in found
    ]


def _overlapping(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each token, given by ascending offsets, whether any of its characters lies in a span."""
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    overlaps = [False] * len(offsets)
    for start, end in spans:
        first, behind = bisect.bisect_right(ends, start), bisect.bisect_left(starts, end)
        overlaps[first:behind] = [True] * (behind - first)
    return overlaps


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the white space at its ends."""
    own = text[start:end].lstrip()
    return end - len(own), end - len(own) + len(own.rstrip())


def _tokenise_spelled(
    conversation: Rendered, tokenizer: PreTrainedTokenizerFast, special: re.Pattern[str]
) -> Tokens | str:
    """Return tokens and offsets, with ordinary tokens where a message contains a special token as text, or why not.

    The text is tokenised as a whole, because some tokenizers put a space before a text, by a copy that takes special
    tokens for ordinary text. It has tokens of its own for those that the template wrote.
    """
    text, characters, size = conversation.text, set(conversation.text), len(tokenizer.added_tokens_decoder)
    blocks = range(0x100000, 0x10FFFE - size, size)
    free = (block for block in blocks if characters.isdisjoint(map(chr, range(block, block + size))))
    if (first := next(free, None)) is None:
        return "spells a special token, and has all characters that could stand for one"
    literal, marks, stands_for = _literal(tokenizer, first)
    bounds, pieces = [0, *itertools.chain(*conversation.spelled), len(text)], []
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        piece = text[start:end]
        pieces.append(piece if number % 2 else special.sub(lambda match: marks[match.group()], piece))
    found = literal.encode("".join(pieces), add_special_tokens=False)
    return [stands_for.get(id, id) for id in found.ids], found.offsets


@functools.lru_cache(maxsize=2)  # of a large vocabulary it takes a second
def _literal(tokenizer: PreTrainedTokenizerFast, first: int) -> tuple[Tokenizer, dict[str, str], dict[int, int]]:
    """Return a copy of a tokenizer that takes special tokens for text, and has others that stand for them.

    Each of these is a character without a meaning, as often as the special token has characters: by the special token,
    and their ids to its id.

    Args:
        tokenizer: is not changed.
        first: number of the first of these characters.
    """
    literal = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    literal.encode_special_tokens = True
    literal.no_truncation()
    literal.no_padding()
    special = {id: token for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    marks = {token.content: chr(code) * len(token.content) for code, token in enumerate(special.values(), start=first)}
    sides = [{"lstrip": token.lstrip, "rstrip": token.rstrip} for token in special.values()]
    # All at once: each call builds the search for added tokens anew.
    literal.add_tokens(
        [AddedToken(mark, normalized=False, **of) for mark, of in zip(marks.values(), sides, strict=True)]
    )
    ids = dict(zip(marks.values(), special, strict=True))
    own = literal.get_added_tokens_decoder().items()
    stands_for = {id: ids[token.content] for id, token in own if token.content in ids}
    return literal, marks, stands_for
