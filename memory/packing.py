"""Filling a token budget with the best of what was ranked, and saying nothing twice. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .recall import Ranked
from .tokens import estimate_tokens
from .words import raw_words

_SAME = 0.8  # share of a chunk's five-word runs that are already shown: the same page read twice, a mirror, a quotation
_RUN = 5
_MARK_TOKENS = 4  # between passages
_WEAK = 0.4  # a passage with less has a common word in common with the query, and is not worth its tokens
_WEAKER = 0.25  # of the best one's score, where all are weak; never more: found by every sign, one would keep all others out


def pack(ranked: Sequence[Ranked], budget_tokens: int) -> list[Ranked]:
    """The best that fit, without what is already said by one before it."""
    chosen: list[Ranked] = []
    said: set[int] = set()
    left = budget_tokens
    # a thought that asks the same is nearer to the query than any answer: it sets no bar for what was read
    best = next((item.score for item in ranked if not item.chunk.asks), ranked[0].score if ranked else 0.0)
    least = min(_WEAK, _WEAKER * best)
    for item in ranked:
        if left <= _MARK_TOKENS or item.score < least:
            break
        cost = estimate_tokens(item.chunk.text) + _MARK_TOKENS
        if cost > left:
            continue
        runs = _runs(item.chunk.text)
        if len(runs & said) >= _SAME * len(runs):
            continue
        chosen.append(item)
        said |= runs
        left -= cost
    return chosen


def _runs(text: str) -> set[int]:
    every = raw_words(text)
    return {hash(tuple(every[i : i + _RUN])) for i in range(max(len(every) - _RUN + 1, 1))}
