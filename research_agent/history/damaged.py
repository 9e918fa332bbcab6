"""Whether a run can be gone on with, as far as its databases tell: looked at without touching them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from research_agent.history.snapshot import ledger, snapshot
from research_agent.memory import ArchiveError, damage
from research_agent.memory.reading import Reader
from research_agent.runs import Run, RunError
from research_agent.stores.checkpoints import mend

LEFT = ("interrupted", "incomplete", "failed", "waiting")
"""How a run stands that may be gone on with."""


def seen_at_once(run: Run) -> str:
    """A database that cannot even be opened; empty if there is none. It costs a list of many runs no time."""
    for path in (run.folder / "ledger.sqlite", run.checkpoints):
        if path.is_file() and path.stat().st_size and not _opens(path):
            return f"{path} is damaged: `research-agent show {run.name}` says what can be done"
    return ""


def _opens(path: Path) -> bool:
    try:
        reader = Reader(path)
        try:
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            reader.close()
    except sqlite3.DatabaseError as error:
        return not damage.is_damage(error)
    return True


def in_the_way(run: Run) -> str:
    """What a resume would refuse the run for, and what is to be done first; empty if nothing. Tried on copies."""
    with TemporaryDirectory(prefix="research-agent-") as temporary:
        try:
            if (copy := ledger(run, Path(temporary))) is not None:
                copy.close()
            if (file := snapshot(run, run.checkpoints.name, Path(temporary))) is not None and not damage.sound(file):
                mend(file, lambda text: None, run.checkpoints)
        except (ArchiveError, RunError) as error:
            return str(error)
    return ""
