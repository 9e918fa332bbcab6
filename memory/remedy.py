"""What to type to mend a memory."""

from __future__ import annotations

import shlex
from pathlib import Path

RUNS = Path("runs")
"""Where `research-agent` looks for a run by its id, unless `--out` says otherwise."""


def name_of(folder: Path) -> str:
    """What a command finds a run by: its id if it is looked for where it is, else its folder."""
    return folder.name if folder.absolute().parent == RUNS.absolute() else shlex.quote(str(folder))


def rebuild_of(folder: Path) -> str:
    return f"`research-agent memory rebuild {name_of(folder)}`"
