"""The memory as a LangGraph store: items that outlive the process, found by namespace, by filter, by words and by meaning.

with ChromaStore("store", embedder=choose("auto").embedder) as store:
    agent = create_agent(model, tools, store=store)
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from filelock import FileLock, Timeout
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    tokenize_path,
)

from .database import storable
from .embedders import Embedder, query_vector, unit
from .errors import ArchiveError, ArchiveInUse, EmbeddingFailed
from .filters import matches
from .items import Fields, Items, Namespace, Row
from .vectors import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Vector = TypeVar("Vector")
_BATCH = 64  # texts embedded at once
_EXACT = 2000  # items compared one by one; of more, the graph is asked first


class ChromaStore(BaseStore):
    """Durable, in one folder, for one process and any number of its threads. An item is on disk when `put` returns.

    With an embedder, `search(query=)` ranks by cosine as LangGraph's own stores do; without one, by words, from 0 (it holds none of
    them) towards 1. What has no text to be found by comes last, its score None, as in theirs. `index` is LangGraph's IndexConfig
    (`embed`, `dims`, `fields`), for those who hold one.
    """

    supports_ttl = True

    def __init__(
        self, folder: Path | str, *, embedder: Embedder | None = None, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> None:
        """Raises ArchiveInUse where another process has it open, and ArchiveError for what cannot be read."""
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file_lock = FileLock(self._folder / ".store.lock", thread_local=False)
        try:
            self._file_lock.acquire(timeout=0)
        except Timeout as error:
            raise ArchiveInUse(f"the store in {self._folder} is open already, here or in another process") from error
        self.ttl_config = ttl
        self._embedder = embedder or (_Embeddings(index) if index else None)
        self._fields = (index or {}).get("fields") or ["$"]
        self._lock = threading.RLock()
        self._vectors: Vectors | None = None
        self.failure = ""
        """Why a search goes by words although there is an embedder."""
        try:
            self._items = Items(self._folder / "store.sqlite", self._texts)
        except ArchiveError:
            self._file_lock.release()
            raise

    @property
    def mended(self) -> str:
        """What was damaged and made anew when it was opened, and what of it is lost; empty if nothing was."""
        return "; ".join(filter(None, (self._items.mended, self._vectors.mended if self._vectors else "")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._vectors is not None:
                self._vectors.close()
                self._vectors = None
            self._items.close()
            self._file_lock.release()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Results in the order of the operations. All reads are answered from before the writes; of two writes to a key the last stays."""
        listed, now = list(ops), time.time()
        with self._lock:
            self._expire(now)
            results = [self._read(op, now) for op in listed]
            puts = {(op.namespace, op.key): op for op in listed if isinstance(op, PutOp)}
            if puts:
                self._put(list(puts.values()), now)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> None:
        """Removes what has outlived its time. Every operation does so first: this is for stores that nobody reads."""
        with self._lock:
            self._expire(time.time())

    # -- writing

    def _put(self, ops: Sequence[PutOp], now: float) -> None:
        for op in ops:
            _check(op.namespace)
        kept = [op for op in ops if op.value is not None or op.key == storable(op.key)]  # what cannot be kept need not be removed
        rows = [(op, None if op.value is None else _json(op)) for op in kept]  # all are looked at before one is written
        at = datetime.fromtimestamp(now, UTC).isoformat()
        gone: list[int] = []
        with self._items.write():
            for op, value in rows:
                gone += self._items.drop_pieces(op.namespace, op.key)
                if value is None:
                    self._items.delete(op.namespace, op.key)
                else:
                    self._items.put(op.namespace, op.key, value, op.index, at=at, ttl_minutes=op.ttl, now=now)
        self._unindex(gone)
        self._catch_up()

    def _texts(self, value: Any, fields: Fields) -> list[str]:
        if fields is False:
            return []
        paths = [path if path == "$" else tokenize_path(path) for path in (self._fields if fields is None else fields)]
        return list(dict.fromkeys(text for path in paths for text in get_text_at_path(value, path) if text.strip()))

    def _expire(self, now: float) -> None:
        with self._items.write():
            gone = self._items.expire(now)
        self._unindex(gone)

    # -- the index

    def _unindex(self, pieces: Sequence[int]) -> None:
        if pieces and (index := self._index()):
            index.delete(map(str, pieces))

    def _index(self) -> Vectors | None:
        """The vectors, opened when they are first wanted; None, and the reason kept, when they cannot be had."""
        if self._vectors is None and self._embedder is not None:
            try:
                identity, dimensions = self._embedder.identity, self._embedder.dimensions
                self._vectors = Vectors.open(self._folder / "vectors", run="store", identity=identity, dimensions=dimensions)
                held = set(map(int, self._vectors.keys()))
                known = self._items.indexed()
                if held != known:
                    self._vectors.delete(map(str, held - known))
                    with self._items.write():
                        self._items.mark_indexed(sorted(known - held), indexed=False)
            except ArchiveError as error:
                self.failure = str(error)
        return self._vectors

    def _catch_up(self) -> None:
        """Gives every piece its vector. One that cannot have it now waits for the next write or search."""
        index = self._index()
        try:
            while index and self._embedder and (batch := self._items.pending(_BATCH)):
                ids = [id for id, _ in batch]
                index.upsert([str(id) for id in ids], self._embedder.embed([text for _, text in batch]))
                with self._items.write():
                    self._items.mark_indexed(ids, indexed=True)
                self.failure = ""
        except ArchiveError as error:
            self.failure = str(error)

    # -- reading

    def _read(self, op: Op, now: float) -> Result:
        if isinstance(op, GetOp):
            row = self._items.get(op.namespace, op.key)
            self._refresh([row.seq] if row and op.refresh_ttl else [], now)
            return Item(**_fields(row)) if row else None
        if isinstance(op, SearchOp):
            found = self._search(op)
            self._refresh([row.seq for row, _ in found] if op.refresh_ttl else [], now)
            return [SearchItem(**_fields(row), score=score) for row, score in found]
        if isinstance(op, ListNamespacesOp):
            return self._list(op)
        if isinstance(op, PutOp):
            return None
        raise ValueError(f"unknown operation: {type(op).__name__}")

    def _refresh(self, seqs: Sequence[int], now: float) -> None:
        if seqs:
            with self._items.write():
                self._items.refresh(seqs, now)

    def _search(self, op: SearchOp) -> list[tuple[Row, float | None]]:
        prefix, end = op.namespace_prefix, op.offset + op.limit
        simple = not op.filter and not op.query
        rows = [row for row in self._items.below(prefix, first=end if simple else None) if matches(row.value, op.filter)]
        scores: dict[int, float] = self._scores(op.query, prefix, rows, end) if op.query else {}
        ranked = sorted((row for row in rows if row.seq in scores), key=lambda row: (-scores[row.seq], row.seq))
        rest = [row for row in rows if row.seq not in scores]
        return [(row, scores.get(row.seq)) for row in [*ranked, *rest][op.offset : end]]

    def _scores(self, query: str, prefix: Namespace, rows: Sequence[Row], wanted: int) -> dict[int, float]:
        """Of items, by meaning or, where that cannot be had, by words."""
        self._catch_up()
        index = self._index()
        if index is None or self._embedder is None:
            return self._items.by_words(query, prefix)
        try:
            vector = query_vector(self._embedder, storable(query))
            pieces = self._items.pieces([row.seq for row in rows])
            near = index.query(vector, 8 * wanted + 100) if len(pieces) > _EXACT else []
            scores = _best(pieces, near)
            if len(scores) < min(wanted, len(set(pieces.values()))):  # few pieces, or a narrow filter
                scores = _best(pieces, index.among([str(id) for id in pieces], vector))
            return scores
        except ArchiveError as error:
            self.failure = str(error)
            return self._items.by_words(query, prefix)

    def _list(self, op: ListNamespacesOp) -> list[Namespace]:
        found = [place for place in self._items.namespaces() if all(_fits(place, part) for part in op.match_conditions or ())]
        if op.max_depth is not None:
            found = sorted({place[: op.max_depth] for place in found})
        return found[op.offset : op.offset + op.limit]


