"""What a disk or a database says when it fails, as one line with a remedy."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from research_agent.memory.remedy import name_of

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


def in_one_line(error: BaseException, folder: Path) -> str:
    """Empty for what is no fault of a disk or a database. `folder`: the run's."""
    if isinstance(error, sqlite3.Error):
        what = _SQLITE.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF, "")
        return f"{folder}: {what.replace('ID', name_of(folder))} ({error})" if what else ""
    if isinstance(error, OSError) and error.errno in _OS:
        return f"{error.filename or folder}: {_OS[error.errno]} ({error.strerror})"
    return ""
