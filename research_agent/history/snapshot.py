"""A run's databases as they are now, to be read without touching them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError


def snapshot(run: Run, name: str, into: Path) -> Path | None:
    """A copy of one of the run's databases, made beside whoever writes it; None if there is none. Raises RunError.

    A damaged one is copied as it is: whoever opens the copy can tell what of it is needed.
    """
    path, copy = run.folder / name, into / name
    if not path.is_file():
        return None
    try:
        if run.locked:
            _through_sqlite(path, copy)  # consistent, whatever is written meanwhile
        else:  # not through SQLite: it would fold a killed writer's log into the original
            shutil.copyfile(path, copy)
            log = path.with_name(f"{name}-wal")
            if log.is_file():
                shutil.copyfile(log, copy.with_name(f"{name}-wal"))
    except (OSError, sqlite3.Error) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return copy


def ledger(run: Run, into: Path) -> Ledger | None:
    """The run's, as it is now; None if there is none. Raises RunError and ArchiveError."""
    copy = snapshot(run, "ledger.sqlite", into)
    return Ledger(copy, copy_of=run.folder / copy.name) if copy else None


def _through_sqlite(path: Path, copy: Path) -> None:
    source, target = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10.0), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
