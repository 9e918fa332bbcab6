"""The files that code works on, as they stood before a call: one that was cut runs again, and must not find its own traces."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MOST_BYTES = 64 * 2**20
"""More is not copied before each call: then a call that is cut may find what it wrote."""


class Before:
    """A copy of a workspace beside it, of the call that is under way."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._under_way = False

    def begin(self, step: int) -> None:
        """Puts the files back as they were if this step's call was begun before, and not ended."""
        self._under_way = True
        copy = self._workspace.with_name(f".{self._workspace.name}.before-{step}")
        if copy.is_dir():
            shutil.rmtree(self._workspace, ignore_errors=True)
            _copied(copy, self._workspace)
            return
        self._remove()
        if _size(self._workspace) <= MOST_BYTES:
            half = copy.with_name(f"{copy.name}.unfinished")
            try:
                _copied(self._workspace, half)
                half.rename(copy)
            except OSError:  # a file that cannot be copied, a full disk: code runs all the same, as it would of a larger folder
                shutil.rmtree(half, ignore_errors=True)

    def end(self) -> None:
        self._under_way = False

    def close(self) -> None:
        """Nobody needs the copy, unless a call is cut."""
        if not self._under_way:
            self._remove()

    def _remove(self) -> None:
        for copy in self._workspace.parent.glob(f".{self._workspace.name}.before-*"):
            shutil.rmtree(copy, ignore_errors=True)


def _copied(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=_no_files, dirs_exist_ok=True)
        if os.geteuid() == 0:  # code of root's runs as nobody
            for path in [target, *target.rglob("*")]:
                status = (source / path.relative_to(target)).lstat()
                os.lchown(path, status.st_uid, status.st_gid)


def _no_files(folder: str, names: list[str]) -> set[str]:
    """Pipes and sockets, which cannot be copied; and caches."""
    here = Path(folder)
    return {
        name for name in names if name == ".cache" or not ((here / name).is_symlink() or (here / name).is_file() or (here / name).is_dir())
    }


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
