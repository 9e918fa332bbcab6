"""One document cut down to the passages that serve a query, in the document's order. Pure and deterministic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .chunks import Span, chunks, sentences
from .tokens import estimate_tokens
from .words import bag, stem, terms
from .wrapping import unwrapped

GAP = "\n[...]\n"
_UNIT_TOKENS = 80  # a few sentences: enough to be understood alone, small enough to leave its neighbours out
_LEAD = 0.6  # a document's opening says what it is about; it counts as much as this share of the best passage
_BESIDE = 0.25  # what stands beside a good passage explains it


@dataclass(frozen=True, slots=True)
class Clip:
    text: str
    """Passages in the document's order, `[...]` between those that were apart."""
    spans: tuple[Span, ...]
    """Where they stand in the document."""
    left_out_tokens: int


def best_passages(text: str, query: str, budget_tokens: int) -> Clip:
    """The passages of a document that serve a query, within a budget. A document that fits comes back whole."""
    total = estimate_tokens(text)
    if total <= budget_tokens:
        return Clip(text, ((0, len(text)),), 0)
    units = chunks(unwrapped(text), size_tokens=min(_UNIT_TOKENS, max(budget_tokens // 3, 8)))
    costs = [estimate_tokens(text[start:end]) for start, end in units]
    scores = _scores([text[start:end] for start, end in units], query)
    taken: set[int] = set()
    left = budget_tokens
    for index in sorted(range(len(units)), key=lambda index: (-scores[index], index)):
        gap = 0 if {index - 1, index + 1} & taken else 4
        if costs[index] + gap <= left:
            taken.add(index)
            left -= costs[index] + gap
    shown = join(text, (units[index] for index in sorted(taken)))
    return Clip(shown, tuple(units[index] for index in sorted(taken)), max(total - estimate_tokens(shown), 0))


def join(text: str, spans: Iterable[Span]) -> str:
    """The spans' text, in order, with a mark where something between them is left out."""
    parts: list[str] = []
    last = -1
    for start, end in spans:
        if parts and start == last:
            parts[-1] += text[start:end]
        else:
            parts.append(text[start:end])
        last = end
    return GAP.join(part.strip() for part in parts if part.strip())


def head(text: str, budget_tokens: int) -> str:
    """The opening sentences of a text that fit a budget; its opening words if not even one sentence does."""
    end = left = 0
    left = budget_tokens
    for first, last in sentences(unwrapped(text), max_tokens=max(budget_tokens // 4, 1)):
        cost = estimate_tokens(text[first:last])
        if cost > left:
            break
        end, left = last, left - cost
    return text[:end].strip()


def _scores(units: Sequence[str], query: str) -> list[float]:
    """How much each unit serves: BM25 within the document, its opening, and what stands beside."""
    wanted = dict.fromkeys(map(stem, terms(query)))
    bags = [bag(unit).counts for unit in units]
    counts = [{word: held[word] for word in wanted if word in held} for held in bags]
    held = Counter(word for count in counts for word in count)
    weight = {word: math.log(1 + (len(units) - n + 0.5) / (n + 0.5)) for word, n in held.items()}
    own = [sum(weight[word] * 2.2 * n / (n + 1.2) for word, n in count.items()) for count in counts]
    best = max(own, default=0.0) or 1.0
    lead = [_LEAD * best / (1 + 2 * index) for index in range(len(units))]
    padded = [0.0, *own, 0.0]
    return [own[i] + _BESIDE * max(padded[i], padded[i + 2]) + lead[i] for i in range(len(units))]
