"""The ledger's tables, and the way from an older version of them to this one.

1  two shapes under one number: the first had no `names`, and other indexes and weights of words
2  words as SQLite cuts them: no word inside a run of letters without spaces, none by its letters without their accents
3  this one
"""

from __future__ import annotations

from .bodies import spoilt, true
from .database import Connection, Layout, run
from .remedy import name_of

VERSION = 3
_TRUTH = """
CREATE TABLE bodies (hash TEXT PRIMARY KEY, packed INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE segments (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, run TEXT NOT NULL, thread TEXT NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL, ordinal INTEGER NOT NULL,
  trust TEXT NOT NULL, sub_question TEXT NOT NULL, tool TEXT NOT NULL, url TEXT NOT NULL, title TEXT NOT NULL, retrieved_at TEXT NOT NULL,
  tokens INTEGER NOT NULL, args_hash TEXT NOT NULL, quote TEXT NOT NULL, source TEXT NOT NULL, supersedes TEXT NOT NULL,
  body TEXT NOT NULL REFERENCES bodies(hash), title_key TEXT NOT NULL
);
"""
_INDEXES = """
CREATE INDEX segments_order ON segments (run, step, kind, ordinal);
CREATE INDEX segments_url ON segments (run, url);
CREATE INDEX segments_args ON segments (run, args_hash);
CREATE INDEX segments_title ON segments (title_key);
CREATE INDEX segments_body ON segments (body);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL REFERENCES segments(seq), n INTEGER NOT NULL,
  start INTEGER NOT NULL, "end" INTEGER NOT NULL, indexed INTEGER NOT NULL DEFAULT 0, UNIQUE (segment, n)
);
CREATE INDEX chunks_pending ON chunks (id) WHERE indexed = 0;
CREATE TABLE names (name TEXT NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (name, chunk)) WITHOUT ROWID;
CREATE INDEX names_chunk ON names (chunk);
CREATE VIRTUAL TABLE words USING fts5(title, text, tokenize = 'porter unicode61');
INSERT INTO words (words, rank) VALUES ('rank', 'bm25(2.0, 1.0)');
"""


def create(db: Connection) -> None:
    """All tables, in the transaction that is open."""
    run(db, _TRUTH + _INDEXES)
    db.execute(f"PRAGMA user_version = {VERSION}")


def upgrade(db: Connection, version: int) -> bool:
    """An older ledger's tables as they are now, in the transaction that is open; its texts must be indexed again."""
    for name in ("segments_order", "segments_url", "segments_args", "segments_title", "segments_body"):
        db.execute(f"DROP INDEX IF EXISTS {name}")
    for name in ("names", "words", "chunks"):
        db.execute(f"DROP TABLE IF EXISTS {name}")
    run(db, _INDEXES)
    db.execute(f"PRAGMA user_version = {VERSION}")
    return True


def is_shaped(db: Connection) -> bool:
    """Whether the tables are those of this version, whatever number they have."""
    wanted = {"names", "segments_title"}
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE name IN ('names', 'segments_title')").fetchall()
    return {name for name, _ in found} == wanted and all("WHERE" not in sql for _, sql in found)


LAYOUT = Layout(
    name="a ledger",
    version=VERSION,
    create=create,
    upgrade=upgrade,
    shaped=is_shaped,
    truth=("bodies", "segments"),
    true=true,
    spoilt=spoilt,
    begin=lambda path: f"move it away, and `research-agent resume {name_of(path.parent)}` investigates the whole plan again",
    pragmas=("cache_size = -32768",),
)