class _Embeddings:
    """LangChain's embeddings, or a function, as an embedder of ours."""

    def __init__(self, index: IndexConfig) -> None:
        from langgraph.store.base import ensure_embeddings

        given = index.get("embed")
        self._embed = ensure_embeddings(given)
        self._is_async = inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(getattr(given, "__call__", None))  # noqa: B004
        self.dimensions = index["dims"]
        name = getattr(given, "__qualname__", "") or type(given).__qualname__
        model = next((str(value) for key in ("model", "model_name") if (value := getattr(given, key, ""))), "")
        self.identity = f"langchain:{given if isinstance(given, str) else ':'.join(filter(None, (name, model)))}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        given = self._embed
        return self._vectors(
            lambda: _in_a_loop(given.aembed_documents(list(texts))) if self._is_async else given.embed_documents(list(texts)), len(texts)
        )

    def embed_query(self, text: str) -> NDArray[np.float32]:
        given = self._embed
        [vector] = self._vectors(lambda: [_in_a_loop(given.aembed_query(text)) if self._is_async else given.embed_query(text)], 1)
        row: NDArray[np.float32] = vector
        return row

    def _vectors(self, made: Callable[[], list[list[float]]], count: int) -> NDArray[np.float32]:
        import numpy as np

        try:
            rows = np.asarray(made(), dtype=np.float32)
        except Exception as error:  # they may be anyone's, and raise anything
            raise EmbeddingFailed(f"{self.identity}: {type(error).__name__}: {error}") from error
        if rows.shape != (count, self.dimensions):
            raise EmbeddingFailed(f"{self.identity}: gives {rows.shape[-1]} dimensions, index.dims says {self.dimensions}")
        return unit(rows)


