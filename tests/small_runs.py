"""A small run over the examples, to be damaged or gone on with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from research_agent import Config
from research_agent.memory import Segment

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def config(tmp_path: Path, **changes: Any) -> Config:
    mapping = {
        "question": "Is it safe when two processes write vectors to one Chroma folder?",
        "search": {"folder": str(EXAMPLES / "corpus")},
        "python": {"enabled": False},
        "memory": {"embedder": "none"},
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "runs"),
        **changes,
    }
    return Config.from_mapping(mapping, base=tmp_path)


def page(step: int, text: str, **more: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted", **more)


def root_of(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])
