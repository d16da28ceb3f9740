"""Which examples belong together, so that none of them is held out while another is in the pool."""

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from moesift.data.turns import Message, text_of

WIDTH = 8  # bytes of a digest that are compared: of 40 million, two are alike by chance in one pool of 20,000


def linked_groups(conversations: Iterable[Sequence[Message]]) -> np.ndarray:
    """Return the number of the group of each conversation, (N,), numbered from 0 as they first appear.

    Two conversations are in one group if they share an exchange, which is a response with the turn before it, or a
    question, which is all turns before a response: the same question with another answer, a conversation and its
    continuation, or a chain of these. Exchanges are compared without case and white space, questions to the character
    (an accent may be one of its own), and neither has the system message.
    """
    keys, sizes = bytearray(), array("I")
    for messages in conversations:
        own = list(_keys(messages))
        keys += b"".join(own)
        sizes.append(len(own))
    count = len(sizes)
    _, columns, times = np.unique(np.frombuffer(keys, np.uint64), return_inverse=True, return_counts=True)
    shared = times > 1  # what occurs once links nothing
    numbers = count + np.cumsum(shared) - 1  # of the shared ones, behind those of the conversations
    linking = shared[columns]
    rows = np.repeat(np.arange(count), sizes)[linking]
    size = count + shared.sum()
    links = coo_array((np.ones(len(rows), bool), (rows, numbers[columns[linking]])), shape=(size, size))
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
