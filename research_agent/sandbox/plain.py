"""Runs Python code as a plain subprocess, where its owner's config says so out loud. No sandbox: it keeps count, and keeps nothing out.

What holds as in the sandbox: a fresh interpreter, a working directory whose files stay, no environment of ours (so no keys), and limits on
time, memory, CPU, files, processes and output. What does not: the code reads, writes, reaches and ends whatever its user may, the
network and this run's own files included; and where there is no /proc (macOS) memory is limited by process only, not together.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from research_agent.sandbox.watch import Limits, Ran, changed, clipped, ended_by, tidied, tree, watch

_PR_SET_PDEATHSIG = 1
_PATH = "/usr/local/bin:/usr/bin:/bin"
_LAUNCH = """\
import json, os, sys
try:
    import resource
except ImportError:  # Windows
    resource = None
for name, most in json.loads(sys.argv[1]).items() if resource else ():
    kind = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(kind, (most, most + (name == "CPU")) if most < hard or hard == resource.RLIM_INFINITY else (most, hard))
    except (OSError, ValueError):  # a system that has this limit in name only
        continue
os.execv(sys.executable, [sys.executable, "-P", "-s", sys.argv[2]])
"""


async def run(code: str, folder: Path, limits: Limits | None = None) -> Ran:
    """As `bubblewrap.run`, without its walls: the code may read, write and reach whatever this process may."""
    limits = limits or Limits()
    folder = await asyncio.to_thread(_prepared, folder)
    before = await asyncio.to_thread(tidied, folder)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "main.py"
        script.write_bytes(code.encode("utf-8", "surrogatepass"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCH, _kernel_limits(limits), str(script)),
            cwd=folder,
            env=_environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_bound_to_this_process(),
        )
        assert process.stdout is not None  # noqa: S101 -- for the type
        assert process.stderr is not None  # noqa: S101
        output = asyncio.gather(clipped(process.stdout, limits.output_chars), clipped(process.stderr, limits.output_chars), process.wait())
        with _ended(process.pid):
            stopped = await watch(process.pid, output, folder, before, limits)
        stdout, stderr, status = await output
    after = await asyncio.to_thread(tidied, folder)
    status = status if status >= 0 else 128 - status
    stopped = stopped or ended_by(status, limits)
    files, seconds = changed(before, after), time.monotonic() - started
    return Ran(status=status, stdout=stdout, stderr=stderr, stopped=stopped, files=files, seconds=seconds)


def _kernel_limits(limits: Limits) -> str:
    """Those that count by process. Not NPROC: it counts all that the user runs."""
    import json

    mb = 2**20
    limited = {"AS": limits.memory_mb * mb, "CPU": limits.cpu_s, "FSIZE": limits.file_mb * mb, "NOFILE": 256, "CORE": 0}
    return json.dumps(limited)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(folder / ".cache" / "matplotlib"),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def _ended(pid: int) -> Iterator[None]:
    """Afterwards neither the process nor what it started is left, as far as it is found: what is below it, and its session."""
    try:
        yield
    finally:
        for left in list(tree(pid)):
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _bound_to_this_process() -> Callable[[], None] | None:
    """What the child does before it becomes the code: asks the kernel to end it with us, however we end."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def bound() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it was asked
            os._exit(1)

    return bound


def _prepared(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()
