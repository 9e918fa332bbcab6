"""What a disk or a database says when it fails, as one line with a remedy."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from research_agent.memory import damage
from research_agent.memory.remedy import name_of

from .record import UNFINISHED

_FULL = "the disk is full: make room"
_READ_ONLY = "it cannot be written: make it writable"
_OS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up: make room",
    errno.EFBIG: "a file may not grow further (ulimit -f): raise the limit",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: "the disk fails: copy the folder to another one",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
}
_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_IOERR: "a database of it cannot be read or written: is the disk full, is a limit on file sizes set?",
    sqlite3.SQLITE_CORRUPT: "a database of it is damaged: `research-agent memory rebuild ID` makes it anew, and says what is lost",
    sqlite3.SQLITE_NOTADB: "a database of it is damaged: `research-agent memory rebuild ID` makes it anew, and says what is lost",
    sqlite3.SQLITE_BUSY: "another program holds a database of it: close that",
}
_NO_ROOM_BYTES = 250_000
"""With less, SQLite cannot even open a database beside its log, and calls that an input or output error, or a file that it cannot open."""


def in_one_line(error: BaseException, folder: Path) -> str:
    """Empty for what is no fault of a disk or a database. `folder`: the run's."""
    error = beneath(error)
    if isinstance(error, sqlite3.Error):
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        unsaid = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        what = _FULL if unsaid and _no_room(folder) else _SQLITE.get(code, "")
        return f"{folder}: {what.replace('ID', name_of(folder))} ({error})" if what else ""
    if isinstance(error, OSError) and error.errno in _OS:
        return f"{_named(error, folder)}: {_OS[error.errno]} ({error.strerror})"
    return ""


def beneath(error: BaseException) -> BaseException:
    """What a database said, where that is told in its store's words and is no fault of the store."""
    cause = error.__cause__
    return cause if isinstance(cause, sqlite3.Error) and damage.is_passing(cause) else error


def _no_room(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _NO_ROOM_BYTES
    return False


def _named(error: OSError, folder: Path) -> Path:
    """A file of ours that is not there yet says nothing to anybody: it is its folder that cannot be written."""
    path = Path(error.filename) if isinstance(error.filename, str) else folder
    return path.parent if path.name.endswith(f".{UNFINISHED}") else path