def _in_a_loop(work: Coroutine[Any, Any, Vector]) -> Vector:
    """A loop of its own, in a thread of its own: this one's may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _best(pieces: dict[int, int], near: Sequence[tuple[str, float]]) -> dict[int, float]:
    """Each item by the best of its pieces."""
    scores: dict[int, float] = {}
    for key, score in near:
        if (seq := pieces.get(int(key))) is not None and math.isfinite(score):
            scores[seq] = max(score, scores.get(seq, -1.0))
    return scores


def _check(namespace: Namespace) -> None:
    """As `put` does, for operations that reach `batch` without it."""
    if not namespace or not all(isinstance(label, str) and label and "." not in label for label in namespace):
        raise InvalidNamespaceError(f"Invalid namespace {namespace}: its labels must be texts that are not empty and hold no period.")


def _fields(row: Row) -> dict[str, Any]:
    return {
        "namespace": row.namespace,
        "key": row.key,
        "value": row.value,
        "created_at": datetime.fromisoformat(row.created_at),
        "updated_at": datetime.fromisoformat(row.updated_at),
    }


def _json(op: PutOp) -> str:
    if op.key != storable(op.key):
        raise ValueError(f"the key {op.key!r} in {op.namespace} cannot be kept: it holds half a character (a lone surrogate)")
    if not isinstance(op.value, dict):
        raise TypeError(f"the value of {op.key!r} in {op.namespace} cannot be kept: it is a {type(op.value).__name__}, and no dict")
    try:
        return json.dumps(op.value, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the value of {op.key!r} in {op.namespace} cannot be kept, for it is not JSON: {error}") from error


def _fits(place: Namespace, condition: MatchCondition) -> bool:
    path = tuple(condition.path)
    if len(place) < len(path):
        return False
    part = place[: len(path)] if condition.match_type == "prefix" else place[len(place) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
