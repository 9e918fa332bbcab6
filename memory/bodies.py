"""How the ledger keeps a text: under its hash, packed where it is long. So a damaged one is known, whatever its database says of it."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from .damage import Row, is_passing
from .roots import UNREADABLE
from .segment import Segment, content_hash

_PACK_OVER_BYTES = 1024


def packed(text: str) -> tuple[bool, bytes]:
    """Whether it is packed, and its bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return (True, zlib.compress(data, 3)) if len(data) > _PACK_OVER_BYTES else (False, data)


def unpacked(is_packed: bool, data: bytes) -> str:
    """Raises zlib.error or UnicodeDecodeError for what is damaged."""
    return (zlib.decompress(data) if is_packed else bytes(data)).decode("utf-8", "surrogatepass")


def true(table: str, row: Row) -> bool:
    """Whether a row of the ledger is what was written: a text must be the one that its hash says, and a segment stand where its id says."""
    try:
        if table == "segments":
            _, _, id, run, thread, step, kind, ordinal, *_ = row
            return bool(Segment(run=run, thread=thread, step=step, kind=kind, ordinal=ordinal, text="", trust="own").id == id)
        _, ref, is_packed, data = row
        return bool(content_hash(unpacked(is_packed, data)) == ref)
    except (zlib.error, UnicodeError, TypeError):
        return False


def spoilt(path: Path) -> bool:
    """Whether a ledger that is whole as a database holds what was not written."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with closing(sqlite3.connect(path, timeout=10.0)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bodies'").fetchone():
            return False
        try:
            if db.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":  # of an index, say: opening looks at less
                return True
            rows = [(table, db.execute(f"SELECT rowid, * FROM {table}")) for table in ("bodies", "segments")]
            alone = db.execute("SELECT 1 FROM segments WHERE body NOT IN (SELECT hash FROM bodies)").fetchone()
            return bool(alone) or not all(true(table, row) for table, found in rows for row in found)
        except UNREADABLE as error:
            if isinstance(error, sqlite3.Error) and is_passing(error):
                raise
            return True
