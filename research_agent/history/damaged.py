"""Whether a run can be gone on with, as far as its databases tell: looked at without touching them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from research_agent.history.snapshot import snapshot
from research_agent.memory import ArchiveError, damage
from research_agent.memory.ledger import Ledger
from research_agent.memory.reading import Reader
from research_agent.runs import Run, RunError
from research_agent.stores.checkpoints import mend

_MAGIC = b"SQLite format 3\0"
LEFT = ("interrupted", "incomplete", "failed", "waiting")
"""How a run stands that may be gone on with."""


def seen_at_once(run: Run) -> str:
    """A database that cannot even be opened; empty if there is none. It costs a list of many runs no time."""
    for path in (run.folder / "ledger.sqlite", run.checkpoints):
        if _readable(path) and not _opens(path):
            return f"{path} is damaged: `research-agent show {run.name}` says what can be done"
    return ""


def _readable(path: Path) -> bool:
    """What this user may not read is another's to judge."""
    return path.is_file() and os.access(path, os.R_OK) and path.stat().st_size > 0


def _opens(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) == _MAGIC:
            return True
    try:  # its log may hold another first page
        reader = Reader(path)
        try:
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            reader.close()
    except sqlite3.DatabaseError as error:
        return not damage.is_damage(error)
    return True


def in_the_way(run: Run) -> str:
    """What of its databases is so damaged that a resume would refuse it, and what is to be done first; empty if nothing.

    Tried on copies.
    """

    def opened(copy: Path, path: Path) -> None:
        if path == run.checkpoints:
            mend(copy, lambda text: None, path)
        else:
            Ledger(copy, copy_of=path).close()

    with TemporaryDirectory(prefix="research-agent-") as folder:
        for path in (run.folder / "ledger.sqlite", run.checkpoints):
            copy = snapshot(run, path.name, Path(folder)) if _readable(path) else None
            if copy is not None and not damage.sound(copy):
                try:
                    opened(copy, path)
                except (ArchiveError, RunError) as error:
                    return str(error)
    return ""
