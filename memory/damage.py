"""A damaged SQLite file: recognised, and what can be read of it brought into a new one. The damaged one is kept beside it."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .segment import content_hash

_PARTS = ("", "-wal", "-shm")
_GAP = 200  # rows that cannot be read one after another, where nothing tells how many there were, are the end


@dataclass(frozen=True, slots=True)
class Saved:
    rows: int
    lost: int


def is_damage(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def sound(path: Path) -> bool:
    """Whether a file that is there is a whole SQLite database. Raises sqlite3.Error for what is no damage."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise


def rescue(path: Path, make: Callable[[sqlite3.Connection], None], tables: Sequence[str]) -> tuple[Path, Saved]:
    """A new file beside, with tables as `make` makes them and each row that can be read; a text must be the one that its hash says."""
    new = path.with_name(f"{path.name}.rescued")
    _remove(new)
    rows = lost = 0
    with closing(sqlite3.connect(new)) as target, closing(sqlite3.connect(path)) as source:
        make(target)
        for table in tables:
            columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
            places = f"INSERT OR IGNORE INTO {table} (rowid, {', '.join(columns)}) VALUES ({', '.join('?' * (len(columns) + 1))})"
            found, missing = _rows(source, table, columns)
            kept = [row for row in found if table != "bodies" or _true(row)]
            target.executemany(places, kept)
            rows, lost = rows + len(kept), lost + missing + len(found) - len(kept)
        target.commit()
    return new, Saved(rows, lost)


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


def _rows(source: sqlite3.Connection, table: str, columns: Sequence[str]) -> tuple[list[tuple[Any, ...]], int]:
    """Row by row, as some pages may be gone; and how many could not be read."""
    ask = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid = ?"
    top, missing, gap, found = _top(source, table), 0, 0, []
    number = 0
    while number < top if top is not None else gap < _GAP:
        number += 1
        try:
            row = source.execute(ask, (number,)).fetchone()
        except sqlite3.DatabaseError:
            missing, gap = missing + 1, gap + 1
            continue
        gap = 0 if row else gap + 1
        found += [row] if row else []
    return found, missing - (gap if top is None and missing else 0) if found else max(missing, 1)


def _top(source: sqlite3.Connection, table: str) -> int | None:
    try:
        return int(source.execute(f"SELECT coalesce(max(rowid), 0) FROM {table} NOT INDEXED").fetchone()[0])
    except sqlite3.DatabaseError:
        return None


def _true(row: tuple[Any, ...]) -> bool:
    """Whether a kept text is the one that its hash says."""
    _, ref, packed, data = row
    try:
        said = content_hash((zlib.decompress(data) if packed else bytes(data)).decode("utf-8", "surrogatepass"))
    except (zlib.error, UnicodeDecodeError):
        return False
    return bool(said == ref)


def _remove(path: Path) -> None:
    for part in _PARTS:
        Path(f"{path}{part}").unlink(missing_ok=True)
