"""One process at a time works on a run.

The kernel's lock on `.lock` decides on one machine: it goes with its process, so that neither a dead one nor its reused number is ever
waited for. On a folder that several machines share it may not reach the others. There the record beside it does: whoever works writes a
beat into it, and one from another machine's kernel is watched for a while; if it beats, the run is refused, if not, taken over. No clock is
compared.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from research_agent.memory.reading import held

from .errors import RunError

LOCK, RECORD = ".lock", ".lock.holder"
BEAT_S = 2.0
WATCH_S = 3.5 * BEAT_S
_PATIENCE_S = 0.3  # `list` looks at a lock by taking it for a moment


@dataclass(frozen=True, slots=True)
class Holder:
    kernel: str
    host: str
    pid: int
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _kernel() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"{uuid.getnode():x}"


def me() -> Holder:
    return Holder(_kernel(), socket.gethostname(), os.getpid())


@contextmanager
def hold(folder: Path, run: str) -> Iterator[None]:
    """Raises RunError if another process holds it, or the folder cannot be written."""
    lock, mine = FileLock(folder / LOCK), me()
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.05)
    except Timeout:
        raise _refused(run, holder(folder)) from None
    except OSError as error:
        raise RunError(f"run {run} cannot be worked on: {folder}: {error.strerror or error}") from error
    try:
        other = holder(folder)
        if other is not None and other.kernel != mine.kernel and _beats(folder, other):
            raise _refused(run, other)
        with _beating(folder / RECORD, mine):
            yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether somebody works on it, as far as this machine can see at once."""
    other = holder(folder)
    if other is not None and other.kernel != _kernel():
        with suppress(OSError):
            return abs(time.time() - (folder / RECORD).stat().st_mtime) < WATCH_S
    return held(folder / LOCK)


def holder(folder: Path) -> Holder | None:
    """Who wrote the record; None if nobody did, or not whole."""
    try:
        return Holder(**json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _refused(run: str, other: Holder | None) -> RunError:
    return RunError(f"run {run} is being worked on by another process{f' ({other})' if other else ''}; wait for it, or stop it first")


def _beats(folder: Path, seen: Holder) -> bool:
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(BEAT_S / 8)
        now = holder(folder)
        if now is not None and now != seen:
            return True
    return False


@contextmanager
def _beating(path: Path, mine: Holder) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_S):
            count += 1
            _write(path, Holder(mine.kernel, mine.host, mine.pid, count))

    _write(path, mine)
    thread = threading.Thread(target=beat, name="run lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _write(path: Path, record: Holder) -> None:
    """In place: a reader that meets half of it looks again."""
    with suppress(OSError):  # a full disk: the kernel's lock still holds
        path.write_text(json.dumps(asdict(record)), "utf-8")
