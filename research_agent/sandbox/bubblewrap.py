"""Runs Python code that nobody vouches for, in bubblewrap: no network, a read-only system, a folder of its own, and limits.

As a plain user one bubblewrap does it. As root there are two: the outer one, with root's rights, makes the view (the interpreter may
stand under a closed home) and hands over to `nobody`; the inner one takes away every right and the way back. Only so do the limits on
processes bite: the kernel does not count root's.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import BinaryIO

from research_agent.sandbox import seccomp
from research_agent.sandbox.watch import Limits, Ran, Survey, changed, clipped, ended_by, tidied, watch

_NOBODY = 65534
_PATH = "/usr/local/bin:/usr/bin:/bin"
_WORKSPACE = "/workspace"
_CODE = "/run/main.py"
_PACKAGES = "/packages"
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": _WORKSPACE,
    "TMPDIR": "/tmp",  # noqa: S108 -- the sandbox's own
    "LANG": "C.UTF-8",
    "PYTHONPATH": f"{_WORKSPACE}:{_PACKAGES}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",  # what was printed before a limit struck is kept
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": f"{_WORKSPACE}/.cache/matplotlib",  # the fonts are looked for once a run, which takes seconds
    "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space, which is limited
    "OMP_NUM_THREADS": "1",
}


class SandboxFailed(Exception):
    """The sandbox could not be set up: one line. The code did not run."""


@functools.cache
def available() -> str | None:
    """Why code cannot be run on this machine; None if it can. Tries it once, which takes 50 ms."""
    if sys.platform != "linux":
        return "bubblewrap, the sandbox, is for Linux"
    missing = [name for name in ("bwrap", "prlimit", "setpriv") if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}" + (" (package bubblewrap)" if "bwrap" in missing else "")
    command = _command(folder=None, code_fd=None, rules_fd=None, limits=Limits())
    try:
        tried = subprocess.run(  # noqa: S603 -- every word of the command is ours
            command, env={"PATH": _PATH}, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return "bubblewrap did not start in 10 s"
    said = tried.stderr.decode(errors="replace").strip().splitlines()
    return None if tried.returncode == 0 else f"bubblewrap cannot run here: {said[0] if said else f'status {tried.returncode}'}"


async def run(code: str, folder: Path, limits: Limits | None = None) -> Ran:
    """Runs `code` with `folder` as its working directory, the one place whose files stay. Raises SandboxFailed."""
    limits = limits or Limits()
    before = await asyncio.to_thread(_prepared, folder)
    started = time.monotonic()
    with handed_over(code.encode("utf-8", "surrogatepass")) as file, handed_over(seccomp.program()) as rules:
        process = await asyncio.create_subprocess_exec(
            *_command(folder=folder, code_fd=file.fileno(), rules_fd=rules.fileno(), limits=limits),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": _PATH},  # without an environment of its own, /proc would show ours
            pass_fds=(file.fileno(), rules.fileno()),
        )
    assert process.stdout is not None  # noqa: S101 -- for the type
    assert process.stderr is not None  # noqa: S101
    output = asyncio.gather(clipped(process.stdout, limits.output_chars), clipped(process.stderr, limits.output_chars), process.wait())
    try:
        stopped = await watch(process.pid, output, folder, before, limits)
    finally:
        if process.returncode is None:
            process.kill()  # the kernel ends all that is in it: its processes hang on this one
        stdout, stderr, status = await output
    if status and not stdout and re.fullmatch(r"(?:bwrap|setpriv|prlimit): .*\n", stderr):
        raise SandboxFailed(f"the sandbox could not be set up: {stderr.strip()}")
    status = status if status >= 0 else 128 - status
    stopped = stopped or ended_by(status, limits)
    after = await asyncio.to_thread(tidied, folder)
    return Ran(
        status=status, stdout=stdout, stderr=stderr, stopped=stopped, files=changed(before, after), seconds=time.monotonic() - started
    )


def _prepared(folder: Path) -> Survey:
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    return tidied(folder)


def handed_over(data: bytes) -> BinaryIO:
    """A file without a name, in memory."""
    file = os.fdopen(os.memfd_create("handed over"), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _command(*, folder: Path | None, code_fd: int | None, rules_fd: int | None, limits: Limits) -> list[str]:
    """The whole command line. Without a folder and code it is a trial."""
    python = [str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"), "-P", "-s"]
    view = _system() + _environment()
    if folder is not None and code_fd is not None:
        view += ["--bind", str(folder.resolve()), _WORKSPACE, "--chdir", _WORKSPACE]
        view += ["--perms", "0444", "--ro-bind-data", str(code_fd), _CODE]
        python += [_CODE]
    else:
        python += ["-c", "pass"]
    view += ["--remount-ro", "/dev", "--remount-ro", "/"]
    mb = 2**20
    limited = [
        "prlimit",
        f"--as={limits.memory_mb * mb}",
        f"--cpu={limits.cpu_s}:{limits.cpu_s + 1}",
        f"--fsize={limits.file_mb * mb}",
        f"--nproc={limits.processes}",
        "--nofile=256",
        "--core=0",
        "--",
        *python,
    ]
    apart = [
        "--die-with-parent",
        "--new-session",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    powerless = ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY), "--cap-drop", "ALL", "--disable-userns"]
    powerless += ["--seccomp", str(rules_fd)] if rules_fd is not None and seccomp.program() else []
    closed = ["--remount-ro", "/proc"]  # by the innermost: whoever makes a user namespace writes there
    bwrap = ["bwrap", *apart, "--hostname", "sandbox"]
    if os.getuid() != 0:
        return [*bwrap, *powerless, *view, *closed, "--", *limited]
    nobody = [
        "setpriv",
        f"--reuid={_NOBODY}",
        f"--regid={_NOBODY}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    inner = ["bwrap", "--die-with-parent", *powerless, "--dev-bind", "/", "/", *closed, *(["--chdir", _WORKSPACE] if folder else [])]
    return [*bwrap, *view, "--", *nobody, "--", *inner, "--", *limited]


def _system() -> list[str]:
    """What the code sees: the system's programs, this interpreter and its packages, read-only; devices, processes, scratch of its own."""
    view = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            view += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            view += ["--ro-bind", str(path), str(path)]
    view += ["--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "fonts"):
        view += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    prefix = Path(sys.base_prefix).resolve()
    if not prefix.is_relative_to("/usr"):
        for parent in reversed(
            prefix.parents[:-1]
        ):  # a home is closed to others: here its name leads to the interpreter, and to nothing else
            view += ["--perms", "0755", "--dir", str(parent)]
        view += ["--ro-bind", str(prefix), str(prefix)]
    if sys.prefix != sys.base_prefix:
        view += ["--ro-bind", sysconfig.get_path("purelib"), _PACKAGES]
    view += ["--proc", "/proc", "--dev", "/dev"]
    for scratch in ("/tmp", "/dev/shm"):  # noqa: S108 -- the sandbox's own
        view += ["--perms", "1777", "--size", str(64 * 2**20), "--tmpfs", scratch]
    return view


def _environment() -> list[str]:
    return ["--clearenv", *(word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value))]
