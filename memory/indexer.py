"""Keeps the dense index up with the ledger, on a thread of its own: embedding never stands between the model and its next step.

What is left to do stands in the ledger, not in a queue: a killed process leaves it there, and the next one goes on.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .allowed import Filter
from .asking import PATIENCE_S, Asking, Late
from .chunks import Chunk
from .embedders import Embedder
from .errors import ArchiveError, EmbedderChanged, EmbeddingFailed, IndexDamaged, IndexFailed
from .ledger import Ledger
from .reading import borrowed
from .vectors import Vectors, forget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 8  # chunks embedded at once: few, for a recall waits for the batch in work
_WRITTEN = 64  # chunks put into the index at once, where so many wait: 64 cost it as much as 20 that come one by one
_NARROW = 2000  # chunks a filter may leave for their vectors to be compared one by one
_OPEN_TIMEOUT_S = 30.0


class Indexer:
    """One run's vectors, and the thread that writes them."""

    failure: str = ""
    """Why recall goes by words only, if it does."""

    damaged: bool = False
    """Whether the failure is that they are to be made anew. Who writes does so at once."""

    mended: str = ""
    """What of it was damaged and is made anew."""

    changed: EmbedderChanged | None = None
    """Why there are no vectors, if they are another embedder's and were to be kept."""

    def __init__(
        self,
        ledger: Ledger,
        where: Path | str,
        *,
        run: str,
        embedder: Embedder,
        keep: bool = False,
        lock: Path | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        """`keep`: vectors of another embedder stay, and are not used. `lock`: the file that a writer holds; the index is only read.

        `on_failure` is told the first failure, on the thread that meets it.
        """
        self._ledger = ledger
        self._where = where
        self._keep = keep
        self._writer = lock
        self._copy: TemporaryDirectory[str] | None = None
        self._on_failure = on_failure
        self._run = run
        self._embedder = embedder
        self._query = Asking(embedder)
        self._late: Late | None = None
        self._vectors: Vectors | None = None
        self._asking = threading.Lock()
        self._known = threading.Event()  # the embedder has said of how many dimensions its vectors are, or that it fails
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

    @property
    def idle(self) -> bool:
        with self._change:
            return self._done >= self._wanted

    def flush(self) -> None:
        """Returns when what is archived by now is indexed, or cannot be."""
        with self._change:
            goal = self._wanted
            self._change.wait_for(lambda: self._done >= goal)

    def vector(self, query: str) -> NDArray[np.float32] | None:
        """A query's vector; None when there is no index to look it up in."""
        try:
            if not self._known.wait(0.0 if self._late else PATIENCE_S):
                raise Late(self._embedder)
            if not self._opened.wait(_OPEN_TIMEOUT_S) or self._vectors is None:
                return None
            vector = self._query.vector(query)
        except ArchiveError as error:
            self._late = error if isinstance(error, Late) else None
            self._failed(error)
            return None
        if vector is not None and self._late:
            self.failure, self._late = "" if self.failure == str(self._late) else self.failure, None
        return vector

    def _failed(self, error: Exception) -> None:
        self.failure = str(error)
        if self._on_failure:
            tell, self._on_failure = self._on_failure, None
            tell(self.failure)

    def nearest(self, vector: NDArray[np.float32], allowed: Filter, limit: int) -> dict[int, float]:
        """Chunks nearest to a query, with the cosine of their nearest window, best first: of what is indexed by now."""
        near = self._ask(lambda vectors: vectors.query(vector, (8 if allowed.narrow else 2) * limit))
        found = self._ledger.by_key(_by_chunk(near), allowed)
        if len(found) < limit and allowed.narrow:  # few of the nearest are let through: those that are, one by one, if they are few
            keys = self._ledger.indexed_keys(allowed, _NARROW)
            if len(keys) < _NARROW:
                near = self._ask(lambda vectors: vectors.among(keys, vector))
                found = self._ledger.by_key(_by_chunk(near), allowed)
        return dict(list(found.items())[:limit])

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[Chunk]) -> dict[int, float]:
        """Those of these chunks, where they are indexed."""
        ids = {chunk.key: chunk.id for chunk in chunks}
        keys = [f"{chunk.key}:{w}" for chunk in chunks for w in range(chunk.vectors)]
        near = self._ask(lambda vectors: vectors.among(keys, vector))
        return {ids[key]: cosine for key, cosine in _by_chunk(near)}

    def _ask(self, question: Callable[[Vectors], list[tuple[str, float]]]) -> list[tuple[str, float]]:
        """What the index answers; nothing, and the reason kept, when it cannot."""
        with self._asking:
            if self._vectors is None:
                return []
            try:
                return question(self._vectors)
            except ArchiveError as error:
                self._failed(error)
                return []

    def drop(self) -> None:
        """Stops, and removes the run's vectors, also those that could not be opened. Raises IndexFailed if their server is not reached."""
        self.close()
        if isinstance(self._where, str):
            forget(self._where, self._run)
        else:
            shutil.rmtree(self._where, ignore_errors=True)

    def close(self) -> None:
        """Stops after the batch in work; what is left is done when the archive is opened again."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join()
        if self._vectors is not None:
            self._vectors.close()
            self._vectors = None
        if self._copy is not None:
            self._copy.cleanup()

    def opened(self) -> None:
        """Waits until it is. Raises EmbedderChanged if there are vectors that it may not use."""
        self._opened.wait()
        if self.changed:
            raise self.changed

    def _serve(self) -> None:
        """An index that fails is opened again when there is more to index: its server may be back, its folder is made anew."""
        try:
            while goal := self._next():
                try:
                    if self._vectors is None:
                        self._open()
                    self._catch_up()
                except EmbeddingFailed as error:  # a host that is down now may be up when there is more to index
                    self._failed(error)
                except IndexFailed as error:
                    self.damaged = isinstance(error, IndexDamaged)
                    self._failed(error)
                    self._let_go()
                self._known.set()
                self._opened.set()
                self._finish(goal)
        except EmbedderChanged as error:
            self.changed = error
            self._failed(error)
        except (ArchiveError, sqlite3.Error) as error:  # a ledger that cannot be written ends the run by itself
            self._failed(error)
        finally:
            self._known.set()
            self._opened.set()
            self._finish(None)

    def _let_go(self) -> None:
        with self._asking:
            vectors, self._vectors = self._vectors, None
            if vectors is not None:
                vectors.close()

    def _open(self) -> None:
        identity, dimensions, where = self._embedder.identity, self._embedder.dimensions, self._where
        self._known.set()
        known = self._ledger.indexed_count(self._run)[1]  # first: a writer beside this adds vectors before the ledger says so
        if self._writer is not None and isinstance(where, Path):
            self._copy = borrowed(where, self._writer)
            where = Path(self._copy.name) / "vectors"
        mine = self._writer is None
        vectors = Vectors.open(where, run=self._run, identity=identity, dimensions=dimensions, keep=self._keep, mend=mine)
        self.mended = vectors.mended or self.mended
        held = vectors.count()
        if mine and held != known:
            vectors.delete(self._ledger.reconcile(self._run, vectors.keys()))
        elif held < known:
            vectors.close()
            raise IndexDamaged(f"{known - held:,} of the {known:,} vectors of {self._run} are not there")
        self._vectors = vectors
        self._opened.set()

    def _next(self) -> int:
        """Waits for work, and says up to which wish it goes; 0 when it is time to stop."""
        with self._change:
            self._change.wait_for(lambda: self._wanted > self._done or self._closing)
            return 0 if self._closing else self._wanted

    def _catch_up(self) -> None:
        import numpy as np

        assert self._vectors is not None  # noqa: S101 - `_open` came first
        while not self._closing and self._writer is None and (waiting := self._ledger.pending(self._run, _WRITTEN)):
            embedded, vectors = self._embed([(chunk, chunk.windows()) for chunk in waiting])
            self._vectors.upsert([key for _, texts in embedded for key in texts], np.concatenate(vectors))
            self._ledger.mark_indexed({chunk.id: len(texts) for chunk, texts in embedded})
            self.failure = ""
            self._query.again()

    def _embed(self, waiting: list[tuple[Chunk, dict[str, str]]]) -> tuple[list[tuple[Chunk, dict[str, str]]], list[NDArray[np.float32]]]:
        """As many of them as can be: less when it is time to stop, or when the embedder fails. What it was paid for is kept."""
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(waiting), _BATCH):
            if vectors and self._closing:
                break
            try:
                vectors.append(self._embedder.embed([text for _, texts in waiting[start : start + _BATCH] for text in texts.values()]))
            except EmbeddingFailed:
                if not vectors:
                    raise
                break
        return waiting[: len(vectors) * _BATCH], vectors

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
