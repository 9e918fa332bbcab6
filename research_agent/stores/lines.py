"""A file that only grows, by whole lines. A line that a kill or a full disk has torn is left for what it is, and the next begins anew."""

from __future__ import annotations

import os
from pathlib import Path


class Lines:
    """Several may append to one file: each line is one write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = False

    def append(self, line: bytes) -> int:
        """The file's size after it. `line` ends with a line end and holds no other."""
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if not self._whole:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line
            self._whole = False  # unless all of this comes to be written
            while line:
                line = line[os.write(file, line) :]
            self._whole = True
            return os.fstat(file).st_size
        finally:
            os.close(file)
