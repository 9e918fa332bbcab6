"""The dense index: Chroma, one collection for each run, in the run's folder or on a server. Rebuildable from the ledger at any time.

It holds ids and vectors and no text, and is given its vectors: Chroma never embeds anything for us. What a folder holds is searched
exactly (`scan.py`) as long as it fits in memory; a server, and what is more than that, is asked.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .chunks import WINDOW_TOKENS
from .errors import ArchiveError, EmbedderChanged, IndexDamaged, IndexFailed
from .vector_files import fault

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .scan import Scan

LAYOUT = 1
"""Of a collection: its keys and what its metadata say. The first had no number; an older one is made anew, for it can be."""
_CONNECT_TIMEOUT_S = 10.0
_TIMEOUT_S = 60.0
_BATCH = 5000  # Chroma takes 5461 at once
_HNSW = {"hnsw": {"space": "cosine", "ef_construction": 200, "ef_search": 1000, "max_neighbors": 32}}
# Chroma's defaults find 37 % of the true ten nearest among 20,000 random vectors; a search of 200 finds 90 % of a run's


@contextmanager
def _failing(server: str = "") -> Iterator[None]:
    """What Chroma raises, as one line of ours. `server`: its URL, if it is none of ours."""
    import httpx
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, httpx.HTTPError, sqlite3.Error, ValueError) as error:  # ValueError: a server that is not there
        said = _said(error)
        if server:
            said = f"{said}; start the Chroma server at {server}, or check store.vectors"
        raise IndexFailed(f"the vector index failed: {said}") from error
    except BaseException as error:
        if not _panicked(error):
            raise
        raise IndexFailed(f"the vector index failed: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _panicked(error: BaseException) -> bool:
    """Whether it is Chroma's own, of its part in Rust, for which there is no class to be named."""
    return type(error).__name__ == "PanicException"


