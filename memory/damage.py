"""A damaged SQLite file: recognised, and what can be read of it brought into a new one. The damaged one is kept beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .roots import UNREADABLE, regrown

Row = tuple[Any, ...]
"""Its rowid, then its columns in the new table's order, without those that an older version had not."""
_PARTS = ("", "-wal", "-shm")
_GAP = 200  # rows that cannot be read one after another, where nothing tells how many there were, are the end
_LEAST_BYTES = 4  # of a row


@dataclass(frozen=True, slots=True)
class Saved:
    rows: int
    lost: int
    """Of those that are known to have been there."""
    counted: bool
    """Whether it is known how many there were."""

    @property
    def whole(self) -> bool:
        return self.counted and not self.lost

    def __str__(self) -> str:
        if not self.rows:
            return "nothing in it can be read"
        if not self.counted:
            return f"{self.rows:,} rows can be read, and how many more there were cannot be told"
        return f"{self.lost:,} of its {self.rows + self.lost:,} rows are lost" if self.lost else f"all {self.rows:,} rows are kept"


def is_damage(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_unknown(error: sqlite3.Error) -> bool:
    """Whether a file says that it is of a format that there is not: where the statement is right, SQLite's plain error means that."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def is_passing(error: sqlite3.Error) -> bool:
    """Whether another try may do: somebody else writes, or the disk is full."""
    passing = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in passing


def sound(path: Path) -> bool:
    """Whether a file that is there is a whole SQLite database. Raises sqlite3.Error for what is no damage."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except UnicodeDecodeError:  # what it found is told with what it found
        return False
    except sqlite3.DatabaseError as error:
        if is_damage(error) or _is_unknown(error):
            return False
        raise


def rescue(
    path: Path,
    make: Callable[[sqlite3.Connection], None],
    tables: Sequence[str],
    true: Callable[[str, Row], bool] = lambda table, row: True,
) -> tuple[Path, Saved]:
    """A new file beside, with tables as `make` makes them and each row that can be read and, says `true`, is what was written."""
    new, copy = path.with_name(f"{path.name}.rescued"), path.with_name(f"{path.name}.rescued-copy")
    _remove(new)
    rows, lost, counted = 0, 0, True
    try:
        anew = regrown(path, tables, copy)
        with closing(sqlite3.connect(new)) as target, closing(sqlite3.connect(copy)) as source:
            make(target)
            for table in tables:
                columns = _columns(target, source, table)
                places = f"INSERT OR IGNORE INTO {table} (rowid, {', '.join(columns)}) VALUES ({', '.join('?' * (len(columns) + 1))})"
                found, missing, top = _rows(source, table, columns, most=copy.stat().st_size // _LEAST_BYTES)
                before = target.total_changes
                target.executemany(places, [row for row in found if true(table, row)])
                kept = target.total_changes - before
                rows, lost = rows + kept, lost + missing + len(found) - kept
                counted = counted and top and table not in anew
            target.commit()
    finally:
        _remove(copy)
    return new, Saved(rows, lost, counted)


def adopt(new: Path, path: Path) -> Path:
    """Puts a rescued file in its place; where the damaged one is now."""
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for part in _PARTS[:0:-1]:
        with suppress(FileNotFoundError):
            os.replace(f"{path}{part}", f"{kept}{part}")
    os.replace(path, kept)
    os.replace(new, path)
    return kept


def _columns(target: sqlite3.Connection, source: sqlite3.Connection, table: str) -> list[str]:
    known = _names(target, table)
    had = _names(source, table) or known
    return [name for name in known if name in had]


def _names(db: sqlite3.Connection, table: str) -> list[str]:
    try:
        return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    except UNREADABLE:
        return []


def _rows(source: sqlite3.Connection, table: str, columns: Sequence[str], *, most: int) -> tuple[list[Row], int, bool]:
    """Row by row, as some pages may be gone; how many before the last of them could not be read; and whether that is all there were."""
    ask = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid = ?"
    top, found = _top(source, table), list[Row]()
    number = gap = missing = before = 0
    while number < top if top is not None else gap < _GAP:
        number += 1
        try:
            row = source.execute(ask, (number,)).fetchone()
        except UNREADABLE:
            row, missing = None, missing + 1
        if row:
            found.append(row)
            before = missing
        gap = 0 if row else gap + 1
        if top is not None and gap and gap % _GAP == 0:
            number = _before_next(source, table, number, top)
            top = top if gap < most else None  # it is damage that says so: no file of this size holds so many
    return found, before if top is None else missing, top is not None


def _before_next(source: sqlite3.Connection, table: str, number: int, top: int) -> int:
    """Rows that were deleted need not be asked for one by one; what cannot be told is."""
    try:
        following = source.execute(f"SELECT min(rowid) FROM {table} NOT INDEXED WHERE rowid > ?", (number,)).fetchone()[0]
    except UNREADABLE:
        return number
    return top if following is None else int(following) - 1


def _top(source: sqlite3.Connection, table: str) -> int | None:
    try:
        return int(source.execute(f"SELECT coalesce(max(rowid), 0) FROM {table} NOT INDEXED").fetchone()[0])
    except UNREADABLE:
        return None


def _remove(path: Path) -> None:
    for part in _PARTS:
        Path(f"{path}{part}").unlink(missing_ok=True)
