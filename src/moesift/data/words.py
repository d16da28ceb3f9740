"""The words of a text, by which texts are compared: a character where a script does not separate words."""

import re
import unicodedata
from collections.abc import Sequence

# Han, Hiragana and Katakana, of half width too; without their punctuation.
UNSPACED = (
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff66-\uff9f\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
BETWEEN = re.compile(rf"(?<=[{UNSPACED}]) (?=[{UNSPACED}])")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; a Chinese or Japanese character is a word.

    An accent may be written as a character of its own: the text is compared in Unicode's normal form C.
    """
    return WORD.findall(unicodedata.normalize("NFC", text).lower())


def as_text(words: Sequence[str]) -> str:
    """Return words as a text of which `words_of` makes them again: with spaces, but none between such characters."""
    return BETWEEN.sub("", " ".join(words))
