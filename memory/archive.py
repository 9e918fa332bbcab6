"""The face of the memory: archive what was thought and read, recall what the next thought needs, forget a run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import clip
from .embedders import Embedder
from .ledger import Filter, Ledger
from .recall import Candidate, Ranked, match, pack, rank
from .segment import Kind, Passage, Segment, parse_handle

_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Stats:
    segments: int
    chunks: int


class Archive:
    """The memory of one run, in one folder. `Archive.open` makes or opens it."""

    def __init__(self, ledger: Ledger, *, run: str) -> None:
        self._ledger = ledger
        self.run = run

    @classmethod
    def open(cls, folder: Path, *, run: str, embedder: Embedder | None = None) -> Archive:
        """Raises ArchiveError. Without an embedder it ranks by words."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(Ledger(folder / "ledger.sqlite"), run=run)

    async def archive(self, segments: Sequence[Segment]) -> None:
        """They are on disk when this returns. One that was archived before stays as it was."""
        await asyncio.to_thread(self._ledger.add, segments)

    async def recall(
        self,
        query: str,
        *,
        budget_tokens: int,
        kinds: Sequence[Kind] = (),
        source: str = "",
        since_step: int = 0,
        exclude: frozenset[str] = frozenset(),
    ) -> list[Passage]:
        """What serves a query, in the order of the run, within a budget. Sorted by `score` it is best first.

        `source` is a handle, an id, or a part of a URL or title; `exclude` names the segments that are shown already.
        """
        named = self.get(source) if source else None
        allowed = Filter(self.run, kinds, named.id if named else source, since_step, exclude)
        return await asyncio.to_thread(self._recall, query, allowed, budget_tokens)

    def _recall(self, query: str, allowed: Filter, budget_tokens: int) -> list[Passage]:
        expression = match(query)
        if not expression:
            return []
        hits = dict(self._ledger.search(expression, allowed, _CANDIDATES))
        candidates = [Candidate(chunk, words=hits[chunk.id]) for chunk in self._ledger.chunks(list(hits))]
        ranked = rank(candidates)
        chosen = pack(ranked, budget_tokens)
        if not chosen and ranked:  # not even one fits: as much of the best as does
            return self._opening(ranked[0], budget_tokens)
        return self._passages(chosen)

    def _passages(self, chosen: Sequence[Ranked]) -> list[Passage]:
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

    def get(self, id_or_handle: str) -> Segment | None:
        """A segment of this run by its id, or the observation of a handle."""
        if place := parse_handle(id_or_handle):
            return self._ledger.by_handle(self.run, *place)
        found = self._ledger.get(id_or_handle)
        return found if found and found.run == self.run else None

    def find(self, *, kind: Kind, url: str = "", args_hash: str = "") -> list[Segment]:
        """Segments of a kind, in the order of the run."""
        return self._ledger.find(self.run, kind, url=url, args_hash=args_hash)

    def segments(self) -> Iterator[Segment]:
        """All of the run, in its order."""
        return self._ledger.segments(self.run)

    def put_body(self, text: str) -> str:
        """Keeps a text under its content hash, and returns that."""
        return self._ledger.put_body(text)

    def get_body(self, ref: str) -> str:
        """Raises NotArchived."""
        return self._ledger.get_body(ref)

    def stats(self) -> Stats:
        return Stats(*self._ledger.count(self.run))

    async def forget(self) -> int:
        """Removes everything of this run. Returns how many segments went."""
        return await asyncio.to_thread(self._ledger.forget, self.run)

    async def flush(self) -> None:
        """Returns when everything archived so far is in the index too."""

    async def close(self) -> None:
        await self.flush()
        self._ledger.close()
