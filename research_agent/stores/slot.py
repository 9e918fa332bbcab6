"""The model call in flight (graphs.flight), in a file of the run's folder: written twice a turn, read only after a kill.

Each text is a line at the file's end, for a rename at each costs more than all else that a turn writes; the newest that is whole counts.
"""

from __future__ import annotations

import json
from pathlib import Path

from .lines import Lines
from .record import UNFINISHED

_MOST_BYTES = 1_000_000
"""A longer file is begun anew."""


class Slot:
    """One JSON text. Not synced to the disk: losing it with the power costs one call, made again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = Lines(path)
        self._size = path.stat().st_size if path.is_file() else 0
        self._text: str | None = None
        """What this process read or wrote last; no other writes here meanwhile."""

    def read(self) -> str:
        """Empty if there is none."""
        if self._text is None:
            self._text = self._read()
        return self._text

    def _read(self) -> str:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ""
        return next((line.decode("utf-8", "replace") for line in reversed(lines) if _whole(line)), "")

    def write(self, text: str) -> None:
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        if self._size + len(line) > _MOST_BYTES:
            new = self._path.with_name(f".{self._path.name}.{UNFINISHED}")
            new.write_bytes(line)
            new.replace(self._path)
            self._lines, self._size = Lines(self._path), len(line)
        else:
            self._size = self._lines.append(line)
        self._text = line.decode()[:-1]

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)
        self._size, self._text = 0, ""


def _whole(line: bytes) -> bool:
    try:
        return bool(line) and isinstance(json.loads(line), dict)
    except ValueError:
        return False
