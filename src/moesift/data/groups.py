"""Which examples belong together, so that none of them is held out while another is in the pool."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from moesift.data.turns import Message, text_of

WIDTH = 16  # bytes of a digest that are compared


def linked_groups(conversations: Iterable[Sequence[Message]]) -> np.ndarray:
    """Return the number of the group of each conversation, (N,).

    Two conversations are in one group if they share an exchange, which is a response with the turn before it, or a
    question, which is all turns before a response: the same question with another answer, a conversation and its
    continuation, or a chain of these. Exchanges are compared without case and white space, questions to the character
    (an accent may be one of its own), and neither has the system message.
    """
    rows: list[int] = []
    keys: list[bytes] = []
    count = 0
    for row, messages in enumerate(conversations):
        own = list(_keys(messages))
        rows += [row] * len(own)
        keys += own
        count = row + 1
    distinct, columns = np.unique(np.array(keys, dtype=f"V{WIDTH}"), return_inverse=True)
    size = count + len(distinct)
    links = coo_array((np.ones(len(rows), bool), (np.array(rows, int), count + columns)), shape=(size, size))
    return connected_components(links, directed=False)[1][:count]


def _keys(messages: Sequence[Message]) -> Iterator[bytes]:
    asked, before = hashlib.sha256(), b""
    for message in messages:
        if message["role"] == "system":
            continue
        text = unicodedata.normalize("NFC", text_of(message))
        turn = _digest(" ".join(text.casefold().split()))
        if message["role"] == "assistant":
            yield asked.digest()[:WIDTH]
            yield _digest(before + turn)[:WIDTH]
        asked.update(_digest(text))
        before = turn


def _digest(content: str | bytes) -> bytes:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()
