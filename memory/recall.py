"""Which of what was found to show: ranking, near-duplicates, and packing into a token budget. Pure; no database, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Chunk
from .tokens import estimate_tokens
from .words import STOP, raw_words, terms

_SAME = 0.8  # share of a chunk's five-word runs that are already shown: the same page read twice, a mirror, a quotation
_RUN = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that may be shown, and what the channels say of it: 0 where a channel does not know it."""

    chunk: Chunk
    words: float = 0.0
    """BM25."""
    dense: float = 0.0
    """Cosine."""


@dataclass(frozen=True, slots=True)
class Ranked:
    chunk: Chunk
    score: float


def match(query: str, *, most: int = 24) -> str:
    """An FTS5 expression for any of a query's words. Quoted, so that nothing in a query is syntax."""
    return " OR ".join(f'"{term}"' for term in _parts(query)[:most])


def _parts(query: str) -> list[str]:
    return [part for term in terms(query) for part in term.replace("’", "'").split("'") if part and (part not in STOP or part == term)]


def rank(candidates: Sequence[Candidate]) -> list[Ranked]:
    """Best first; equal ones in the order of the ledger."""
    best = max((candidate.words for candidate in candidates), default=0.0) or 1.0
    ranked = [Ranked(candidate.chunk, candidate.words / best + candidate.dense) for candidate in candidates]
    return sorted(ranked, key=lambda item: (-item.score, item.chunk.id))


def pack(ranked: Sequence[Ranked], budget_tokens: int) -> list[Ranked]:
    """The best that fit, without what is already said by one before it."""
    chosen: list[Ranked] = []
    said: set[int] = set()
    left = budget_tokens
    for item in ranked:
        cost = estimate_tokens(item.chunk.text) + 4  # 4: the mark between passages
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
