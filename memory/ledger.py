"""The ledger: SQLite with a word index. The truth; whatever else there is can be made again from it."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from . import schema
from .allowed import Filter, where_of
from .bodies import packed, unpacked
from .chunks import Chunk, chunks
from .database import Database, storable
from .errors import ArchiveError, NotArchived
from .recent import RecentTexts
from .remedy import rebuild_of
from .segment import MAX_ORDINALS, Kind, Segment, content_hash
from .words import marked, names, title_key, unmarked

COMMON = 2000
"""Chunks: a word held by so many finds too much to be looked for by."""
_FIRST_LOOK = 500  # best word matches taken before any filter; a filter that leaves too few looks at all of them
_COLUMNS = tuple(
    """id run thread step kind ordinal trust sub_question tool url title retrieved_at tokens args_hash
    quote source supersedes body""".split()  # noqa: SIM905
)


class Ledger:
    """One SQLite file, one connection, any number of threads."""

    def __init__(self, path: Path, *, read_only: bool = False, accept_loss: bool = False, copy_of: Path | None = None) -> None:
        """Raises ArchiveError, also for a file that is damaged where texts would be lost, unless that is accepted.

        `copy_of`: the file that errors name, and what to do with it.
        """
        self._told = copy_of or path
        self._rebuild = rebuild_of(self._told.parent)
        self._recent = RecentTexts()
        self._db = Database(
            path,
            schema.LAYOUT,
            again=_index_all,
            told=self._told,
            read_only=read_only,
            rebuild=self._rebuild,
            accept_loss=accept_loss,
        )
        self._lock, self._write, self._all, self._one = self._db.lock, self._db.write, self._db.all, self._db.one
        self._db.prepare(self._reindex)

    @property
    def mended(self) -> str:
        """What was made anew because it was damaged."""
        return self._db.mended

    def _reindex(self) -> None:
        """All of it; a segment whose text is lost is none."""
        self._db.execute("DELETE FROM segments WHERE body NOT IN (SELECT hash FROM bodies)")
        for seq, title in self._all("SELECT seq, title FROM segments ORDER BY seq"):
            self._db.execute("UPDATE segments SET title_key = ? WHERE seq = ?", (title_key(title), seq))
            self._index(seq, self.at([seq])[seq])

    # -- writing

    def add(self, segments: Sequence[Segment], bodies: Sequence[str] = ()) -> int:
        """How many segments were new. All of it is in, or nothing is; what is already there stays as it is."""
        with self._write():
            for text in bodies:
                self._keep(text)
            return sum(self._add(segment) for segment in segments)

    def add_all(self, segments: Iterable[Segment]) -> int:
        """As `add`, one after another: a long file never stands in memory whole."""
        with self._write():
            return sum(self._add(segment) for segment in segments)

    def _add(self, segment: Segment) -> bool:
        body = self._keep(segment.text)
        values = [*(getattr(segment, name) for name in _COLUMNS[:-1]), body, title_key(segment.title)]
        cursor = self._db.execute(
            f"INSERT OR IGNORE INTO segments ({', '.join(_COLUMNS)}, title_key) VALUES ({', '.join('?' * len(values))})",
            [storable(value) for value in values],
        )
        if not cursor.rowcount:
            return False
        self._index(cast(int, cursor.lastrowid), segment)
        return True

    def _index(self, seq: int, segment: Segment) -> None:
        title = storable(segment.title)  # bodies keep what it cannot have
        for n, (start, end) in enumerate(chunks(segment.text)):
            row = self._db.execute('INSERT INTO chunks (segment, n, start, "end") VALUES (?, ?, ?, ?)', (seq, n, start, end)).lastrowid
            words = storable(segment.text[start:end])
            self._db.execute("INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)", (row, marked(title), marked(words)))
            held = names(f"{title}. {words}")
            self._db.executemany("INSERT INTO names VALUES (?, ?)", [(name, row) for name in sorted(held)])

    def _keep(self, text: str) -> str:
        ref = content_hash(text)
        if self._one("SELECT 1 FROM bodies WHERE hash = ?", ref) is None:
            self._db.execute("INSERT INTO bodies VALUES (?, ?, ?)", (ref, *packed(text)))
        return ref

    def put_body(self, text: str) -> str:
        with self._write():
            return self._keep(text)

    def get_body(self, ref: str) -> str:
        with self._lock:
            if (text := self._recent.get(ref)) is not None:
                return text
            rows = self._all("SELECT packed, data FROM bodies WHERE hash = ?", ref)
            if not rows:
                raise NotArchived(f"no text {ref} in {self._told}")
            try:
                text = unpacked(*rows[0])
            except (zlib.error, UnicodeDecodeError) as error:
                raise ArchiveError(f"{self._told} is damaged: a text in it cannot be read; {self._rebuild} keeps the others") from error
            self._recent.put(ref, text)
            return text

    def forget(self, run: str) -> int:
        """Removes a run's segments and every text that is no other run's. Returns how many segments went."""
        with self._write():
            bodies = json.dumps(self._all("SELECT DISTINCT body FROM segments WHERE run = ?", run))
            self._drop_chunks(run)
            count = self._db.execute("DELETE FROM segments WHERE run = ?", (run,)).rowcount
            if self._one("SELECT 1 FROM segments LIMIT 1"):
                gone = "hash IN (SELECT value ->> 0 FROM json_each(?)) AND hash NOT IN (SELECT body FROM segments)"
                self._db.execute(f"DELETE FROM bodies WHERE {gone}", (bodies,))
            else:  # nobody else is here: what `put_body` kept was this run's too
                self._db.execute("DELETE FROM bodies")
            self._merge()
        self._shrink()
        return count

    def forget_some(self, ids: Collection[str], edit: Callable[[str], str]) -> int:
        """Removes these segments and their texts; texts that `put_body` kept are kept as `edit` leaves them, under their old hash."""
        listed = json.dumps(sorted(ids))
        mine = "SELECT seq FROM segments WHERE id IN (SELECT value FROM json_each(?))"
        with self._write():
            bodies = json.dumps(self._all(f"SELECT DISTINCT body FROM segments WHERE seq IN ({mine})", listed))
            self._drop_chunks_of(mine, listed)
            count = self._db.execute(f"DELETE FROM segments WHERE seq IN ({mine})", (listed,)).rowcount
            gone = "hash IN (SELECT value ->> 0 FROM json_each(?)) AND hash NOT IN (SELECT body FROM segments)"
            self._db.execute(f"DELETE FROM bodies WHERE {gone}", (bodies,))
            for (ref,) in self._all("SELECT hash FROM bodies WHERE hash NOT IN (SELECT body FROM segments)"):
                text = self.get_body(ref)
                if (edited := edit(text)) != text:
                    self._db.execute(
                        "UPDATE bodies SET packed = 0, data = ? WHERE hash = ?", (edited.encode("utf-8", "surrogatepass"), ref)
                    )
            self._db.execute("UPDATE chunks SET indexed = 0")
            self._merge()
        self._shrink()
        return count

    def _merge(self) -> None:
        self._recent = RecentTexts()
        self._db.execute("INSERT INTO words (words) VALUES ('optimize')")  # FTS5 keeps deleted words until it merges

    def _shrink(self) -> None:
        """Deleted bytes leave the file."""
        self._all("VACUUM")
        self._all("PRAGMA wal_checkpoint(TRUNCATE)")

    def rebuild(self, run: str) -> None:
        """Cuts and indexes a run's texts again; none of its chunks counts as indexed after."""
        with self._write():
            self._drop_chunks(run)
            for (seq,) in self._all("SELECT seq FROM segments WHERE run = ? ORDER BY seq", run):
                self._index(seq, self.at([seq])[seq])

    def _drop_chunks(self, run: str) -> None:
        self._drop_chunks_of("SELECT seq FROM segments WHERE run = ?", run)

    def _drop_chunks_of(self, mine: str, value: str) -> None:
        self._db.execute(f"DELETE FROM names WHERE chunk IN (SELECT id FROM chunks WHERE segment IN ({mine}))", (value,))
        self._db.execute(f"DELETE FROM words WHERE rowid IN (SELECT id FROM chunks WHERE segment IN ({mine}))", (value,))
        self._db.execute(f"DELETE FROM chunks WHERE segment IN ({mine})", (value,))

    # -- reading

    def get(self, id: str) -> Segment | None:
        return next(iter(self._segments("id = ?", id)), None)

    def by_handle(self, run: str, step: int, ordinal: int) -> Segment | None:
        """The observation of that handle."""
        where = "run = ? AND step = ? AND ordinal = ? AND kind = 'observation'"
        return next(iter(self._segments(where, run, step, ordinal)), None)

    def find(self, run: str, kind: Kind, *, url: str = "", args_hash: str = "", newest: int = 0) -> list[Segment]:
        where, values = "run = ? AND kind = ?", [run, kind]
        for column, value in (("url", url), ("args_hash", args_hash)):
            if value:
                where, values = f"{where} AND {column} = ?", [*values, value]
        if newest:
            where = f"seq IN (SELECT seq FROM segments WHERE {where} ORDER BY step DESC, seq DESC LIMIT {newest:d})"
        return self._segments(where, *values)

    def last_step(self, run: str, kinds: Sequence[Kind] = ()) -> int:
        where, values = where_of(Filter(run, kinds))
        return int(self._one(f"SELECT coalesce(max(s.step), 0) FROM segments s WHERE {where}", *values))

    def segments(self, run: str) -> Iterator[Segment]:
        """In the order of the run. Read in pages, so that a long run never stands in memory whole."""
        keys = self._all("SELECT seq FROM segments WHERE run = ? ORDER BY step, seq", run)
        for (seq,) in keys:
            yield from self._segments("seq = ?", seq)

    def at(self, seqs: Sequence[int]) -> dict[int, Segment]:
        """Segments by their place in the ledger."""
        listed = json.dumps(list(seqs))
        rows = self._all("SELECT seq, id FROM segments WHERE seq IN (SELECT value FROM json_each(?))", listed)
        found = {segment.id: segment for segment in self._segments("seq IN (SELECT value FROM json_each(?))", listed)}
        return {seq: found[id] for seq, id in rows}

    def _segments(self, where: str, *values: Any) -> list[Segment]:
        rows = self._all(f"SELECT {', '.join(_COLUMNS)} FROM segments WHERE {where} ORDER BY step, seq", *values)
        found = []
        for row in rows:
            fields = dict(zip(_COLUMNS, row, strict=True))
            del fields["id"]
            found.append(Segment(text=self.get_body(fields.pop("body")), **fields))
        return found

    def search(self, match: str, allowed: Filter, limit: int) -> tuple[list[int], list[int]]:
        """Chunks by BM25, best first: what the filter lets through; and the thoughts of the run among the very best, whatever it says.

        `match` is an FTS5 expression.
        """
        where, values = where_of(allowed)
        tail = "JOIN chunks c ON c.id = w.rowid JOIN segments s ON s.seq = c.segment WHERE"
        thought = "s.run = ? AND s.kind IN ('reasoning', 'call')"
        first = "(SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?) w"
        sql = f"SELECT c.id, {thought}, {where} FROM {first} {tail.removesuffix('WHERE')} ORDER BY w.rank, s.step, c.id"
        rows = self._all(sql, allowed.run, *values, match, max(_FIRST_LOOK, limit))
        found, thoughts = [id for id, _, let in rows if let][:limit], [id for id, own, _ in rows if own]
        if len(found) < limit and len(rows) >= _FIRST_LOOK:
            sql = f"SELECT c.id FROM words w {tail} {where} AND w.words MATCH ? ORDER BY w.rank, s.step, c.id LIMIT ?"
            found = [id for (id,) in self._all(sql, *values, match, limit)]
        return found, thoughts

    def frequency(self, expression: str) -> int:
        """In how many chunks an FTS5 expression is found, counted up to a limit: common is common."""
        return int(self._one("SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)", expression, COMMON))

    def size(self) -> int:
        """How many chunks there are, about: forgotten ones count."""
        return int(self._one("SELECT coalesce(max(id), 0) FROM chunks"))

    def titled(self, keys: Collection[str], allowed: Filter) -> list[int]:
        """The first chunks of the segments with one of these titles."""
        where, values = where_of(allowed)
        # Left to itself, SQLite looks through the whole run for each title.
        sql = f"""SELECT c.id FROM json_each(?) j CROSS JOIN segments s INDEXED BY segments_title ON s.title_key = j.value
                  JOIN chunks c ON c.segment = s.seq AND c.n = 0 WHERE {where} ORDER BY c.id"""
        return [id for (id,) in self._all(sql, json.dumps(sorted(keys)), *values)]

    def named(self, keys: Collection[str], *, most: int) -> dict[str, list[int]]:
        """The chunks that hold each of these names, for names that more than one chunk holds and at most so many."""
        some = "SELECT json_group_array(chunk) FROM (SELECT chunk FROM names WHERE name = j.value LIMIT ?)"
        rows = self._all(f"SELECT j.value, ({some}) FROM json_each(?) j ORDER BY j.key", most + 1, json.dumps(sorted(keys)))
        held = ((key, json.loads(ids)) for key, ids in rows)
        return {key: ids for key, ids in held if 2 <= len(ids) <= most}

    def turn_after(self, run: str, seq: int) -> tuple[list[int], int]:
        """What was read next after a thought, by its place, until the thought that came then; and that one's (0: none came)."""
        first = "SELECT min(seq) FROM segments NOT INDEXED WHERE seq > ? AND run = ? AND"
        read = self._one(f"{first} kind = 'observation'", seq, run)
        if read is None:
            return [], 0
        then = self._one(f"{first} kind IN ('reasoning', 'call')", read, run) or 0
        between = "SELECT seq FROM segments NOT INDEXED WHERE seq >= ? AND (? = 0 OR seq < ?) AND run = ? AND kind = 'observation' LIMIT ?"
        return [found for (found,) in self._all(between, read, then, then, run, MAX_ORDINALS)], then

    def chunks_of(self, seqs: Collection[int], allowed: Filter) -> list[int]:
        where, values = where_of(allowed)
        sql = f"""SELECT c.id FROM json_each(?) j JOIN segments s ON s.seq = j.value
                  JOIN chunks c ON c.segment = s.seq WHERE {where} ORDER BY c.id"""
        return [id for (id,) in self._all(sql, json.dumps(sorted(seqs)), *values)]

    def let_through(self, ids: Iterable[int], allowed: Filter) -> list[int]:
        where, values = where_of(allowed)
        sql = f"""SELECT c.id FROM json_each(?) j JOIN chunks c ON c.id = j.value
                  JOIN segments s ON s.seq = c.segment WHERE {where} ORDER BY c.id"""
        return [id for (id,) in self._all(sql, json.dumps(sorted(set(ids))), *values)]

    def chunks(self, ids: Sequence[int]) -> list[Chunk]:
        """In the order asked for."""
        sql = """SELECT c.id, c.segment, c.n, w.title, w.text, s.id || ':' || c.n, s.step, s.url, c.indexed, s.kind IN ('reasoning', 'call')
                 FROM json_each(?) j JOIN chunks c ON c.id = j.value JOIN words w ON w.rowid = c.id JOIN segments s ON s.seq = c.segment
                 ORDER BY j.key"""
        rows = self._all(sql, json.dumps(list(ids)))
        return [
            Chunk(id, segment, n, unmarked(title), unmarked(text), key, step, url, vectors, bool(asks))
            for id, segment, n, title, text, key, step, url, vectors, asks in rows
        ]

    def spans(self, segment: int) -> list[tuple[int, int]]:
        """Where a segment's chunks start and end, in order."""
        return [(start, end) for start, end in self._all('SELECT start, "end" FROM chunks WHERE segment = ? ORDER BY n', segment)]

    def count(self, run: str) -> tuple[int, int]:
        """Segments and chunks of a run."""
        segments = self._one("SELECT count(*) FROM segments WHERE run = ?", run)
        pieces = self._one("SELECT count(*) FROM chunks c JOIN segments s ON s.seq = c.segment WHERE s.run = ?", run)
        return segments, pieces

    # -- what the vector index has and lacks

    def pending(self, run: str, limit: int) -> list[Chunk]:
        """Chunks that are not indexed yet, oldest first."""
        sql = """SELECT c.id FROM chunks c JOIN segments s ON s.seq = c.segment
                 WHERE c.indexed = 0 AND s.run = ? ORDER BY c.id LIMIT ?"""
        return self.chunks([id for (id,) in self._all(sql, run, limit)])

    def mark_indexed(self, vectors: Mapping[int, int]) -> None:
        """So many vectors of these chunks are in the index."""
        with self._write():
            self._db.executemany("UPDATE chunks SET indexed = ? WHERE id = ?", [(n, id) for id, n in vectors.items()])

    def indexed_count(self, run: str) -> tuple[int, int]:
        """Chunks that are in the index, and their vectors."""
        sql = """SELECT count(*), coalesce(sum(c.indexed), 0) FROM chunks c JOIN segments s ON s.seq = c.segment
                 WHERE c.indexed > 0 AND s.run = ?"""
        [(chunks, vectors)] = self._all(sql, run)
        return chunks, vectors

    def indexed_keys(self, allowed: Filter, limit: int) -> list[str]:
        """Of vectors; at most those of `limit` chunks."""
        where, values = where_of(allowed)
        sql = f"""SELECT s.id || ':' || c.n, c.indexed FROM segments s JOIN chunks c ON c.segment = s.seq
                  WHERE {where} AND c.indexed > 0 LIMIT ?"""
        return [f"{key}:{w}" for key, n in self._all(sql, *values, limit) for w in range(n)]

    def reconcile(self, run: str, keys: set[str]) -> set[str]:
        """Marks as indexed exactly the chunks whose vectors are all among these keys. Returns the keys that are nobody's."""
        sql = "SELECT c.id, s.id || ':' || c.n, c.indexed FROM chunks c JOIN segments s ON s.seq = c.segment WHERE s.run = ?"
        counts = Counter(key.rpartition(":")[0] for key in keys)
        rows = self._all(sql, run)
        doubtful = self.chunks([id for id, key, n in rows if counts[key] != n])
        self.mark_indexed({chunk.id: len(chunk.windows()) if chunk.windows().keys() <= keys else 0 for chunk in doubtful})
        whole = {key for _, key, n in rows if n and counts[key] == n} | {chunk.key for chunk in doubtful if chunk.windows().keys() <= keys}
        return {key for key in keys if key.rpartition(":")[0] not in whole}

    def by_key(self, pairs: Sequence[tuple[str, float]], allowed: Filter) -> dict[int, float]:
        """Chunks by their key, where the filter lets them through, in the order given."""
        where, values = where_of(allowed)
        places = json.dumps([[*key.rsplit(":", 1), score] for key, score in pairs])
        sql = f"""SELECT c.id, j.value ->> 2 FROM json_each(?) j JOIN segments s ON s.id = j.value ->> 0
                  JOIN chunks c ON c.segment = s.seq AND c.n = CAST(j.value ->> 1 AS INTEGER) WHERE {where} ORDER BY j.key"""
        return dict(self._all(sql, places, *values))

    def close(self) -> None:
        self._db.close()


def _index_all(path: Path) -> None:
    with closing(Ledger(path)) as ledger, ledger._write():
        ledger._reindex()
