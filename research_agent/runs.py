"""A run is a folder: everything of it is below it, so that it can be moved, resumed elsewhere and deleted whole."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research_agent.memory.remedy import name_of
from research_agent.stores import lock
from research_agent.stores.errors import NoRun, NotAName, RunError
from research_agent.stores.record import HALF_FORGOTTEN, RECORD, UNFINISHED, has_record, is_left_of_one, read_record, replace, write_record

__all__ = ["RECORD", "Run", "RunError", "create", "find", "now", "runs"]


NAMED = 5
"""Of the runs that an id may mean, so many are named."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and the names in it."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """What a command finds it by: its id, or its folder where that is none of `./runs`."""
        return name_of(self.folder)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints.sqlite"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def call(self) -> Path:
        """The model call in flight (stores.slot)."""
        return self.folder / "call.json"

    @property
    def assets(self) -> Path:
        """What code made and a report may show (research_agent.assets)."""
        return self.folder / "assets"

    @property
    def workspace(self) -> Path:
        """Where the run's code works; what it leaves there is its own."""
        return self.folder / "workspace"

    def read(self) -> dict[str, Any]:
        """run.json. Raises RunError if it cannot be read, or a newer version wrote it."""
        return read_record(self.folder)

    def steps_before(self) -> int:
        """Of a fork: the steps that were made before it began."""
        return int((self.read().get("parent") or {}).get("step", 0))

    def update(self, **fields: Any) -> dict[str, Any]:
        """run.json with these fields changed: the whole file, at once."""
        before = self.read() if has_record(self.folder) else {}
        record = {**before, **fields, "updated": now()}
        write_record(self.folder, record)
        return record

    def write(self, name: str, text: str) -> Path:
        """A file of the run, replaced whole or not at all."""
        return replace(self.folder / name, text)

    def tidy(self) -> None:
        """Removes what a process that was killed as it wrote left. For whoever holds the lock."""
        for left in self.folder.glob(f".*.{UNFINISHED}"):
            if left.is_dir():  # a copy of the files that code works on
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)

    @contextmanager
    def lock(self, *, forgets: bool = False) -> Iterator[None]:
        """Held while a process works on the run. Raises RunError, also for one that is half forgotten, unless it is to forget that."""
        with lock.hold(self.folder, self.id):
            if not forgets:
                self.refuse_half_forgotten()
            yield

    def refuse_half_forgotten(self) -> None:
        """Raises RunError."""
        try:
            record = self.read()
        except RunError:  # a record that cannot be read is told by whoever needs it
            return
        if record.get("status") == HALF_FORGOTTEN:
            raise RunError(f"run {self.id} is half forgotten; {record['reason']}; `research-agent forget {self.name}` ends it")

    @property
    def locked(self) -> bool:
        """Whether a process works on it. Looking writes nothing: the folder may be one that cannot be written."""
        return lock.is_held(self.folder)

    def status(self) -> str:
        """As recorded; but a run recorded as running that nobody works on was interrupted, and one whose plan waits is waiting."""
        return self.status_of(self.read())

    def status_of(self, record: Mapping[str, Any]) -> str:
        """The lock is looked at only where the record says that somebody works on it."""
        status = str(record.get("status", "unknown"))
        if status == "incomplete" and record.get("waiting"):
            return "waiting"
        return "interrupted" if status == "running" and not self.locked else status


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
    hidden = out.resolve() / f".{secrets.token_hex(4)}.{UNFINISHED}"
    run = Run(hidden / new_id(question))
    try:
        run.folder.mkdir(parents=True, mode=0o700)  # what was read may be private
        run.assets.mkdir()
        run.update(id=run.id, question=question, status="running", reason="", created=now(), **record)
        _sweep(out)
        yield run
        os.replace(run.folder, hidden.parent / run.id)
    except OSError as error:
        raise RunError(f"cannot make the folder of run {run.id} in {out}: {error.strerror or error}; --out DIR names another") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Removes what processes left that were killed in `built`: nobody takes an hour for it."""
    for left in out.glob(f".*.{UNFINISHED}"):
        with suppress(FileNotFoundError):  # another may sweep too
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)


def is_run(folder: Path) -> bool:
    """Also one that lost its record. Raises PermissionError."""
    return has_record(folder) or is_left_of_one(folder)


def find(name: str, out: Path) -> Run:
    """A run by its id, the beginning of its id if only one begins so, or its folder, which bears its id. Raises RunError.

    An id is looked for in `out` first: a folder of the same name may stand wherever one works.
    """
    if not name.strip():  # of an unset variable, say: every id begins so
        raise NotAName(f"an empty id ({name!r}) names no run; `research-agent list --out DIR` shows the runs there are")
    path = Path(name)
    for folder in (out / path, path) if path.name == name != ".." else (path,):
        try:
            if is_run(folder):
                return _named(Run(folder.resolve()))
        except PermissionError as error:
            raise RunError(f"{folder} cannot be read: {error.strerror}") from error
    begun = [run for run in runs(out) if run.id.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if not begun:
        raise NoRun(f"no run {name!r} in {out}; `research-agent list --out DIR` shows the runs there are")
    newest = ", ".join(run.id for run in reversed(begun[-NAMED:]))
    left = f" and {len(begun) - NAMED} older" if len(begun) > NAMED else ""
    raise RunError(f"{len(begun)} runs begin with {name!r} in {out}: {newest}{left}")


def find_in(name: str, *outs: Path) -> Run:
    """In the first of these folders that has it. Raises RunError."""
    for out in outs[:-1]:
        with suppress(NoRun):
            return find(name, out)
    try:
        return find(name, outs[-1])
    except NoRun as error:
        places = ", nor in ".join(map(str, dict.fromkeys(outs)))
        raise NoRun(f"no run {name!r} in {places}; `research-agent list --out DIR` shows the runs there are") from error


def _named(run: Run) -> Run:
    """All that a run keeps is kept under its id: by another name, it would seem to hold nothing."""
    try:
        id = run.read().get("id", run.id)
    except RunError:  # a record that cannot be read is told by whoever needs it
        return run
    if id != run.id:
        raise RunError(f"{run.folder}: this is run {id}, and a run is found by its folder's name: name it so again")
    return run


def runs(out: Path) -> list[Run]:
    """The runs in a folder, the oldest first."""
    if not out.is_dir():
        return []
    return [Run(folder.resolve()) for folder in sorted(out.iterdir()) if folder.name[0] != "." and is_run(folder)]
