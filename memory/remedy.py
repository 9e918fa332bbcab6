"""What to type to mend a memory."""

from __future__ import annotations

import shlex
from pathlib import Path

RUNS = Path("runs")
"""Where `research-agent` looks for a run by its id, unless `--out` says otherwise."""


def name_of(folder: Path) -> str:
    """What a command finds a run by: its id if it is looked for where it is, else its folder."""
    return folder.name if folder.absolute().parent == RUNS.absolute() else shlex.quote(str(folder))


def rebuild_of(folder: Path, *, embedder: str = "") -> str:
    """`embedder`: by this one from now on, by its identity."""
    by = f" --embedder {shlex.quote(_spec(embedder))}" if embedder else ""
    return f"`research-agent memory rebuild {name_of(folder)}{by}`"


def either(folder: Path, *, had: str, has: str) -> str:
    """What goes on with a memory whose vectors are another embedder's."""
    return f"{rebuild_of(folder, embedder=has)} makes them anew, or go on with those by memory.embedder: {_spec(had)}"


def _spec(identity: str) -> str:
    """What memory.embedder calls an embedder."""
    return "onnx" if identity.startswith("onnx:") else identity