class Vectors:
    """One run's collection."""

    mended: str = ""
    """Why they were made anew when they were opened; empty if they were not."""

    def __init__(self, client: Any, collection: Any, scan: Scan | None) -> None:
        self._client = client
        self._collection = collection
        self._scan = scan

    @classmethod
    def open(cls, where: Path | str, *, run: str, identity: str, dimensions: int, keep: bool = False, mend: bool = True) -> Vectors:
        """In a folder, or at a server's URL. A damaged folder is made anew; without `mend` it raises IndexDamaged.

        Vectors of another embedder, or of an older layout, are dropped; with `keep` they raise EmbedderChanged. Those of a newer layout
        raise ArchiveError.
        """
        if isinstance(where, str):
            with _failing(where):
                return cls._collect(_server(where), run, identity, dimensions, keep)
        with _failing():
            damage = fault(where)
        if not damage:
            try:
                with _failing():
                    return cls._collect(_local(str(where)), run, identity, dimensions, keep)
            except IndexFailed as error:
                damage = str(error)
            except ArchiveError:
                raise
            except Exception as error:  # noqa: BLE001 - Chroma says in no one way that a file holds what it never wrote
                damage = f"{type(error).__name__}: {_said(error)}"
        if not mend:
            raise IndexDamaged(f"the vectors of {run} are damaged ({damage})")
        shutil.rmtree(where, ignore_errors=True)
        with _failing():  # Chroma keeps a start that failed under the path it was given
            made = cls._collect(_local(f"{where}/."), run, identity, dimensions, keep)
        made.mended = f"the vectors of {run} were damaged ({damage}), and are made anew from what is archived"
        return made

    @classmethod
    def _collect(cls, client: Any, run: str, identity: str, dimensions: int, keep: bool) -> Vectors:
        from .scan import Scan

        name = collection_name(run)
        made = {"run": run, "embedder": identity, "dimensions": dimensions, "window_tokens": WINDOW_TOKENS, "layout": LAYOUT}

        def collection() -> Any:
            return client.get_or_create_collection(name, embedding_function=None, metadata=made, configuration=_HNSW)

        opened = False
        try:
            found = collection()
            held = {"layout": 1, **(found.metadata or {})}
            if held["layout"] > LAYOUT:
                raise ArchiveError(_newer(run, held["layout"]))
            if held != made:
                if keep and found.count() and {**held, "window_tokens": WINDOW_TOKENS, "layout": LAYOUT} != made:
                    raise EmbedderChanged(_changed(run, held, made), had=str(held.get("embedder", "")), has=identity)
                client.delete_collection(name)
                found = collection()
            found.query(query_embeddings=[[1.0] + [0.0] * (dimensions - 1)], n_results=1, include=[])  # an unreadable graph fails here
            vectors = cls(client, found, None if _sessions(client) else Scan(dimensions))
            vectors._load(dimensions)
            opened = True
        finally:
            if not opened:
                _close(client)
        return vectors

    def _load(self, dimensions: int) -> None:
        """What a folder holds, into memory, if there is room."""
        import numpy as np

        if self._scan is None or not self._scan.holds(self._collection.count(), dimensions):
            self._scan = None
            return
        keys = list(self._collection.get(include=[])["ids"])
        for start in range(0, len(keys), _BATCH):  # by key: of pages, Chroma counts through all that came before
            found = self._collection.get(ids=keys[start : start + _BATCH], include=["embeddings"])
            self._scan.put(found["ids"], np.asarray(found["embeddings"], dtype=np.float32))

    @_failing()
    def upsert(self, keys: Sequence[str], vectors: NDArray[np.float32]) -> None:
        for start in range(0, len(keys), _BATCH):
            self._collection.upsert(ids=list(keys[start : start + _BATCH]), embeddings=vectors[start : start + _BATCH])
        if self._scan is not None:
            if self._scan.holds(len(self._scan) + len(keys), vectors.shape[1]):
                self._scan.put(keys, vectors)
            else:
                self._scan = None

    @_failing()
    def query(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """The nearest keys with their cosine, best first."""
        if (scan := self._scan) is not None:
            return scan.nearest(vector, limit)
        found = self._collection.query(query_embeddings=[vector], n_results=limit, include=["distances"])
        return [(key, 1.0 - distance) for key, distance in zip(found["ids"][0], found["distances"][0], strict=True)]

    @_failing()
    def among(self, keys: Sequence[str], vector: NDArray[np.float32]) -> list[tuple[str, float]]:
        """The cosines of these keys, exactly, best first; a key that is not indexed is left out."""
        import numpy as np

        if (scan := self._scan) is not None:
            return scan.among(keys, vector)
        pairs: list[tuple[str, float]] = []
        for start in range(0, len(keys), _BATCH):
            found = self._collection.get(ids=list(keys[start : start + _BATCH]), include=["embeddings"])
            if found["ids"]:
                rows = np.asarray(found["embeddings"], dtype=np.float32)
                pairs.extend(zip(found["ids"], (rows @ vector).tolist(), strict=True))
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    @_failing()
    def count(self) -> int:
        return int(self._collection.count())

    @_failing()
    def keys(self) -> set[str]:
        return set(self._collection.get(include=[])["ids"])

    @_failing()
    def delete(self, keys: Iterable[str]) -> None:
        every = list(keys)
        for start in range(0, len(every), _BATCH):
            self._collection.delete(ids=every[start : start + _BATCH])
        if self._scan is not None:
            self._scan.remove(every)

    def close(self) -> None:
        _close(self._client)


def check(url: str) -> None:
    """Raises IndexFailed if no Chroma server answers there."""
    with _failing(url):
        _close(_server(url))


def forget(url: str, run: str) -> int:
    """Removes a run's vectors from a server and looks whether they are gone; how many they were. Raises IndexFailed."""
    with _failing(url):
        client = _server(url)
        try:
            name = collection_name(run)
            if name not in _names(client):
                return 0
            count = int(client.get_collection(name, embedding_function=None).count())
            client.delete_collection(name)
            if name in _names(client):
                raise IndexFailed(f"the Chroma server at {url} still has the vectors of run {run}")
            return count
        finally:
            _close(client)


def _close(client: Any) -> None:
    """Chroma's own leaves a server's connections open."""
    sessions = _sessions(client)
    client.close()
    for session in sessions:
        session.close()


def _sessions(client: Any) -> list[Any]:
    """The HTTP clients within one for a server, to which it gives no access; none in one for a folder."""
    servers = (client._server, client._admin_client._server)
    return [server._session for server in servers if hasattr(server, "_session")]


def _names(client: Any) -> set[str]:
    names: set[str] = set()
    while page := client.list_collections(limit=1000, offset=len(names)):
        names |= {collection.name for collection in page}
    return names


def collection_name(run: str) -> str:
    """Of a run's collection."""
    return f"run-{hashlib.sha256(run.encode()).hexdigest()[:24]}"


def _newer(run: str, layout: int) -> str:
    newest = f"written by a newer research-agent; this one reads up to {LAYOUT}"
    return f"the vectors of {run} have layout {layout}, {newest}: update it, or remove them, and they are made anew"


def _changed(run: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    had, has = (f"{made.get('embedder', 'an unknown embedder')} ({made.get('dimensions', '?')} dimensions)" for made in (old, new))
    return f"the vectors of {run} were made by {had}, the embedder now is {has}"


def _local(path: str) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(path, settings=Settings(anonymized_telemetry=False))


def _server(url: str) -> Any:
    import chromadb
    import httpx
    from chromadb.config import Settings

    httpx.get(f"{url}/api/v2/heartbeat", timeout=_CONNECT_TIMEOUT_S).raise_for_status()  # Chroma's client would wait for ever
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 8000)
    client = chromadb.HttpClient(parts.hostname or "", port, ssl=tls, settings=Settings(anonymized_telemetry=False))
    for session in _sessions(client):
        session.timeout = httpx.Timeout(_TIMEOUT_S)  # there is no setting for it
    return client
