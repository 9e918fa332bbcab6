"""What a run met that it could not foresee, in the order it met it: `records.sqlite`. Texts stand in the ledger, by their hash.

kind     key        data
session             how a session began: its start, limits, models, tools, what it left out because it was lost
fork                what a fork changed before its first session
ask      role       a request to a model (messages and tools by hash) and the reply, or the failure
kept     role       the same, of a reply that came before a kill and was gone on with after it (only in what `current` gives, and in forks)
use      call id    what a tool brought: texts by their place in the ledger, or the failure
recall              what the archive gave for a query
step                the step that a turn followed on, where that was not its state's
assets              what code had made, where it was asked for
minutes             from here on the limit of minutes was reached
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from research_agent.memory import damage
from research_agent.runs import RunError

NAME = "records.sqlite"
VERSION = 1
Kind = Literal["session", "fork", "ask", "kept", "use", "recall", "step", "assets", "minutes"]
_REQUESTS = ("ask", "kept")


@dataclass(frozen=True, slots=True)
class Record:
    session: int
    at: int
    """LangGraph's number of the super-step; of a session, of the checkpoint that it began from, and -2 where there was none."""
    kind: Kind
    key: str
    data: dict[str, Any]


class Records:
    """One file, written by the process that works on the run. A killed process loses none; a power cut may lose the last ones."""

    mended: str = ""
    """What was made anew because it was damaged. The investigation does not hang on it: a replay does, and what a step was asked."""

    def __init__(self, path: Path) -> None:
        """Raises RunError for a newer version's, and for a disk that fails."""
        self._before: list[str] = []
        try:
            self.mended = _mended(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            _create(self._db, path)
        except sqlite3.DatabaseError as error:
            raise RunError(f"{path} cannot be read as a run's records: {error}") from error

    def add(self, record: Record) -> None:
        data = record.data
        if record.kind in _REQUESTS:  # consecutive requests share most of their messages: only what is new is written
            messages = data["messages"]
            same = _shared(self._before, messages)
            self._before = messages
            data = {**data, "same": same, "messages": messages[same:]}
        packed = zlib.compress(json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"), 3)
        columns = (record.session, record.at, record.kind, record.key, packed)
        self._db.execute("INSERT INTO records (session, at, kind, key, data) VALUES (?, ?, ?, ?, ?)", columns)

    def all(self) -> list[Record]:
        """In their order, without those that damage took: nor requests of which it took the part that they share with one before."""
        found: list[Record] = []
        before: list[str] | None = []
        last = 0
        for seq, session, at, kind, key, packed in self._db.execute("SELECT seq, session, at, kind, key, data FROM records ORDER BY seq"):
            data = _unpacked(packed)
            if data is None:
                continue
            before, last = None if seq != last + 1 else before, seq
            if kind in _REQUESTS:
                same = data.pop("same")
                if same and before is None:
                    continue
                before = [*(before or ())[:same], *data["messages"]]
                data["messages"] = before
            found.append(Record(session, at, kind, key, data))
        return found

    def recalls(self, at: int) -> list[Record]:
        """What the last session that came to a super-step recalled in it."""
        rows = self._db.execute("SELECT session, data FROM records WHERE kind = 'recall' AND at = ? ORDER BY seq", (at,))
        read = [(session, _unpacked(packed)) for session, packed in rows]
        found = [Record(session, at, "recall", "", data) for session, data in read if data is not None]
        return [record for record in found if record.session == found[-1].session]

    def sessions(self) -> int:
        """How many there were."""
        return int(self._db.execute("SELECT coalesce(max(session), 0) FROM records").fetchone()[0])

    def close(self) -> None:
        self._db.close()


def _create(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise RunError(f"{path} has schema {version}, written by a newer research-agent; this one reads up to {VERSION}: update it")
    db.execute(
        "CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, session INTEGER NOT NULL, at INTEGER NOT NULL,"
        " kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL)"
    )
    db.execute(f"PRAGMA user_version = {VERSION}")


def _mended(path: Path) -> str:
    """Of a damaged file what can be read, in its place, and that in words."""
    if damage.sound(path):
        return ""
    new, saved = damage.rescue(path, lambda db: _create(db, path), ("records",))
    kept = damage.adopt(new, path)
    differs = "" if saved.whole else ": a replay will not be whole"
    return f"{path.name} was damaged and is made anew, {saved}{differs}; the damaged one is {kept.name}"


def _unpacked(packed: bytes) -> dict[str, Any] | None:
    """None for what is not what was written: a text within a page may be damaged, and its database not know."""
    try:
        data: dict[str, Any] = json.loads(zlib.decompress(packed).decode("utf-8", "surrogatepass"))
    except (zlib.error, ValueError):
        return None
    return data


def current(records: Iterable[Record]) -> list[Record]:
    """Without what was done in vain: of a super-step that was cut and run again, what its last session met.

    Where a killed process left word of its model calls, the next session went by that: a request whose reply was kept is `kept`. A tool
    call that was finished before the cut is not made again, so it counts, whichever session made it. What a session did whose checkpoints
    were lost since counts as far as the next one began.
    """
    kept = _led_on(records)
    last: dict[tuple[int, str, str], int] = {}
    for record in kept:
        if record.kind not in ("session", "fork"):
            last[_task(record)] = record.session
    cut = {record.at + 1: record for record in kept if record.kind == "session" and record.data.get("cut")}
    cut = {at: record for at, record in cut.items() if last.get((at, "ask", ""), 0) <= record.session}  # else it was asked anew since
    answered = {
        (record.at, record.data["call"]): n
        for n, record in enumerate(kept)
        if record.kind == "ask" and record.at in cut and record.session < cut[record.at].session and _goes_on(record, cut[record.at])
    }
    found: list[Record] = []
    for n, record in enumerate(kept):
        if record.kind == "ask" and record.at in cut and record.session < cut[record.at].session:
            if answered.get((record.at, record.data.get("call"))) == n:
                found.append(replace(record, kind="kept"))
        elif record.kind in ("session", "fork", "kept") or last[_task(record)] == record.session:
            found.append(record)
    return found


def _led_on(records: Iterable[Record]) -> list[Record]:
    """Without what was recorded after a checkpoint that a later session began from."""
    kept: list[Record] = []
    for record in records:
        if record.kind == "session" and record.at > -2:
            kept = [one for one in kept if one.at <= record.at + (one.kind not in ("session", "fork"))]
        elif record.kind == "session" and record.data.get("spent"):  # it began again
            kept = []
        kept.append(record)
    return kept


def _goes_on(ask: Record, cut: Record) -> bool:
    """Whether the reply is the one that the session after the cut found and went on with."""
    number, left = ask.data.get("call", -1), cut.data["cut"]
    return "reply" in ask.data and 0 <= number < len(left) and "message" in left[number]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items two lists begin with in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _task(record: Record) -> tuple[int, str, str]:
    if record.kind == "use":
        return record.at, "use", record.key
    return record.at, record.kind, ""
