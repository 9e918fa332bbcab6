"""What code that runs may use up, what came of it, and the watch over what no kernel limit covers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_WATCH_S = 0.2
_SHARED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +/(?:dev/zero|memfd:|SYSV)", re.MULTILINE)

Files = dict[str, tuple[int, int]]
"""Size and time of change of regular files, by their path in the folder. Links are not followed, out of it or anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    wall_s: float = 60.0
    cpu_s: int = 60
    """Of each process."""
    memory_mb: int = 1024
    """Of each process, and of all together."""
    processes: int = 48
    file_mb: int = 64
    """Of one file."""
    folder_mb: int = 512
    folder_files: int = 10_000
    output_chars: int = 20_000
    """Of stdout and stderr each; more loses its middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of it."""

    status: int
    """The exit status; 128 and the signal's number if one ended it."""
    stdout: str
    stderr: str
    stopped: str
    """The limit that was reached, in words; empty if none was."""
    files: tuple[str, ...]
    """Regular files in the folder that are new or changed, by their path in it; what lies in hidden folders is nobody's business."""
    seconds: float


MAX_DEPTH = 40
"""Of folders in folders."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies below a folder."""

    files: Files
    entries: int
    """Files, folders, links and the rest."""
    closed: tuple[str, ...] = ()
    """Folders that cannot be looked into."""
    too_deep: bool = False

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


def survey(folder: Path) -> Survey:
    """Follows no link. What vanishes while we look is not counted."""
    files: Files = {}
    closed: list[str] = []
    entries, too_deep = 0, False
    waiting = [(str(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        too_deep = too_deep or depth >= MAX_DEPTH
                        waiting += [(entry.path, depth + 1)] if depth < MAX_DEPTH else []
                    elif entry.is_file(follow_symlinks=False):
                        state = entry.stat(follow_symlinks=False)
                        files[os.path.relpath(entry.path, folder)] = (state.st_blocks * 512, state.st_mtime_ns)
        except FileNotFoundError:
            continue
        except PermissionError:
            closed.append(path)
    return Survey(files, entries, tuple(closed), too_deep)


def tidied(folder: Path) -> Survey:
    """What lies below a folder that nobody works in now: what was closed is opened, so that it can be counted and deleted."""
    for _ in range(MAX_DEPTH):
        found = survey(folder)
        if not found.closed:
            break
        for path in found.closed:
            os.chmod(path, 0o700)
    return found


def changed(before: Survey, after: Survey) -> tuple[str, ...]:
    new = (name for name, state in after.files.items() if before.files.get(name) != state)
    return tuple(sorted(name for name in new if not any(part.startswith(".") for part in name.split(os.sep))))


def ended_by(status: int, limits: Limits) -> str:
    """The limit of the kernel's that a status tells of; empty if it tells of none."""
    if status == 128 + signal.SIGXCPU:
        return f"its {limits.cpu_s} s of CPU time were used up"
    if status == 128 + signal.SIGKILL:
        return f"it was killed: after its {limits.cpu_s} s of CPU time, for want of memory on the machine, or by itself"
    return ""


async def watch(pid: int, output: asyncio.Future[tuple[str, str, int]], folder: Path, before: Survey, limits: Limits) -> str:
    """Waits for the end. Returns the limit that was reached, if one was, of those that the kernel does not keep for us."""
    deadline = time.monotonic() + limits.wall_s
    while True:
        left_s = deadline - time.monotonic()
        done, _ = await asyncio.wait([output], timeout=max(0.0, min(_WATCH_S, left_s)))
        if done:
            return ""
        if left_s <= 0:
            return f"it took longer than {limits.wall_s:g} s"
        if reached := await asyncio.to_thread(_reached, pid, folder, before, limits):
            return reached


def _reached(pid: int, folder: Path, before: Survey, limits: Limits) -> str:
    now, processes = survey(folder), list(tree(pid))
    if now.bytes + _unlinked_bytes(processes, folder) > max(limits.folder_mb * 2**20, before.bytes):
        return f"its files take more than {limits.folder_mb} MB"
    if now.entries > max(limits.folder_files, before.entries):
        return f"it keeps more than {limits.folder_files} files"
    if now.too_deep:
        return f"its folders lie more than {MAX_DEPTH} deep"
    if now.closed:
        return "it closed a folder, so that nobody sees what is in it"
    if sum(map(_resident_bytes, processes)) + _shared_bytes(processes) > limits.memory_mb * 2**20:
        return f"its processes take more than {limits.memory_mb} MB together"
    if len(processes) > limits.processes + _OUR_PROCESSES:
        return f"it started more than {limits.processes} processes"
    return ""


_OUR_PROCESSES = 8
"""That stand around it: sandboxes, launchers."""


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            waiting += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue


def _resident_bytes(pid: int) -> int:
    """Without what is shared. One that ends while we look counts nothing."""
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 1024 * sum(int(kb) for kb in re.findall(r"^Rss(?:Anon|File):\s*(\d+) kB$", told, re.MULTILINE))


def _shared_bytes(pids: Iterable[int]) -> int:
    """Of memory shared without a file, each once: its pages are there even where nobody's page table holds them any more."""
    held: dict[str, int] = {}
    for pid in pids:
        try:
            told = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        for first, last, inode in _SHARED.findall(told):
            held[inode] = max(held.get(inode, 0), int(last, 16) - int(first, 16))
    return sum(held.values())


def _unlinked_bytes(pids: Iterable[int], folder: Path) -> int:
    """Of files that were deleted and are still held open: they take room, and no folder names them."""
    device = folder.stat().st_dev
    held: dict[int, int] = {}
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                state = os.stat(f"/proc/{pid}/fd/{name}")
                if state.st_nlink == 0 and state.st_dev == device and stat.S_ISREG(state.st_mode):
                    held[state.st_ino] = state.st_blocks * 512
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return sum(held.values())


async def clipped(stream: asyncio.StreamReader, chars: int) -> str:
    """A stream to its end, head and tail kept."""
    head, tail, left_out = bytearray(), bytearray(), 0
    half = chars // 2
    while piece := await stream.read(65_536):
        room = half - len(head)
        head += piece[:room] if room > 0 else b""
        tail += piece[max(0, room) :]
        if len(tail) > half:
            left_out += len(tail) - half
            del tail[:-half]
    if not left_out:
        return bytes(head + tail).decode(errors="replace")
    return f"{head.decode(errors='replace')}\n[... {left_out:,} bytes left out ...]\n{tail.decode(errors='replace')}"
