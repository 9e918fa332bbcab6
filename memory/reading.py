"""Reading a memory that is somebody else's: beside a writer, or in a folder that cannot be written. Nothing is written there."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .errors import ArchiveError, IndexDamaged, IndexFailed, ReadOnly
from .words import folded


class Reader:
    """A SQLite file as a connection that only reads.

    A file that nobody writes is read as it lies there: as in any other mode, SQLite would put files of its own beside it.
    As soon as somebody writes (there is a write-ahead log), it is read through that log. `execute` notices either.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        if not path.is_file():
            raise ArchiveError(f"there is no memory in {path.parent}")
        self._open()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._state() != self._seen:
            self._db.close()
            self._open()
        return self._db.execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        raise ReadOnly(f"{self._path} was opened for reading only")

    def close(self) -> None:
        self._db.close()

    def _open(self) -> None:
        self._seen = self._state()
        mode = "mode=ro" if self._seen is None else "mode=ro&immutable=1"
        uri = f"file:{quote(str(self._path.absolute()))}?{mode}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._db.create_function("folded", 1, folded, deterministic=True)

    def _state(self) -> tuple[int, int, int] | None:
        """None while there is a log: then SQLite itself sees to it that what is read is of one moment."""
        try:
            if self._log.stat().st_size > 0:
                return None
        except FileNotFoundError:
            pass
        status = self._path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns


def borrowed(vectors: Path, lock: Path) -> tempfile.TemporaryDirectory[str]:
    """A copy of a vector index: Chroma writes wherever it opens.

    Raises IndexDamaged where there is none, and IndexFailed while it is written.
    """
    if not vectors.is_dir():
        raise IndexDamaged("there are no vectors")
    copy = tempfile.TemporaryDirectory(prefix="research-agent-vectors-")
    try:
        if not held(lock):
            shutil.copytree(vectors, Path(copy.name) / "vectors")
        if not held(lock):  # nor did a writer come meanwhile
            return copy
        reason = "this memory is being written: recall ranks by words"
    except OSError as error:
        reason = f"the vectors cannot be read ({error.strerror or error}): recall ranks by words"
    copy.cleanup()
    raise IndexFailed(reason)


def held(lock: Path) -> bool:
    """Whether a process holds a lock file. It is not written, nor made."""
    import fcntl

    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
