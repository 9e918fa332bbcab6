"""What serves a query: found by words and by meaning, side by side; then what the best of it leads to; ranked and packed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import clip, recall
from .allowed import Filter
from .chunks import Chunk
from .indexer import Indexer
from .ledger import COMMON, Ledger
from .packing import pack
from .recall import Query, Ranked, Ranking, Weights
from .segment import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CANDIDATES = 60
_SOUGHT = 12
"""Words of a query that the index is asked for, those that tell most: each costs it time, and more of them find no more."""


class _Worded(NamedTuple):
    """What was found by words."""

    query: Query
    chunks: list[int]
    thoughts: list[int]


class _Near:
    """What was found by meaning: how near the chunks are, by id."""

    def __init__(self, indexer: Indexer | None, vector: NDArray[np.float32] | None, cosines: Mapping[int, float]) -> None:
        self._indexer, self._vector = indexer, vector
        self._floor = min(cosines.values(), default=0.0)
        self._known = dict(cosines)
        self.chunks = list(cosines)

    def of(self, chunks: Sequence[Chunk]) -> dict[int, float]:
        """Nearness of these, where they are indexed."""
        if self._indexer and self._vector is not None:
            self._known.update(self._indexer.cosines(self._vector, [chunk for chunk in chunks if chunk.id not in self._known]))
        return {chunk.id: recall.nearness(self._known[chunk.id], self._floor) for chunk in chunks if chunk.id in self._known}


class Finding:
    """One query's way through the indexes."""

    def __init__(self, ledger: Ledger, indexer: Indexer | None, weights: Weights) -> None:
        self._ledger, self._indexer, self._weights = ledger, indexer, weights

    async def passages(self, query: str, allowed: Filter, budget_tokens: int) -> list[Passage]:
        """In the order of the run, within a budget."""
        if not recall.expressions(query):
            return []
        if self._indexer is None:
            return await asyncio.to_thread(
                lambda: self._passages(self._worded(query, allowed), self._near(query, allowed), allowed, budget_tokens)
            )
        words, near = await asyncio.gather(asyncio.to_thread(self._worded, query, allowed), asyncio.to_thread(self._near, query, allowed))
        return await asyncio.to_thread(self._passages, words, near, allowed, budget_tokens)

    def _worded(self, query: str, allowed: Filter) -> _Worded:
        asked = recall.expressions(query)
        frequency = {word: self._ledger.frequency(expression) for word, expression in asked.items()}
        telling = [word for word in asked if frequency[word] < COMMON]
        sought = sorted(telling if len(telling) > 1 else asked, key=lambda word: frequency[word])[:_SOUGHT]
        found, thoughts = self._ledger.search(" OR ".join(asked[word] for word in sought), allowed, _CANDIDATES)
        return _Worded(recall.read(query, frequency, self._ledger.size()), found, thoughts)

    def _near(self, query: str, allowed: Filter) -> _Near:
        indexer = self._indexer
        vector = indexer.vector(query) if indexer else None
        return _Near(indexer, vector, indexer.nearest(vector, allowed, _CANDIDATES) if indexer and vector is not None else {})

    def _passages(self, words: _Worded, near: _Near, allowed: Filter, budget_tokens: int) -> list[Passage]:
        ranked = self._ranked(words, near, allowed)
        chosen = pack(ranked, budget_tokens)
        if not chosen and ranked:  # not even one fits: as much of the best as does
            return self._opening(ranked[0], budget_tokens)
        return self._shown(chosen)

    def _ranked(self, words: _Worded, near: _Near, allowed: Filter) -> list[Ranked]:
        ledger, ranking = self._ledger, Ranking(words.query, self._weights)

        def add(ids: Iterable[int]) -> list[Chunk]:
            chunks = ledger.chunks(list(dict.fromkeys(ids)))
            ranking.add(chunks, near.of(chunks))
            return chunks

        add([*words.chunks, *near.chunks])
        self._follow(ranking, words.thoughts, allowed, add)
        titles, shared = ranking.leads()
        rare = ledger.named(shared, most=recall.RARE)
        held = ledger.let_through([*ranking.parts(), *(id for ids in rare.values() for id in ids)], allowed)
        add([*ledger.titled(titles, allowed), *held])
        return ranking.ranked(rare)

    def _follow(self, ranking: Ranking, thoughts: Sequence[int], allowed: Filter, add: Callable[[Iterable[int]], list[Chunk]]) -> None:
        """From the thoughts that asked the same, to what was read for them, and for the thoughts that came next."""
        ledger = self._ledger
        own = Filter(allowed.run, ("reasoning", "call"), exclude=allowed.exclude)
        asked = ledger.chunks(ledger.let_through(thoughts[: 2 * recall.THOUGHTS], own))
        followed: dict[int, tuple[float, list[int], int]] = {}
        for seq, good in ranking.thoughts(asked):
            for share in recall.FOLLOWED:
                if seq and followed.get(seq, (0.0,))[0] < good * share:
                    read, then = followed[seq][1:] if seq in followed else ledger.turn_after(allowed.run, seq)
                    followed[seq] = good * share, read, then
                    seq = then
        every = {place for _, read, _ in followed.values() for place in read}
        said, seen = ledger.chunks(ledger.chunks_of(followed, own)), add(ledger.chunks_of(every, allowed))
        for seq, (good, read, _) in followed.items():
            thought = [chunk for chunk in said if chunk.segment == seq]
            ranking.follow(good, thought, [chunk for chunk in seen if chunk.segment in read])

    def _shown(self, chosen: Sequence[Ranked]) -> list[Passage]:
        """One for each segment, its chunks in their order; the segments in the order of the run."""
        together: dict[int, list[Ranked]] = defaultdict(list)
        for item in chosen:
            together[item.chunk.segment].append(item)
        segments = self._ledger.at(list(together))
        passages = []
        for seq in sorted(together, key=lambda seq: (segments[seq].step, seq)):
            spans = self._ledger.spans(seq)
            shown = [spans[n] for n in sorted(item.chunk.n for item in together[seq])]
            passages.append(Passage(segments[seq], clip.join(segments[seq].text, shown), max(item.score for item in together[seq])))
        return passages

    def _opening(self, item: Ranked, budget_tokens: int) -> list[Passage]:
        text = clip.head(item.chunk.text, budget_tokens)
        return [Passage(self._ledger.at([item.chunk.segment])[item.chunk.segment], text, item.score)] if text else []
