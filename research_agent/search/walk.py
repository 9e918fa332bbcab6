"""Which files a folder holds. What is hidden, or a tool's own, is left out in silence; what cannot be followed is named."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from research_agent.reading.page import MAX_BYTES

JUNK = frozenset({"node_modules", "__pycache__", "venv", "site-packages", "__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Entry:
    path: str
    """Below the root, with `/`; bytes that are no UTF-8 as surrogate escapes."""
    size: int
    stamp: str
    """Changes when the file is written to."""
    changed_ns: int


def hidden(name: str) -> bool:
    return name.startswith(".") or name in JUNK or name.endswith(".egg-info")


def walk(root: Path, skip: Callable[[str, str], None], exclude: frozenset[str] = frozenset()) -> Iterator[Entry]:
    """Regular files below `root` (resolved), in order. `skip(path, reason)` is told what is left out; `exclude` holds resolved folders.

    No link is followed: one to a file of the folder would only show it twice, and one that leads out might lead anywhere.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise
            skip(folder, reason(error))
            continue
        folders = []
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if hidden(entry.name) or entry.path in exclude:
                continue
            try:
                if entry.is_symlink():
                    if not Path(entry.path).resolve(strict=True).is_relative_to(root):
                        skip(path, "a link out of the folder")
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    continue
                status = entry.stat(follow_symlinks=False)
            except (OSError, RuntimeError) as error:  # a link in a loop is a RuntimeError before Python 3.13
                skip(path, "a broken link" if entry.is_symlink() else reason(error))
                continue
            if stat.S_ISREG(status.st_mode):
                changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
                yield Entry(path, status.st_size, stamp(status), changed_ns)
            else:
                skip(path, "not a regular file")
        waiting.extend(reversed(folders))


def stamp(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def contents(path: Path) -> bytes:
    """At most a byte more than `reading.MAX_BYTES`. Follows no link and awaits no pipe: a file may have become one."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        return file.read(MAX_BYTES + 1)


def reason(error: Exception) -> str:
    """`permission denied`, without the path that stands beside it."""
    if isinstance(error, FileNotFoundError):
        return "vanished while it was being read"
    return str(getattr(error, "strerror", None) or error).lower()


def printable(path: str) -> str:
    """A path that can be shown, stored and sent: where a name holds control characters or broken UTF-8, these are percent-encoded."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() and char != "%" else _percent(char) for char in path)


def _percent(char: str) -> str:
    raw = char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in raw)
