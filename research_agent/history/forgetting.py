"""Removes a run, and looks whether it is gone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from research_agent.runs import Run, RunError


@dataclass(frozen=True, slots=True)
class Removed:
    files: int
    size_bytes: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.folder}: {self.files} files, {self.size_bytes / 1e6:.1f} MB"


def forget(run: Run) -> Removed:
    """The whole folder. Raises RunError for a run that somebody works on, and for what could not be removed."""
    with run.lock():
        removed = _measured(run.folder)
        try:
            # Out of sight first: a folder that is half deleted would be listed as a damaged run.
            hidden = run.folder.with_name(f".forgotten-{run.id}")
            os.replace(run.folder, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise RunError(f"{run.folder} is not wholly removed: {error.strerror or error}: {error.filename}") from error
    if left := [path for path in (run.folder, hidden) if path.exists()]:
        raise RunError(f"{left[0]} is still there: somebody wrote into it meanwhile; remove it again")
    return removed


def _measured(folder: Path) -> Removed:
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return Removed(len(files), sum(path.lstat().st_size for path in files), folder)
