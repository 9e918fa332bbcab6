"""Keeps what code wrote into a run's workspace as assets: copies under safe names, and a list of them.

The code's own folder stays the code's. A copy is made of a regular file only, never through a link; whatever the code does later, the
copy stays what it was.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from research_agent.assets.kinds import FIGURES, dimensions, is_meant, refusal, suffix_of

MAX_COUNT = 60
MAX_BYTES = 5 * 2**20
"""Of one asset."""
MAX_TOTAL_BYTES = 60 * 2**20
MAX_NAME_CHARS = 60
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Through no link, and without waiting for a pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file in the run's `assets/`."""

    name: str
    """Letters, digits, `.`, `_` and `-` only."""
    step: int
    """The call that wrote it; 0 if nobody knows."""
    bytes: int
    made_as: str
    """Its path in the workspace."""
    width: int = 0
    """Of a figure, in pixels; 0 for other files."""
    height: int = 0

    @property
    def is_figure(self) -> bool:
        return self.width > 0

    @property
    def media_type(self) -> str:
        return FIGURES.get(suffix_of(self.name), "application/octet-stream")

    @property
    def path(self) -> str:
        """As a report names it."""
        return f"assets/{self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    assets: tuple[Asset, ...]
    refused: tuple[str, ...]
    """`name: reason`, a line each."""


class Assets:
    """A run's assets: the folder `assets/`, and `assets.json`, which says what is in it."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the run's."""
        self._folder = folder / "assets"
        self._list = folder / "assets.json"

    def listed(self) -> tuple[Asset, ...]:
        """Those that are there, in the order they were first made. A list that cannot be read is an empty one."""
        return tuple(asset for asset in self._read().values() if self._path(asset.name).is_file())

    def data(self, asset: Asset) -> bytes:
        """Raises OSError."""
        return _contents(self._path(asset.name), MAX_BYTES)

    def keep(self, workspace: Path, names: Iterable[str], *, step: int) -> Kept:
        """Copies files of `workspace`, named by their paths in it. One made again replaces what it was."""
        known, kept, refused = self._read(), list[Asset](), list[str]()
        for path in filter(_is_meant, names):
            made_as = _printable(path)
            try:
                data = _contents(_inside(workspace, path), MAX_BYTES)
            except OSError as error:
                refused.append(f"{made_as}: {error.strerror or error}")
                continue
            name = next((asset.name for asset in known.values() if asset.made_as == made_as), "") or _free(made_as, known)
            suffix = suffix_of(name)
            if reason := refusal(suffix, data) or _too_much(name, len(data), known):
                refused.append(f"{made_as}: {reason}")
                continue
            width, height = (dimensions(data) or (0, 0)) if suffix in FIGURES else (0, 0)
            asset = Asset(name=name, step=step, bytes=len(data), made_as=made_as, width=width, height=height)
            _write(self._path(name), data)
            known[name] = asset
            kept.append(asset)
        if kept:
            rows = [asdict(asset) for asset in known.values()]
            _write(self._list, (json.dumps(rows, ensure_ascii=False, indent=2) + "\n").encode())
        return Kept(tuple(kept), tuple(refused))

    def copied(self, folder: Path, *, upto: int) -> None:
        """For a fork: those made by a step, into another run's folder and into the workspace that its code will find."""
        for asset in self.listed():
            if asset.step <= upto:
                workspace = folder / "workspace"
                made_as = workspace / asset.made_as
                if made_as.resolve().is_relative_to(workspace.resolve()):
                    made_as.parent.mkdir(parents=True, exist_ok=True)
                    _write(made_as, self.data(asset))
                    made_as.chmod(0o644)
                    Assets(folder).keep(workspace, [asset.made_as], step=asset.step)

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _read(self) -> dict[str, Asset]:
        try:
            rows = json.loads(self._list.read_text("utf-8"))
            return {row["name"]: Asset(**row) for row in rows if safe(row["name"]) == row["name"]}
        except (OSError, ValueError, TypeError, KeyError):
            return {}


def safe(name: str) -> str:
    """A name that means the same in a shell, a link and every file system; its suffix stays."""
    stem, suffix = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(name).stem).strip("-"), suffix_of(name)
    return f"{stem[:MAX_NAME_CHARS].strip('-') or 'file'}.{re.sub(r'[^a-z0-9]', '', suffix)[:10] or 'bin'}"


def _free(made_as: str, known: Mapping[str, Asset]) -> str:
    """The file's own name if no other file has it, else one with a number."""
    name = safe(made_as)
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    taken = {asset.lower() for asset in known}
    number = 2
    while name.lower() in taken:
        name = f"{stem}-{number}{suffix}"
        number += 1
    return name


def _too_much(name: str, size: int, known: Mapping[str, Asset]) -> str:
    others = [asset for asset in known.values() if asset.name != name]
    if len(others) >= MAX_COUNT:
        return f"a run keeps {MAX_COUNT} files at most"
    total = sum(asset.bytes for asset in others) + size
    return f"a run keeps {MAX_TOTAL_BYTES // 2**20} MB at most" if total > MAX_TOTAL_BYTES else ""


def _is_meant(path: str) -> bool:
    hidden = any(part.startswith((".", "__pycache__")) for part in PurePosixPath(path).parts)
    return not hidden and is_meant(suffix_of(path))


def _inside(workspace: Path, path: str) -> Path:
    """No folder on the way may be a link out."""
    if not (workspace / path).parent.resolve().is_relative_to(workspace.resolve()):
        raise OSError(0, "outside of the workspace")
    return workspace / path


def _contents(path: Path, most: int) -> bytes:
    """Of a regular file that is no link. Raises OSError, with the reason as its `strerror`."""
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > most:
            raise OSError(0, f"larger than {most // 2**20} MB")
        return file.read(most)


def _write(path: Path, data: bytes) -> None:
    """The whole file or nothing of it; a link that stands there is replaced, not followed."""
    path.parent.mkdir(exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".asset.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() and char not in "<>&" else "?" for char in name)[:120]
