"""Where a store's items lie: SQLite, with their texts cut and indexed by words. The truth; the vectors can be made again from it.

1  did not keep which part of an item can be searched for
2  this one
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from . import damage
from .chunks import chunks
from .database import Connection, Database, Layout, run
from .words import STOP, marked, raw_words, unmarked

VERSION = 2
_BM25_MOST = 2.2
"""By FTS5's BM25 a word's weight times this is what a text comes near to that holds the word ever more often."""
_ITEMS = """
CREATE TABLE items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL, ttl_minutes REAL, expires_at REAL, fields TEXT NOT NULL DEFAULT 'null',
  UNIQUE (namespace, key)
);
CREATE INDEX items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
"""
_INDEX = """
CREATE TABLE pieces (id INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL, indexed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX pieces_item ON pieces (item);
CREATE INDEX pieces_pending ON pieces (id) WHERE indexed = 0;
CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'porter unicode61');
"""
Fields = Literal[False] | list[str] | None
"""Paths to what of an item can be searched for; None as the store says; False nothing."""
Texts = Callable[[Any, Fields], Sequence[str]]
"""What of a value can be searched for."""
Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """An item as it lies there."""

    seq: int
    namespace: Namespace
    key: str
    value: dict[str, Any]
    created_at: str
    updated_at: str


class Items:
    """One SQLite file, one connection, any number of threads. A time is seconds since 1970 where it is a number."""

    def __init__(self, path: Path, texts: Texts) -> None:
        """Raises ArchiveError."""
        self._texts = texts
        self._db = Database(path, LAYOUT, again=self._index_all)
        self.write, self._all, self._one = self._db.write, self._db.all, self._db.one
        self._db.prepare(self._reindex)

    @property
    def mended(self) -> str:
        """What was made anew because it was damaged, and what of it is lost."""
        return self._db.mended

    def _index_all(self, path: Path) -> None:
        with closing(Items(path, self._texts)) as items, items.write():
            items._reindex()

    def _reindex(self) -> None:
        for seq, value, fields in self._all("SELECT seq, value, fields FROM items ORDER BY seq"):
            self._cut(seq, self._texts(json.loads(value), json.loads(fields)))

    # -- writing, inside `write`

    def put(self, namespace: Namespace, key: str, value: str, fields: Fields, *, at: str, ttl_minutes: float | None, now: float) -> None:
        """`value` is JSON. An item that is there keeps its place and its age."""
        expires = None if ttl_minutes is None else now + 60 * ttl_minutes
        place = json.dumps(namespace)
        self._db.execute(
            """INSERT INTO items (namespace, key, value, created_at, updated_at, ttl_minutes, expires_at, fields)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at, ttl_minutes = excluded.ttl_minutes,
               expires_at = excluded.expires_at, fields = excluded.fields""",
            (place, key, value, at, at, ttl_minutes, expires, json.dumps(fields)),
        )
        seq = cast(int, self._one("SELECT seq FROM items WHERE namespace = ? AND key = ?", place, key))
        self._cut(seq, self._texts(json.loads(value), fields))

    def _cut(self, seq: int, texts: Sequence[str]) -> None:
        for text in texts:
            for start, end in chunks(text):
                row = self._db.execute("INSERT INTO pieces (item) VALUES (?)", (seq,)).lastrowid
                words = text[start:end].encode("utf-8", "replace").decode()
                self._db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, marked(words)))

    def drop_pieces(self, namespace: Namespace, key: str) -> list[int]:
        """Which pieces an item had; it has none after."""
        sql = "SELECT p.id FROM pieces p JOIN items i ON i.seq = p.item WHERE i.namespace = ? AND i.key = ?"
        gone = [id for (id,) in self._all(sql, json.dumps(namespace), key)]
        self._drop(gone)
        return gone

    def delete(self, namespace: Namespace, key: str) -> None:
        self._db.execute("DELETE FROM items WHERE namespace = ? AND key = ?", (json.dumps(namespace), key))

    def expire(self, now: float) -> list[int]:
        """Removes what has outlived its time; the pieces that went with it."""
        if not self._one("SELECT 1 FROM items WHERE expires_at <= ? LIMIT 1", now):
            return []
        gone = [id for (id,) in self._all("SELECT p.id FROM pieces p JOIN items i ON i.seq = p.item WHERE i.expires_at <= ?", now)]
        self._drop(gone)
        self._db.execute("DELETE FROM items WHERE expires_at <= ?", (now,))
        return gone

    def _drop(self, pieces: Sequence[int]) -> None:
        listed = json.dumps(list(pieces))
        self._db.execute("DELETE FROM words WHERE rowid IN (SELECT value FROM json_each(?))", (listed,))
        self._db.execute("DELETE FROM pieces WHERE id IN (SELECT value FROM json_each(?))", (listed,))

    def refresh(self, seqs: Sequence[int], now: float) -> None:
        """Their time begins anew."""
        sql = "UPDATE items SET expires_at = ? + 60 * ttl_minutes WHERE ttl_minutes IS NOT NULL AND seq IN (SELECT value FROM json_each(?))"
        self._db.execute(sql, (now, json.dumps(list(seqs))))

    def mark_indexed(self, pieces: Sequence[int] | None, *, indexed: bool) -> None:
        """None: all of them."""
        where = "" if pieces is None else "WHERE id IN (SELECT value FROM json_each(?))"
        self._db.execute(f"UPDATE pieces SET indexed = ? {where}", (indexed, *(() if pieces is None else (json.dumps(list(pieces)),))))

    # -- reading

    def get(self, namespace: Namespace, key: str) -> Row | None:
        found = self._rows("namespace = ? AND key = ?", json.dumps(namespace), key)
        return next((row for row in found if row.key == key), None)  # what was found may only be the nearest there can be

    def below(self, prefix: Namespace, *, first: int | None = None) -> list[Row]:
        """The items below a namespace, in the order they came; only so many of the first, if a number is given."""
        where, values = _below(prefix)
        return self._rows(f"{where} ORDER BY seq LIMIT {-1 if first is None else first:d}", *values)

    def _rows(self, where: str, *values: Any) -> list[Row]:
        found = self._all(f"SELECT seq, namespace, key, value, created_at, updated_at FROM items WHERE {where}", *values)
        return [Row(seq, tuple(json.loads(place)), key, json.loads(value), *times) for seq, place, key, value, *times in found]

    def namespaces(self) -> list[Namespace]:
        return sorted(tuple(json.loads(place)) for (place,) in self._all("SELECT DISTINCT namespace FROM items"))

    def by_words(self, query: str, prefix: Namespace) -> dict[int, float]:
        """Every item that has a text: of the most that a text could have for this query by BM25, the share that its best piece has.

        A word that most texts hold weighs little, but never nothing: FTS5's own sum is near zero in a small store.
        """
        asked = dict.fromkeys(word for word in raw_words(query) if word not in STOP) or dict.fromkeys(raw_words(query))
        where, values = _below(prefix)
        below = f"FROM pieces p JOIN items i ON i.seq = p.item WHERE {where}"
        best = dict.fromkeys((item for (item,) in self._all(f"SELECT DISTINCT p.item {below}", *values)), 0.0) if asked else {}
        sql = f"""SELECT p.id, p.item, -w.rank FROM words w JOIN pieces p ON p.id = w.rowid JOIN items i ON i.seq = p.item
                  WHERE words MATCH ? AND {where}"""
        pieces, of, most, count = defaultdict[int, float](float), dict[int, int](), 0.0, self._one("SELECT count(*) FROM pieces")
        for word in asked:
            phrase = f'"{marked(word)}"'
            held = self._one("SELECT count(*) FROM words WHERE words MATCH ?", phrase)
            odds = (count - held + 0.5) / (held + 0.5)
            own, weight = max(1e-6, math.log(odds)), math.log(1 + odds)
            most += weight
            for id, item, score in self._all(sql, phrase, *values):
                pieces[id] += weight * score / (_BM25_MOST * own)
                of[id] = item
        for id, score in pieces.items():
            best[of[id]] = max(best[of[id]], score / most)
        return best

    def pieces(self, seqs: Sequence[int]) -> dict[int, int]:
        """The indexed pieces of items, each with its item."""
        sql = "SELECT id, item FROM pieces WHERE indexed = 1 AND item IN (SELECT value FROM json_each(?)) ORDER BY id"
        return dict(self._all(sql, json.dumps(list(seqs))))

    def pending(self, limit: int) -> list[tuple[int, str]]:
        """Pieces without a vector, oldest first, with their text."""
        sql = "SELECT p.id, w.text FROM pieces p JOIN words w ON w.rowid = p.id WHERE p.indexed = 0 ORDER BY p.id LIMIT ?"
        return [(id, unmarked(text)) for id, text in self._all(sql, limit)]

    def indexed(self) -> set[int]:
        return {id for (id,) in self._all("SELECT id FROM pieces WHERE indexed = 1")}

    def close(self) -> None:
        self._db.close()


def _create(db: Connection) -> None:
    run(db, _ITEMS + _INDEX)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _upgrade(db: Connection, version: int) -> bool:
    db.execute("ALTER TABLE items ADD COLUMN fields TEXT NOT NULL DEFAULT 'null'")
    db.execute("UPDATE items SET fields = 'false' WHERE seq NOT IN (SELECT item FROM pieces)")
    db.execute(f"PRAGMA user_version = {VERSION}")
    return False


def _true(table: str, row: damage.Row) -> bool:
    """Whether an item can be read as what it is."""
    _, _, namespace, _, value, *_, last = row
    try:
        read = [json.loads(text) for text in (namespace, value, *([last] if isinstance(last, str) else ()))]
    except (TypeError, ValueError):
        return False
    return isinstance(read[0], list) and isinstance(read[1], dict)


LAYOUT = Layout(
    name="a store",
    version=VERSION,
    create=_create,
    upgrade=_upgrade,
    truth=("items",),
    true=_true,
    begin=lambda path: "move it away to begin a new one",
    pragmas=("secure_delete = ON",),
)


def _below(prefix: Namespace) -> tuple[str, list[str]]:
    if not prefix:
        return "1", []
    begin = json.dumps(prefix)[:-1]  # `["a", "b"` begins `["a", "b"]` and `["a", "b", "c"]`
    return "(namespace = ? OR (namespace > ? AND namespace < ?))", [f"{begin}]", f"{begin},", f"{begin}-"]
