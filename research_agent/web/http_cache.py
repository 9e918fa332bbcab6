"""Answers kept in the cache folder for as long as their own headers allow: RFC 9111 as a private cache, by hishel.

hishel decides what may be kept, used, and asked for again; here it meets our bodies, already unpacked, and a file that may be unusable.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from research_agent.memory import content_hash
from research_agent.web.net import Fetched

if TYPE_CHECKING:
    from hishel import AnyState, Entry, Request, Response, SqliteStorage

Send = Callable[[Mapping[str, str]], Awaitable[Fetched]]
"""Request headers to an answer, from the network."""

MAX_BYTES = 500 * 2**20
"""Of the whole cache."""
FILE = "http-2.sqlite"
"""Named for hishel's format."""
_RETRIEVED = "x-research-agent-retrieved-at"
_UNPACKED = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class HttpCache:
    """Safe to delete at any time; shared by runs."""

    def __init__(self, folder: Path, keeps: Callable[[str], None] = lambda key: None) -> None:
        """`keeps` is told of each key before an answer is kept under it."""
        self._file, self._keeps = folder / FILE, keeps
        self._opened: SqliteStorage | None = None

    async def fetch(self, key: str, url: str, headers: Mapping[str, str], send: Send) -> Fetched:
        """An answer that may be used now: a kept one, a kept one that the server confirms, or a new one. Raises what `send` raises.

        `key`: what it is kept under; `headers`: what is sent, so that `Vary` holds.
        """
        from hishel import (
            CacheMiss,
            CouldNotBeStored,
            FromCache,
            Headers,
            IdleClient,
            InvalidateEntries,
            NeedRevalidation,
            NeedToBeUpdated,
            Request,
            StoreAndUse,
        )

        request = Request("GET", url, Headers(dict(headers)))
        state: AnyState = IdleClient(options={"shared": False, "supported_methods": ["GET"], "allow_stale": False}).next(
            request, await asyncio.to_thread(self._entries, key)
        )
        fresh: Fetched | None = None
        while True:
            match state:
                case CacheMiss() | NeedRevalidation():
                    fresh = await send(dict(state.request.headers))
                    state = state.next(_response(fresh))
                case StoreAndUse() if fresh:
                    await asyncio.to_thread(self._keep, request, _response(fresh), key, fresh.body)
                    return fresh
                case CouldNotBeStored() if fresh:
                    return fresh
                case FromCache():
                    # Confirmed by the server just now, or still good by its own word.
                    return await asyncio.to_thread(_kept, state.entry, url, fresh.retrieved_at if fresh else "")
                case NeedToBeUpdated():
                    for entry in state.updating_entries:
                        await asyncio.to_thread(self._storage.update_headers, entry.id, entry.response.headers)
                    state = state.next()
                case InvalidateEntries():
                    for id in state.entry_ids:
                        await asyncio.to_thread(self._storage.remove_entry, id)
                    state = state.next()
                case _:
                    raise AssertionError(f"a state without an answer: {state}")

    async def aclose(self) -> None:
        if self._opened is not None:
            await asyncio.to_thread(self._opened.close)
            self._opened = None

    @property
    def _storage(self) -> SqliteStorage:
        if self._opened is None:
            from hishel import SqliteStorage

            logging.getLogger("hishel").addHandler(logging.NullHandler())  # a cache that fails costs a fetch, and no lines on stderr
            self._opened = SqliteStorage(database_path=self._file, max_size=MAX_BYTES)
        return self._opened

    def _entries(self, key: str) -> list[Entry]:
        return self._storage.get_entries(key)

    def _keep(self, request: Request, response: Response, key: str, body: bytes) -> None:
        try:
            self._keeps(key)
        except OSError:  # a full disk: what cannot be found again to be forgotten is not kept
            return
        response = replace(response, stream=iter([body]))
        stream = self._storage.create_entry(request, response, key).response.stream
        _joined(stream)  # what is read from it is what is stored


def remove(file: Path, hashes: set[str]) -> int:
    """Removes the answers kept under keys of these hashes, and their bytes from the file; how many they were. It has looked again.

    Raises sqlite3.Error: a file that cannot be looked through, or that another process holds.
    """
    if not file.is_file():
        return 0
    with closing(sqlite3.connect(file, timeout=10.0, isolation_level=None)) as db:

        def found() -> list[tuple[bytes]]:
            return [(id,) for id, key in db.execute("SELECT id, cache_key FROM entries") if content_hash(_text(key)) in hashes]

        ids = found()
        for table, column in (("streams", "entry_id"), ("entries", "id")):
            db.executemany(f"DELETE FROM {table} WHERE {column} = ?", ids)
        db.execute("VACUUM")  # what was replaced or evicted earlier lies in its free pages
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy or found():
            raise sqlite3.OperationalError("another process works with it")
        return len(ids)


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode("utf-8", "replace")


def _response(fetched: Fetched) -> Response:
    from hishel import Headers, Response

    told = {name: value for name, value in fetched.headers.items() if name not in _UNPACKED}
    told |= {"date": _born(fetched), _RETRIEVED: fetched.retrieved_at}
    return Response(fetched.status, Headers(told), iter([fetched.body]))


def _born(fetched: Fetched) -> str:
    """When the answer was made, as RFC 9111 4.2.3 reckons its age: by `Date` or by `Age`, whichever makes it older.

    hishel reckons by `Date` alone, and takes an answer without one for new for ever.
    """
    came = datetime.fromisoformat(fetched.retrieved_at)
    given = fetched.headers.get("age", "").strip()
    born = came - timedelta(seconds=min(int(given), 10**9)) if given.isdecimal() else came
    with suppress(ValueError, TypeError):  # TypeError: a date without a zone
        born = min(born, parsedate_to_datetime(fetched.headers.get("date", "")))
    return format_datetime(born.astimezone(UTC), usegmt=True)


def _kept(entry: Entry, url: str, confirmed_at: str) -> Fetched:
    headers = dict(entry.response.headers)
    retrieved_at = headers.pop(_RETRIEVED, "")
    return Fetched(url, entry.response.status_code, headers, _joined(entry.response.stream), confirmed_at or retrieved_at)


def _joined(stream: object) -> bytes:
    return b"".join(stream) if isinstance(stream, Iterable) else b""
