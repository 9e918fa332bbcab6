"""A run is a folder: everything of it is below it, so that it can be moved, resumed elsewhere and deleted whole."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

RECORD = "run.json"
_UNFINISHED = "unfinished"
_GLANCE_S = 0.2
"""For so long a lock is waited for: whoever only looks whether a run is worked on holds it for a moment."""


class RunError(Exception):
    """A run that cannot be found, read or opened: one line."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and the names in it."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints.sqlite"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def assets(self) -> Path:
        return self.folder / "assets"

    def read(self) -> dict[str, Any]:
        """run.json."""
        path = self.folder / RECORD
        try:
            record = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from error
        if not isinstance(record, dict):
            raise RunError(f"{path}: not a run's record")
        return record

    def update(self, **fields: Any) -> dict[str, Any]:
        """run.json with these fields changed: the whole file, at once."""
        path = self.folder / RECORD
        record = {**(self.read() if path.exists() else {}), **fields, "updated": now()}
        self.write(RECORD, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
        return record

    def write(self, name: str, text: str) -> Path:
        """A file of the run, replaced whole or not at all."""
        path = self.folder / name
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.", suffix=f".{_UNFINISHED}")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    def tidy(self) -> None:
        """Removes what a process that was killed in a `write` left. For whoever holds the lock."""
        for left in self.folder.glob(f".*.{_UNFINISHED}"):
            left.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a process works on the run. A dead process's lock is free: the kernel lets it go."""
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=_GLANCE_S, poll_interval=0.02)
        except Timeout:
            raise RunError(f"run {self.id} is being worked on by another process; wait for it, or stop it first") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def locked(self) -> bool:
        try:
            with self.lock():
                return False
        except RunError:
            return True

    def status(self) -> str:
        """As recorded; a run recorded as running that nobody works on was interrupted."""
        status = str(self.read().get("status", "unknown"))
        return "interrupted" if status == "running" and not self.locked else status


class Slot:
    """The model call in flight (graphs.flight). Not synced to the disk: losing it with the power costs one call, made again."""

    def __init__(self, run: Run) -> None:
        self._path = run.folder / "call.json"

    def read(self) -> str:
        try:
            return self._path.read_text("utf-8")
        except FileNotFoundError:
            return ""

    def write(self, text: str) -> None:
        new = self._path.with_name(f".call.json.{_UNFINISHED}")
        new.write_text(text, "utf-8", errors="backslashreplace")
        new.replace(self._path)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def create(out: Path, question: str, **record: Any) -> Run:
    """A new run's folder, with its record."""
    with built(out, question, **record) as run:
        pass
    return Run(out.resolve() / run.id)


def new_id(question: str) -> str:
    slug = "-".join(re.findall(r"[a-z0-9]+", question.lower()))[:40].strip("-") or "run"
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug}-{secrets.token_hex(2)}"


@contextmanager
def built(out: Path, question: str, **record: Any) -> Iterator[Run]:
    """A run's folder to be filled, under its id but out of sight; it is in `out` when this ends well, and gone when it does not."""
    hidden = out.resolve() / f".{secrets.token_hex(4)}.{_UNFINISHED}"
    run = Run(hidden / new_id(question))
    try:
        run.folder.mkdir(parents=True, mode=0o700)  # what was read may be private
        run.assets.mkdir()
        run.update(id=run.id, question=question, status="running", reason="", created=now(), **record)
        _sweep(out)
        yield run
        os.replace(run.folder, hidden.parent / run.id)
    except OSError as error:
        raise RunError(f"cannot make the folder of run {run.id} in {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Removes what processes left that were killed in `built`: nobody takes an hour for it."""
    for left in out.glob(f".*.{_UNFINISHED}"):
        with suppress(FileNotFoundError):  # another may sweep too
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)


def find(name: str, out: Path) -> Run:
    """A run by its id, the beginning of its id if only one begins so, or its folder."""
    for folder in (Path(name), out / name):
        if (folder / RECORD).is_file():
            return Run(folder.resolve())
    begun = [run for run in runs(out) if run.id.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    which = f"{len(begun)} runs begin with {name!r}" if begun else f"no run {name!r}"
    raise RunError(f"{which} in {out}; `research-agent list --out DIR` shows the runs there are")


def runs(out: Path) -> list[Run]:
    """The runs in a folder, the oldest first."""
    if not out.is_dir():
        return []
    return [Run(folder.resolve()) for folder in sorted(out.iterdir()) if folder.name[0] != "." and (folder / RECORD).is_file()]
