"""How many tokens a text costs, about. Nobody ships their tokenizer: this counts what a text is made of, and weighs it.

The weights are those of a tokenizer nobody has met; a run learns its model's own from reported usage (graphs/counting.py).
"""

from __future__ import annotations

import math
from functools import lru_cache

# Tokens for each of what a text is made of, fitted by least squares to the mean of o200k and cl100k (2026-11) over English prose and pages,
# Python, JSON, HTML, tables of numbers, links, German, Russian, Chinese and Japanese: each of these within 10 %, German 22 % under.
WEIGHTS = (0.283, 0.190, 0.566, 0.637, 0.369, 0.956, 0.431)
"""Of the first of `token_parts`, in their order."""
_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_DIGITS = b"0123456789"
_SPACES = b" \t\r\n"
_KINDS = bytes(
    ord("0") if byte in _DIGITS else ord("A") if 65 <= byte <= 90 else ord("a") if byte in _LETTERS or byte > 127
    else ord(" ") if byte in _SPACES else ord(".")
    for byte in range(256)
)  # fmt: skip
"""Each byte's kind: a digit, an upper letter, a lower one, space, any other mark."""
_LEADS_2 = bytes(range(0xC2, 0xE0))
_LEADS_3 = bytes(range(0xE0, 0xF0))
_LEADS_4 = bytes(range(0xF0, 0xF5))


_SHORT = 600
"""Characters: a sentence, a passage. The same ones are weighed where a page is cut, shown, archived and recalled."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text; linear-time, 4 ms for 100 kB. Bytes over four would halve a table of numbers and the window would overflow."""
    return _known(text) if len(text) <= _SHORT else _weighed(text)


def _weighed(text: str) -> int:
    word, letter, digit, mark, narrow, wide, line = WEIGHTS
    words, letters, digits, marks, narrows, wides, lines = _counts(text)
    return math.ceil(word * words + letter * letters + digit * digits + mark * marks + narrow * narrows + wide * wides + line * lines)


_known = lru_cache(maxsize=8192)(_weighed)


def token_parts(text: str) -> tuple[int, ...]:
    """What tokens are made of: the counts that are weighed here, then how often letters begin within a word, and how often digits do.

    Names in code, links and hashes are words of many pieces; prose has next to none of those.
    """
    kinds = text.encode("utf-8", "surrogatepass").translate(_KINDS)
    begun = sum(kinds.count(pair) for pair in (b"0a", b"0A", b".a", b".A", b"aA"))
    return (*_counts(text), begun, sum(kinds.count(pair) for pair in (b" 0", b".0", b"a0", b"A0")))


def _counts(text: str) -> tuple[int, ...]:
    """Words, letters, digits, marks, narrow letters beyond ASCII, wide ones (those over U+FFFF twice), line ends."""
    data = text.encode("utf-8", "surrogatepass")
    letters, digits, spaces = _count(data, _LETTERS), _count(data, _DIGITS), _count(data, _SPACES)
    narrow = wide = four = 0
    if not text.isascii():
        narrow, wide, four = _count(data, _LEADS_2), _count(data, _LEADS_3), _count(data, _LEADS_4)
    marks = len(data) - letters - digits - spaces - 2 * narrow - 3 * wide - 4 * four
    return (len(text.split()), letters, digits, marks, narrow, wide + 2 * four, data.count(b"\n"))


def _count(data: bytes, of: bytes) -> int:
    return len(data) - len(data.translate(None, of))
