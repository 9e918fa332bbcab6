"""Search over a folder of the user's own files: Markdown, HTML, PDF and text. Needs no network, no key and no model."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote_to_bytes

from research_agent.graphs.ports import Document
from research_agent.reading.page import Page

from .index import FolderIndex, NoCache, Progress, Skipped
from .provider import SearchFailed
from .readers import Readers
from .walk import contents, hidden, printable, reason, stamp

PROGRESS_INTERVAL_S = 0.05


class NotInFolder(LookupError):
    """A path that `open` refuses, and why: it leads out of the folder, is hidden there, or is no file of it."""


class FolderSearch:
    """A search `Provider`. A document's `url` is its absolute path."""

    name = "folder"
    at_once = 8

    def __init__(self, folder: Path, cache: Path, *, exclude: Sequence[Path] = ()) -> None:
        """`cache` holds the index. `exclude` names folders that are not searched though they lie inside: the runs', above all."""
        self._working = Path.cwd()
        self._folder = Path(os.path.abspath(folder))
        self._root = self._folder.resolve()
        self._excluded = [path.resolve() for path in (*exclude, cache)]
        self._index = FolderIndex(self._root, cache.resolve(), exclude=self._excluded)
        self._fresh = False
        self._refreshing = asyncio.Lock()

    async def refresh(self, progress: Progress = lambda done, total, path: None) -> list[Skipped]:
        """Brings the index up to date, and names what could not be read. `progress` is called on the event loop, some 20 times a second.

        Raises SearchFailed.
        """
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        told_s = 0.0

        def tell(done: int, total: int, path: str) -> None:
            nonlocal told_s
            if done == total or time.monotonic() - told_s > PROGRESS_INTERVAL_S:
                told_s = time.monotonic()
                loop.call_soon_threadsafe(progress, done, total, self._shown(path))

        async with self._refreshing:
            try:
                skipped = await asyncio.to_thread(self._index.refresh, tell, stop)
            except NoCache as error:
                raise SearchFailed(str(error)) from error
            except sqlite3.Error as error:
                raise SearchFailed(f"the index of {self._shown('')} in {self._index.file} cannot be written: {error}") from error
            except OSError as error:
                raise SearchFailed(f"cannot index {self._shown('')}: {reason(error)}") from error
            finally:
                stop.set()  # cancelled: the thread must not go on alone
            self._fresh = True
        return [Skipped(self._shown(path), why) for path, why in skipped]

    async def holds_nothing(self) -> str:
        """Of a folder with no document that could be read, that; once it was indexed."""
        count = await asyncio.to_thread(self._index.count)
        return "" if count else f"search.folder: there is no document in {self._shown('')} that could be read: a search finds nothing there"

    async def search(self, query: str, *, limit: int) -> list[Document]:
        """Whole texts of short files, the best passages of long ones. Indexes the folder first if nobody has."""
        if not self._fresh:
            await self.refresh()
        try:
            hits = await asyncio.to_thread(self._index.search, query, limit=limit)
        except sqlite3.Error as error:
            raise SearchFailed(f"the index of {self._shown('')} is damaged ({error}); the next run builds it anew") from error
        there = [hit for hit in hits if os.access(self._root / hit.path, os.R_OK)]  # what is gone since cannot be read, nor checked
        return [_document(hit.text, self._url(hit.path), hit.title) for hit in there]

    async def open(self, url: str) -> Document:
        """One file of the folder, whole. Raises NotInFolder, reading.Unreadable, or OSError."""
        return await asyncio.to_thread(self._open, url)

    def close(self) -> None:
        self._index.close()

    def _open(self, url: str) -> Document:
        path = self._find(url)
        below = path.relative_to(self._root).as_posix()
        page = self._indexed(below, stamp(path.stat()))
        if page is None:
            with Readers() as readers:
                page = readers.read(contents(path), path.name)
        return _document(page.text, self._url(below), page.title)

    def _indexed(self, below: str, stamp: str) -> Page | None:
        """The very text that search quotes, and no parsing again. Without an index the file itself still stands."""
        if not self._fresh:
            return None
        try:
            return self._index.page(below, stamp)
        except sqlite3.DatabaseError:
            return None

    def _find(self, url: str) -> Path:
        """Links are resolved first, so that none leads out."""
        inside = False
        for base in (self._working, self._folder):
            for name in dict.fromkeys((url, _decoded(url))):
                try:
                    path = (base / name).resolve()
                    found = path.is_file()
                except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, a loop of links
                    continue
                if not path.is_relative_to(self._root):
                    continue
                inside = True
                below = path.relative_to(self._root)
                if found and not any(map(hidden, below.parts)) and not any(path.is_relative_to(other) for other in self._excluded):
                    return path
        shown = printable(url)[:200]
        raise NotInFolder(f"{shown}: no such file in {self._shown('')}" if inside else f"{shown}: outside of the folder {self._shown('')}")

    def _url(self, path: str) -> str:
        """Absolute: a citation must be found from wherever its report is read."""
        return f"{printable(self._folder.as_posix())}/{printable(path)}"

    def _shown(self, path: str) -> str:
        """For people. `path` is below the folder, and printable."""
        base = self._folder.relative_to(self._working) if self._folder.is_relative_to(self._working) else self._folder
        return printable(base.as_posix()) + f"/{path}" if base.parts and path else path or printable(base.as_posix())


def _decoded(url: str) -> str:
    """Undoes what `printable` does to odd names."""
    return os.fsdecode(unquote_to_bytes(url.encode("utf-8", "surrogatepass")))


def _document(text: str, url: str, title: str) -> Document:
    return Document(text=text, url=url, title=title, retrieved_at=datetime.now(UTC).isoformat(timespec="seconds"))
