"""What a run left behind, store by store, in a form in which two runs of one investigation are equal, and what is wrong within one."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from research_agent.memory.vectors import Vectors
from research_agent.testing.embedder import HashingEmbedder

_SAID = {
    "call": ("step", "name", "args", "sub_question"),
    "result": ("step", "name", "ok"),
    "finding": ("handle", "claim", "quote", "sub_question"),
    "turn": ("role", "reasoning", "content", "calls"),
    "sub_question": ("id", "question", "status", "answer"),
    "compaction": ("turns", "before_tokens", "after_tokens"),
    "review": ("verdict", "follow_ups"),
    "plan": ("brief", "plan"),
}
"""What an event says, less what a clock says."""
_DATES = re.compile(r"\d{4}-\d{2}-\d{2}(?:T[\d:]+Z)?| \d{1,2} \w+ 20\d{2}")


def story(folder: Path) -> dict[str, Any]:
    """Everything that two runs of one investigation have in common, by store."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    with closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        places = {id: (step, kind, n) for id, step, kind, n in ledger.execute("SELECT id, step, kind, ordinal FROM segments")}
        columns = "step, kind, ordinal, thread, trust, sub_question, tool, url, title, tokens, args_hash, quote, body, title_key"
        rows = ledger.execute(f"SELECT source, supersedes, {columns} FROM segments").fetchall()
        segments = sorted(repr((places.get(source), places.get(old), *rest)) for source, old, *rest in rows)
        bodies = sorted(ref for (ref,) in ledger.execute("SELECT hash FROM bodies"))
        chunks = ledger.execute(
            """SELECT s.step, s.kind, s.ordinal, c.n, c.start, c."end", w.title, w.text FROM chunks c
               JOIN segments s ON s.seq = c.segment JOIN words w ON w.rowid = c.id ORDER BY 1, 2, 3, 4"""
        ).fetchall()
    with closing(sqlite3.connect(folder / "checkpoints.sqlite", check_same_thread=False)) as db:
        last = next(iter(SqliteSaver(db).list({"configurable": {"thread_id": folder.name}}, limit=1)))
        kept = ("question", "brief", "plan", "head", "turns", "calls", "step", "turn", "reviews", "failures", "stopped", "report", "opened")
        values = last.checkpoint["channel_values"]
        state = json.loads(json.dumps({key: values.get(key) for key in kept}).replace(folder.name, "RUN"))
        for ref in (*state["head"], *state["turns"]):
            ref["segments"] = sorted(repr(places.get(id)) for id in ref["segments"])
    events = Counter(
        repr([event.get(name) for name in ("type", *_SAID[event["type"]])]) for event in _events(folder) if event["type"] in _SAID
    )
    return {
        "ledger: segments": segments,
        "ledger: bodies": bodies,
        "ledger: chunks and words": chunks,
        "state": state,
        "events": sorted(events.elements()),
        "findings": [{**item, "id": ""} for item in _json(folder, "findings.json")],
        "sources": [{**item, "id": "", "retrieved_at": ""} for item in _json(folder, "sources.json")],
        "report": _DATES.sub("", (folder / "report.md").read_text("utf-8")),
        "files": sorted(str(path.relative_to(folder)) for path in _files(folder)),
    }


def differences(folder: Path, reference: Path) -> list[str]:
    """In which stores a run differs from its reference, and how; none if it is the same."""
    one, other = story(folder), story(reference)
    return [f"{name}: {_first(one[name], other[name])}" for name in one if one[name] != other[name]]


def _first(one: Any, other: Any) -> str:
    if isinstance(one, list) and isinstance(other, list):
        more = [item for item in one if item not in other][:2] or [f"{len(one)} items"]
        less = [item for item in other if item not in one][:2] or [f"{len(other)} items"]
        return f"{str(more)[:400]} where the reference has {str(less)[:400]}"
    if isinstance(one, dict) and isinstance(other, dict):
        return "; ".join(f"{key}: {_first(one[key], other[key])}" for key in one if one[key] != other.get(key))
    return f"{str(one)[:300]!r} where the reference has {str(other)[:300]!r}"


def faults(folder: Path, *, embedder: HashingEmbedder | None = None) -> list[str]:
    """What is wrong within a run that has ended: orphans, doubles, stores that do not agree."""
    return [
        *_of_the_ledger(folder / "ledger.sqlite"),
        *_of_the_checkpoints(folder / "checkpoints.sqlite"),
        *_of_the_vectors(folder, embedder),
    ]


def _of_the_ledger(path: Path) -> Iterator[str]:
    counts = {
        "segments without their text": "SELECT count(*) FROM segments WHERE body NOT IN (SELECT hash FROM bodies)",
        "findings without their source": "SELECT count(*) FROM segments WHERE kind = 'finding' AND source NOT IN (SELECT id FROM segments)",
        "segments twice": "SELECT count(*) - count(DISTINCT run || thread || step || kind || ordinal) FROM segments",
        "chunks of no segment": "SELECT count(*) FROM chunks WHERE segment NOT IN (SELECT seq FROM segments)",
        "chunks without words": "SELECT count(*) FROM chunks WHERE id NOT IN (SELECT rowid FROM words)",
        "words of no chunk": "SELECT count(*) FROM words WHERE rowid NOT IN (SELECT id FROM chunks)",
        "names of no chunk": "SELECT count(*) FROM names WHERE chunk NOT IN (SELECT id FROM chunks)",
    }
    with closing(sqlite3.connect(path)) as db:
        for what, sql in counts.items():
            if number := db.execute(sql).fetchone()[0]:
                yield f"ledger: {number} {what}"
        if (said := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            yield f"ledger: {said}"
        try:
            db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            yield f"ledger: words: {error}"


def _of_the_checkpoints(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as db:
        lost = "SELECT count(*) FROM writes w WHERE NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.checkpoint_id = w.checkpoint_id)"
        if number := db.execute(lost).fetchone()[0]:
            yield f"checkpoints: {number} writes of no checkpoint"


def _of_the_vectors(folder: Path, embedder: HashingEmbedder | None) -> Iterator[str]:
    if embedder is None:
        return
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        pieces = dict(db.execute("SELECT s.id || ':' || c.n, indexed FROM chunks c JOIN segments s ON s.seq = c.segment"))
        pending = db.execute("SELECT count(*) FROM chunks WHERE indexed = 0").fetchone()[0]
    wanted = {f"{key}:{window}" for key, windows in pieces.items() for window in range(windows)}
    vectors = Vectors.open(folder / "vectors", run=folder.name, identity=embedder.identity, dimensions=embedder.dimensions)
    try:
        held = vectors.keys()
    finally:
        vectors.close()
    if pending or held != wanted:
        yield f"vectors: {pending} chunks pending, {len(wanted - held)} missing, {len(held - wanted)} of nobody"


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / "events.jsonl").read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue  # the run was killed in the middle of it


def _json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def _files(folder: Path) -> Iterator[Path]:
    return (
        path for path in folder.rglob("*") if path.is_file() and "vectors" not in path.parts and not path.name.endswith(("-wal", "-shm"))
    )
