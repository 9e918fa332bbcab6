"""The face of the memory: archive what was thought and read, recall what the next thought needs, forget a run."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from . import transfer
from .allowed import Filter
from .database import storable
from .embedders import Embedder
from .errors import ArchiveError, ArchiveInUse, EmbedderChanged, ReadOnly
from .finding import Finding
from .forgetting import notes_on, without
from .indexer import Indexer
from .ledger import Ledger
from .places import Places
from .recall import Weights
from .remedy import either
from .segment import Kind, Passage, Segment, parse_handle
from .segment import check as check_segment
from .vectors import check

Changed = Literal["rebuild", "refuse"]
"""What becomes of the vectors of another embedder than the one that is there now."""
_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Stats:
    segments: int
    chunks: int
    indexed: int
    """Chunks whose vectors are in the index."""
    failure: str
    """Why recall goes by words although there is an embedder."""
    mended: str = ""
    """What of the vectors was damaged when they were opened, and is made anew."""


class Archive:
    """The memory of one run, in one folder. `Archive.open` makes or opens it."""

    def __init__(
        self, folder: Path, ledger: Ledger, lock: FileLock | None, *, run: str, index: Callable[[], Indexer] | None, weights: Weights
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self._lock = lock
        self._index = index
        self._indexer = index() if index else None
        self._weights = weights
        self._places = Places(ledger, run)
        self.run = run

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        run: str,
        embedder: Embedder | None = None,
        vectors: str = "",
        weights: Weights = _WEIGHTS,
        changed: Changed = "rebuild",
        read_only: bool = False,
        accept_loss: bool = False,
        patient: bool = False,
        on_failure: Callable[[str], None] | None = None,
    ) -> Archive:
        """One process at a time. Without an embedder it ranks by words; `vectors` is a Chroma server's URL, if they are not in the folder.

        Raises ArchiveInUse, IndexFailed if that server does not answer (`patient`: it is asked again as more is
        archived), ArchiveError for a ledger that cannot be read. What the index lacks
        is made up for in the background. Vectors of another embedder are made anew so too, or, where `changed` is `refuse`, raise
        EmbedderChanged. With `read_only`, beside a writer or where nothing can be written, nothing is; vectors that cannot be used are left
        alone. `accept_loss`: of a damaged ledger what can be read is kept, and `mended` says what was lost. `on_failure` is
        told, once and on another thread, why recall goes by words although there is an embedder.
        """
        folder = Path(folder)
        if read_only:
            reader, lock_path = Ledger(folder / "ledger.sqlite", read_only=True), folder / ".memory.lock"
            still = partial(Indexer, reader, vectors or folder / "vectors", run=run, keep=True, lock=lock_path, on_failure=on_failure)
            return cls(folder, reader, None, run=run, index=partial(still, embedder=embedder) if embedder else None, weights=weights)
        if vectors and embedder and not patient:
            check(vectors)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".memory.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ArchiveInUse(f"the memory in {folder} is open already, here or in another process") from error
        try:
            ledger = Ledger(folder / "ledger.sqlite", accept_loss=accept_loss)
        except ArchiveError:
            lock.release()
            raise
        index = partial(Indexer, ledger, vectors or folder / "vectors", run=run, keep=changed == "refuse", on_failure=on_failure)
        archive = cls(folder, ledger, lock, run=run, index=partial(index, embedder=embedder) if embedder else None, weights=weights)
        try:
            if archive._indexer and changed == "refuse":
                archive._indexer.opened()
        except EmbedderChanged as error:
            archive._close()
            told = f"{error}: {either(folder, had=error.had, has=error.has)}"
            raise EmbedderChanged(told, had=error.had, has=error.has) from error
        return archive

    async def archive(self, segments: Sequence[Segment], *, bodies: Sequence[str] = ()) -> None:
        """Segments, and texts to keep as `put_body` does, in one write: all of it is on disk when this returns, or nothing is.

        One that was archived before stays as it was. Raises ValueError for a segment of another run, or that could not be shown again.
        """
        for segment in segments:
            check_segment(segment, self.run)
        if not (segments or bodies):
            return
        await asyncio.to_thread(self._ledger.add, segments, bodies)
        if segments:
            self._wake()

    def _wake(self) -> None:
        """There is more to index; after `forget` nothing was left of the index."""
        if self._indexer is None and self._index is not None:
            self._indexer = self._index()
        elif self._indexer is not None:
            self._indexer.wake()

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

        `source` is a handle, an id, or a part of a URL or title; `exclude` names the segments that are shown already, by
        handle or id.
        """
        hidden = frozenset(self._id(name) for name in exclude)
        allowed = Filter(self.run, kinds, self._id(source), since_step, hidden)
        return await Finding(self._ledger, self._indexer, self._weights).passages(storable(query), allowed, budget_tokens)

    def _id(self, name: str) -> str:
        """Of the segment that a handle names; anything else as it is."""
        named = self.get(name) if parse_handle(name) else None
        return named.id if named else name

    def get(self, id_or_handle: str) -> Segment | None:
        """A segment of this run by its id, or the observation of a handle."""
        if place := parse_handle(id_or_handle):
            return self._ledger.by_handle(self.run, *place)
        found = self._ledger.get(id_or_handle)
        return found if found and found.run == self.run else None

    def free_place(self, step: int, thread: str, text: str) -> tuple[int, int]:
        """Step and ordinal of an observation: where this text of this thread is archived already, else a place that is nobody's.

        It is kept for whoever asked: others may be about to archive theirs. Where many conversations have filled a step, it is a later one.
        """
        return self._places.free(step, thread, text)

    def find(self, *, kind: Kind, url: str = "", args_hash: str = "", newest: int = 0) -> list[Segment]:
        """Segments of a kind, in the order of the run; only so many of the newest, if a number is given."""
        return self._ledger.find(self.run, kind, url=url, args_hash=args_hash, newest=newest)

    def last_step(self, kinds: Sequence[Kind] = ()) -> int:
        """The last that anything is archived of, or anything of these kinds; 0 if nothing is."""
        return self._ledger.last_step(self.run, kinds)

    def segments(self) -> Iterator[Segment]:
        """All of the run, in its order."""
        return self._ledger.segments(self.run)

    def opened(self) -> str:
        """Waits until the vectors can be searched; why they cannot, or an empty string."""
        if self._indexer is None:
            return ""
        with contextlib.suppress(EmbedderChanged):
            self._indexer.opened()
        return self._indexer.failure

    @property
    def idle(self) -> bool:
        """Whether there is nothing to index that could be indexed now: `close` takes no time."""
        return self._indexer is None or self._indexer.idle

    def put_body(self, text: str) -> str:
        """Keeps a text under its content hash, and returns that."""
        return self._ledger.put_body(text)

    def get_body(self, ref: str) -> str:
        """Raises NotArchived."""
        return self._ledger.get_body(ref)

    @property
    def damaged(self) -> bool:
        """Whether there are no vectors that could be searched, and `rebuild` would make them."""
        return self._indexer is not None and self._indexer.damaged

    @property
    def mended(self) -> str:
        """What was made anew because it was damaged; empty if nothing was."""
        return self._ledger.mended

    def stats(self) -> Stats:
        indexed, _ = self._ledger.indexed_count(self.run)
        indexer = self._indexer
        return Stats(*self._ledger.count(self.run), indexed, indexer.failure if indexer else "", indexer.mended if indexer else "")

    async def forget(self, *, thread: str = "", source: str = "") -> int:
        """Removes everything of this run; or of one thread of it; or a source, with what was noted from it: a handle, an id or
        a whole URL, for a part of one may be a part of others.

        Returns how many segments went. Their bytes are in no file of the archive after: the vectors are made anew from what is left.
        What the agent itself thought and said about a source stays.
        """
        if not thread and not source:
            return await asyncio.to_thread(self._forget)
        count = await asyncio.to_thread(self._forget_some, thread, source)
        await self.flush()
        return count

    def _forget_some(self, thread: str, source: str) -> int:
        gone = {segment.id: segment for segment in self.segments() if self._goes(segment, thread, source)}
        read = [segment for segment in gone.values() if segment.kind == "observation"]
        names = {name for segment in read for name in (segment.handle, segment.id, segment.url) if name}
        for segment in self.segments():
            if segment.source in gone or (segment.kind == "call" and notes_on(segment.text, names)):
                gone[segment.id] = segment
        if not gone:
            return 0
        count = self._ledger.forget_some(gone.keys(), partial(without, handles=[segment.handle for segment in read]))
        self._drop_index()
        self._indexer = self._index() if self._index else None
        return count

    @staticmethod
    def _goes(segment: Segment, thread: str, source: str) -> bool:
        if thread and segment.thread != thread:
            return False
        return not source or (segment.kind == "observation" and source.strip("[]") in (segment.handle, segment.id, segment.url))

    def export(self, path: Path, *, about: Mapping[str, str] | None = None) -> int:
        """Writes the segments of this run to a file (see `transfer`); `about` goes into its head. Returns how many."""
        return transfer.write(path, self.run, self.segments(), about or {})

    async def import_(self, path: Path, *, redact: Callable[[str], str] = str) -> int:
        """Takes the segments of an export for this run's own, all or none; how many were new. Raises Damaged, and ArchiveError
        where this archive holds others already: recall from two memories is what several archives are for."""
        return await asyncio.to_thread(self._import, path, redact)

    def _import(self, path: Path, redact: Callable[[str], str]) -> int:
        transfer.check(path)
        ours = {segment.id for segment in self.segments()}
        known = sum(segment.id in ours for segment in transfer.read(path, self.run, redact))
        if known != len(ours):
            raise ArchiveError(f"the memory in {self._folder} holds other segments: import into a new folder, and name it in memory.also")
        count = self._ledger.add_all(transfer.read(path, self.run, redact))
        self._wake()
        return count

    def _forget(self) -> int:
        count = self._ledger.forget(self.run)
        self._drop_index()
        return count

    async def rebuild(self) -> None:
        """Makes both indexes anew from the archived texts; returns when they are complete, or cannot be."""
        await asyncio.to_thread(self._rebuild)
        await self.flush()

    def _rebuild(self) -> None:
        if self._lock is None:
            raise ReadOnly(f"the memory in {self._folder} was opened for reading only")
        self._ledger.size()  # of a closed one, the index may be somebody else's by now
        self._drop_index()
        self._ledger.rebuild(self.run)
        self._indexer = self._index() if self._index else None

    def _drop_index(self) -> None:
        if self._indexer:
            self._indexer.drop()
            self._indexer = None
        shutil.rmtree(self._folder / "vectors", ignore_errors=True)  # of a time before its embedder was gone, or its server named

    async def flush(self) -> None:
        """Returns when everything archived so far is in the index too, or cannot be (`stats().failure`)."""
        if self._indexer:
            await asyncio.to_thread(self._indexer.flush)

    async def close(self, *, flush: bool = True) -> None:
        """Without `flush`, what is not indexed yet is indexed when the archive is opened again."""
        if flush:
            await self.flush()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._indexer:
            self._indexer.close()
        self._ledger.close()
        if self._lock:
            self._lock.release()
