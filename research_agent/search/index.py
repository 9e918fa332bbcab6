"""A folder's word index: one SQLite file in the cache, kept up to date by content, shared by the runs that search the same folder.

files     what was read of each path, or why it could not be
passages  its text, in pieces; joined in order they are the text
words     FTS5 over title and passage, without a copy of the text
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from research_agent.reading.page import MAX_BYTES, Page, Unreadable

from . import ranking
from .passages import split, tokens
from .query import spaced
from .readers import Readers
from .walk import Entry, contents, printable, reason, walk

SCHEMA = 2
"""Raised when the tables, the passages or the reader change: the index is built anew then."""

LOCK_TIMEOUT_S = 600.0
_RACY_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again without its time showing it."""
_COMMIT_FILES = 256

_TABLES = f"""
CREATE TABLE files (id INTEGER PRIMARY KEY, path BLOB UNIQUE NOT NULL, stamp TEXT NOT NULL, read_ns INTEGER NOT NULL, hash TEXT NOT NULL,
    title TEXT NOT NULL, kind TEXT NOT NULL, tokens INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE passages (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX passages_file ON passages (file);
CREATE VIRTUAL TABLE words USING fts5 (title, text, content='', tokenize="porter unicode61 remove_diacritics 2");
INSERT INTO words (words, rank) VALUES ('rank', 'bm25({ranking.TITLE_WEIGHT}, 1.0)');
PRAGMA user_version = {SCHEMA};
"""

Progress = Callable[[int, int, str], None]
"""Files read, files to read, and the path just read."""


class Skipped(NamedTuple):
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    stamp: str
    read_ns: int
    hash: str
    reason: str

    def trusted(self, entry: Entry) -> bool:
        return self.stamp == entry.stamp and entry.changed_ns < self.read_ns - _RACY_NS


@dataclass(frozen=True, slots=True)
class _Read:
    hash: str
    read_ns: int
    page: Page | None = None
    """None if the content is what it was, or if there is a reason."""
    reason: str = ""
    lasting: bool = True
    """Whether the reason lies in the content, so that trying again is useless."""


class NoCache(Exception):
    """The folder that the index is kept in cannot be used: one line."""


