"""A report written anew: the earlier one is kept beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from research_agent.runs import Run, RunError

STEM = "report"


TABLES = ("findings", "sources")


def keep_earlier(run: Run, *more: str) -> list[Path]:
    """Copies of the report's files, and of `more`, as `report.1.md`; the number is the next that is free."""
    files = [path for stem in (STEM, *more) for path in run.folder.glob(f"{stem}.*") if path.name.count(".") == 1]
    number = 1
    while any(run.folder.glob(f"{STEM}.{number}.*")):
        number += 1
    try:
        return [Path(shutil.copy2(path, path.with_name(f"{path.stem}.{number}{path.suffix}"))) for path in sorted(files)]
    except OSError as error:
        raise RunError(f"{run.folder}: its report cannot be kept, and is not written anew: {error.strerror or error}") from error
