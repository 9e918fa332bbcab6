"""Runs Python code as a plain subprocess, where its owner's config says so out loud. It keeps time, and nothing else: no sandbox at all.

What is the same as in the sandbox: a fresh interpreter, a working directory whose files stay, no environment of ours, clipped output.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from research_agent.sandbox.bubblewrap import Limits, Ran, clipped, files_of

_PR_SET_PDEATHSIG = 1
_PATH = "/usr/local/bin:/usr/bin:/bin"


async def run(code: str, folder: Path, limits: Limits | None = None) -> Ran:
    """As `sandbox.run`, without its walls: the code may read, write and reach whatever this process may."""
    limits = limits or Limits()
    folder = await asyncio.to_thread(_prepared, folder)
    before = await asyncio.to_thread(files_of, folder)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "main.py"
        script.write_bytes(code.encode("utf-8", "surrogatepass"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-s", str(script)),
            cwd=folder,
            env={"PATH": _PATH, "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(folder), "MPLBACKEND": "Agg"}
            | {"MPLCONFIGDIR": scratch, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_bound_to_this_process(),
        )
        assert process.stdout is not None  # noqa: S101 -- for the type
        assert process.stderr is not None  # noqa: S101
        streams = asyncio.gather(clipped(process.stdout, limits.output_chars), clipped(process.stderr, limits.output_chars))
        stopped = ""
        try:
            async with asyncio.timeout(limits.wall_s):
                stdout, stderr = await asyncio.shield(streams)
                status = await process.wait()
        except TimeoutError:
            stopped = f"it took longer than {limits.wall_s:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started and left behind
            (stdout, stderr), status = await streams, await process.wait()
    after = await asyncio.to_thread(files_of, folder)
    changed = tuple(sorted(name for name, state in after.items() if before.get(name) != state))
    status = status if status >= 0 else 128 - status
    return Ran(status=status, stdout=stdout, stderr=stderr, stopped=stopped, files=changed, seconds=time.monotonic() - started)


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