class FolderIndex:
    """`root` must be resolved; `exclude` holds folders below it that are not part of it, resolved too."""

    def __init__(self, root: Path, cache: Path, *, exclude: Sequence[Path] = ()) -> None:
        self.root = root
        self.file = cache / f"folder-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.sqlite"
        self._exclude = frozenset(str(path) for path in (*exclude, cache))
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    # --- keeping it up to date ---

    def refresh(self, progress: Progress, stop: threading.Event | None = None) -> list[Skipped]:
        """Reads what is new or changed, and drops what is gone. What was read stays if it is stopped in between.

        Raises OSError, sqlite3.Error, TimeoutError if another run holds the index for too long, or NoCache.
        """
        from filelock import FileLock, Timeout

        stop = stop or threading.Event()
        lock = FileLock(self._lock_file())
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                with lock.acquire(timeout=0.5):
                    return self._refresh(progress, stop)
            except Timeout:
                if stop.is_set():
                    return []
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another run has been indexing {self.root} for {LOCK_TIMEOUT_S:.0f} s") from None

    def _lock_file(self) -> Path:
        """Made, which tells whether the cache can be written. Raises NoCache."""
        folder = self.file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / f"{self.file.name}.lock"
            lock.touch()
        except OSError as error:
            raise NoCache(f"the cache {folder} cannot be written ({error.strerror or error}): set cache to a folder that can be") from error
        return lock

    def _refresh(self, progress: Progress, stop: threading.Event) -> list[Skipped]:
        self.close()
        try:
            with closing(self._open_or_rebuild()) as db:
                return self._update(db, progress, stop)
        except sqlite3.DatabaseError as error:
            if not _corrupt(error):
                raise
        self._delete()
        with closing(self._open_or_rebuild()) as db:
            return self._update(db, progress, stop)

    def _open_or_rebuild(self) -> sqlite3.Connection:
        db = _connect(self.file)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            sound = version == SCHEMA and db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        except sqlite3.DatabaseError as error:
            if not _corrupt(error):
                db.close()
                raise
            sound = False
        if not sound:
            db.close()
            self._delete()
            db = _connect(self.file)
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_TABLES)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.file}{suffix}").unlink(missing_ok=True)

    def _update(self, db: sqlite3.Connection, progress: Progress, stop: threading.Event) -> list[Skipped]:
        skipped: list[Skipped] = []
        known = {os.fsdecode(path): _Known(*row) for path, *row in db.execute("SELECT path, id, stamp, read_ns, hash, reason FROM files")}
        seen: set[str] = set()
        waiting: list[tuple[Entry, _Known | None]] = []
        for entry in walk(self.root, lambda path, why: skipped.append(Skipped(printable(path), why)), self._exclude):
            seen.add(entry.path)
            old = known.get(entry.path)
            if old is None or not old.trusted(entry):
                waiting.append((entry, old))
            elif old.reason:
                skipped.append(Skipped(printable(entry.path), old.reason))
        gone = [old.id for path, old in known.items() if path not in seen]
        db.execute("BEGIN IMMEDIATE")
        for id in gone:
            _drop(db, id)
        with closing(self._read(waiting, stop)) as readings:
            for done, (entry, old, got) in enumerate(readings, 1):
                if got.reason:
                    skipped.append(Skipped(printable(entry.path), got.reason))
                _store(db, entry, old, got)
                if done % _COMMIT_FILES == 0:
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
                progress(done, len(waiting), printable(entry.path))
        if len(waiting) + len(gone) > _COMMIT_FILES:  # one segment is searched faster than many
            db.execute("INSERT INTO words (words) VALUES ('optimize')")
        db.execute("COMMIT")
        return sorted(skipped)

    def _read(
        self, waiting: list[tuple[Entry, _Known | None]], stop: threading.Event
    ) -> Generator[tuple[Entry, _Known | None, _Read], None, None]:
        """In order, a few ahead: results hold whole texts."""
        threads = min(4, os.cpu_count() or 1)
        ahead: deque[tuple[Entry, _Known | None, Future[_Read]]] = deque()
        coming = iter(waiting)
        with Readers() as readers, ThreadPoolExecutor(threads, "folder-index") as pool:
            try:
                while not stop.is_set():
                    for entry, old in islice(coming, 4 * threads - len(ahead)):
                        ahead.append((entry, old, pool.submit(self._load, readers, entry, old)))
                    if not ahead:
                        return
                    if wait([ahead[0][2]], timeout=0.2).done:
                        entry, old, future = ahead.popleft()
                        yield entry, old, future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                readers.kill()

    def _load(self, readers: Readers, entry: Entry, old: _Known | None) -> _Read:
        read_ns = time.time_ns()
        if entry.size > MAX_BYTES:
            return _Read("", read_ns, reason=f"larger than {MAX_BYTES // 2**20} MB")
        try:
            data = contents(self.root / entry.path)
        except OSError as error:
            return _Read("", read_ns, reason=reason(error), lasting=False)
        hash = hashlib.sha256(data).hexdigest()
        if old and hash == old.hash:
            return _Read(hash, read_ns, reason=old.reason)
        try:
            return _Read(hash, read_ns, readers.read(data, entry.path.rpartition("/")[2]))
        except Unreadable as error:
            return _Read(hash, read_ns, reason=str(error))

    # --- asking it ---

    def search(self, query: str, *, limit: int) -> list[ranking.Hit]:
        """Files, best first, each with the passages that serve the query. Raises sqlite3.Error."""
        with self._lock:
            db = self._db = self._db or _connect(self.file)
            return ranking.search(db, query, limit)

    def page(self, path: str, stamp: str) -> Page | None:
        """What was read of a file, if it has not changed since. Raises sqlite3.Error."""
        with self._lock:
            db = self._db = self._db or _connect(self.file)
            ask = "SELECT id, title, kind FROM files WHERE path = ? AND stamp = ? AND reason = ''"
            row = db.execute(ask, (os.fsencode(path), stamp)).fetchone()
            return Page(ranking.whole(db, row[0]), row[1], row[2]) if row else None

    def count(self) -> int:
        """Of the files that could be read. Raises sqlite3.Error."""
        with self._lock:
            db = self._db = self._db or _connect(self.file)
            return int(db.execute("SELECT count(*) FROM files WHERE reason = ''").fetchone()[0])

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=30.0, isolation_level=None, check_same_thread=False)


def _corrupt(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # its low byte is the primary code
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _store(db: sqlite3.Connection, entry: Entry, old: _Known | None, got: _Read) -> None:
    stamp = entry.stamp if got.lasting else ""
    if old and got.page is None and old.hash == got.hash and old.reason == got.reason:
        db.execute("UPDATE files SET stamp = ?, read_ns = ? WHERE id = ?", (stamp, got.read_ns, old.id))
        return
    if old:
        _drop(db, old.id)
    page = got.page or Page("", "", "text")
    row = (os.fsencode(entry.path), stamp, got.read_ns, got.hash, page.title, page.kind, tokens(page.text), got.reason)
    add = "INSERT INTO files (path, stamp, read_ns, hash, title, kind, tokens, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    file = db.execute(add, row).lastrowid
    for passage in split(page.text):
        id = db.execute("INSERT INTO passages (file, text) VALUES (?, ?)", (file, passage)).lastrowid
        db.execute("INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)", (id, spaced(page.title), spaced(passage)))


def _drop(db: sqlite3.Connection, file: int) -> None:
    title = db.execute("SELECT title FROM files WHERE id = ?", (file,)).fetchone()[0]
    for id, text in db.execute("SELECT id, text FROM passages WHERE file = ?", (file,)).fetchall():
        # A table without content forgets a row only if it is told what the row was.
        row = (id, spaced(title), spaced(text))
        db.execute("INSERT INTO words (words, rowid, title, text) VALUES ('delete', ?, ?, ?)", row)
    db.execute("DELETE FROM passages WHERE file = ?", (file,))
    db.execute("DELETE FROM files WHERE id = ?", (file,))
