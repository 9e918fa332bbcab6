"""Keeps the dense index up with the ledger, on a thread of its own: embedding never stands between the model and its next step.

What is left to do stands in the ledger, not in a queue: a killed process leaves it there, and the next one goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .embedders import Embedder, query_vector
from .errors import ArchiveError, EmbeddingFailed
from .ledger import Chunk, Filter, Ledger
from .vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 8  # chunks embedded at once: few, for a recall waits for the batch in work
_NARROW = 2000  # chunks a filter may leave for their vectors to be compared one by one
_OPEN_TIMEOUT_S = 30.0


class Indexer:
    """One run's vectors, and the thread that writes them."""

    failure: str = ""
    """Why recall goes by words only, if it does."""

    def __init__(self, ledger: Ledger, where: Path | str, *, run: str, embedder: Embedder) -> None:
        self._ledger = ledger
        self._where = where
        self._run = run
        self._embedder = embedder
        self._vectors: Vectors | None = None
        self._opened = threading.Event()
        self._change = threading.Condition()
        self._wanted = 1
        self._done = 0
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=f"index {run}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is more to index."""
        with self._change:
            self._wanted += 1
            self._change.notify_all()

    def flush(self) -> None:
        """Returns when what is archived by now is indexed, or cannot be."""
        with self._change:
            goal = self._wanted
            self._change.wait_for(lambda: self._done >= goal)

    def vector(self, query: str) -> NDArray[np.float32] | None:
        """A query's vector; None when there is no index to look it up in."""
        if not self._opened.wait(_OPEN_TIMEOUT_S) or self._vectors is None:
            return None
        try:
            return query_vector(self._embedder, query)
        except ArchiveError as error:
            self.failure = str(error)
            return None

    def nearest(self, vector: NDArray[np.float32], allowed: Filter, limit: int) -> dict[int, float]:
        """Chunks nearest to a query, with the cosine of their nearest window, best first: of what is indexed by now."""
        keys = self._ledger.indexed_keys(allowed, _NARROW) if allowed.narrow else []
        if allowed.narrow and len(keys) < _NARROW:
            near = self._ask(lambda vectors: vectors.among(keys, vector))
        else:
            near = self._ask(lambda vectors: vectors.query(vector, (8 if allowed.narrow else 2) * limit))
        return dict(list(self._ledger.by_key(_by_chunk(near), allowed).items())[:limit])

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[Chunk]) -> dict[int, float]:
        """Those of these chunks, where they are indexed."""
        ids = {chunk.key: chunk.id for chunk in chunks}
        keys = [key for chunk in chunks for key in chunk.windows()]
        near = self._ask(lambda vectors: vectors.among(keys, vector))
        return {ids[key]: cosine for key, cosine in _by_chunk(near)}

    def _ask(self, question: Callable[[Vectors], list[tuple[str, float]]]) -> list[tuple[str, float]]:
        """What the index answers; nothing, and the reason kept, when it cannot."""
        if self._vectors is None:
            return []
        try:
            return question(self._vectors)
        except ArchiveError as error:
            self.failure = str(error)
            return []

    def drop(self) -> None:
        """Removes the run's vectors, and stops."""
        self.close(drop=True)

    def close(self, *, drop: bool = False) -> None:
        """Stops after the batch in work; what is left is done when the archive is opened again."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        if self._vectors is not None:
            if drop:
                self._vectors.drop()
            self._vectors.close()
            self._vectors = None

    def _serve(self) -> None:
        try:
            self._open()
            while goal := self._next():
                self._catch_up()
                self._finish(goal)
        except ArchiveError as error:
            self.failure = str(error)
        finally:
            self._opened.set()
            self._finish(None)

    def _open(self) -> None:
        vectors = Vectors.open(self._where, run=self._run, identity=self._embedder.identity, dimensions=self._embedder.dimensions)
        if vectors.count() != self._ledger.indexed_count(self._run)[1]:
            vectors.delete(self._ledger.reconcile(self._run, vectors.keys()))
        self._vectors = vectors
        self._opened.set()

    def _next(self) -> int:
        """Waits for work, and says up to which wish it goes; 0 when it is time to stop."""
        with self._change:
            self._change.wait_for(lambda: self._wanted > self._done or self._closing)
            return 0 if self._closing else self._wanted

    def _catch_up(self) -> None:
        assert self._vectors is not None  # noqa: S101 - `_open` came first
        while not self._closing and (batch := self._ledger.pending(self._run, _BATCH)):
            try:
                texts = {key: text for chunk in batch for key, text in chunk.windows().items()}
                vectors = self._embedder.embed(list(texts.values()))
            except EmbeddingFailed as error:  # a host that is down now may be up when there is more to index
                self.failure = str(error)
                return
            self._vectors.upsert(list(texts), vectors)
            self._ledger.mark_indexed({chunk.id: len(chunk.windows()) for chunk in batch})
            self.failure = ""

    def _finish(self, goal: int | None) -> None:
        with self._change:
            self._done = self._wanted + (1 << 60) if goal is None else goal
            self._change.notify_all()


def _by_chunk(near: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """From windows, best first, to the chunks they are of: a chunk is as near as its nearest window."""
    best: dict[str, float] = {}
    for key, cosine in near:
        best.setdefault(key.rpartition(":")[0], cosine)
    return list(best.items())
