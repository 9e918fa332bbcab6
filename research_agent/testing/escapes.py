"""Ways out of the sandbox, and ways to use up the machine from inside it: one row each, with what must come of it.

Needs the standard library and `research_agent.sandbox` only, so that another user with another interpreter can try them too:
`python -m research_agent.testing.escapes` prints an outcome a line, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from research_agent.sandbox.watch import Limits, Ran

LIMITS = Limits(wall_s=20, cpu_s=1, memory_mb=400, processes=24, file_mb=8, folder_mb=24, folder_files=500, output_chars=4_000)
SECRET = "the-secret-of-this-machine"  # noqa: S105 -- it is none
GOT = "GOT-THROUGH"
SECONDS = 12.0
"""In which each must have ended, on a busy machine too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escape:
    area: str
    what: str
    code: str
    said: str = r"(?i:error|exception)\b"
    """What its output, or the limit that ended it, must say: for an attempt, that it failed."""
    wall_s: float = 20.0

    @property
    def is_attempt(self) -> bool:
        """It fails at once; others go on until something ends them."""
        return self.code.endswith(f"print('{GOT}')")


@dataclass(frozen=True, slots=True)
class Outcome:
    area: str
    what: str
    contained: bool
    told: str
    """How it ended, in a few words."""
    seconds: float


def _no(area: str, what: str, code: str) -> Escape:
    """What must not work at all."""
    return Escape(area=area, what=what, code=f"{code}\nprint('{GOT}')")


def _ends(area: str, what: str, code: str, said: str, wall_s: float = 20.0) -> Escape:
    """What must come to an end, and say so."""
    return Escape(area=area, what=what, code=code, said=said, wall_s=wall_s)


_LIBC = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\ndef call(*args):\n    if libc.syscall(*args) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n"
_MACHINE = "import platform; x86 = platform.machine() == 'x86_64'\n"

ESCAPES: tuple[Escape, ...] = (
    # the network
    _no("network", "a listener on this machine", "import socket; socket.create_connection(('127.0.0.1', {port}), 2)"),
    _no("network", "an address outside", "import socket; socket.create_connection(('93.184.216.34', 80), 2)"),
    _no("network", "UDP", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('93.184.216.34', 53))"),
    _no("network", "an abstract Unix socket", "import socket; socket.socket(socket.AF_UNIX).connect('\\0{abstract}')"),
    _no("network", "a name", "import socket; socket.gethostbyname('example.org')"),
    _no("network", "a raw socket", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    _no("network", "a packet socket", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    _no("network", "netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    _no("network", "a virtual machine's host (vsock)", "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"),
    _no("network", "this machine by IPv6", "import socket; socket.create_connection(('::1', {port}), 2)"),
    _no("network", "this machine by no address", "import socket; socket.create_connection(('0.0.0.0', {port}), 2)"),
    _no("network", "the kernel's ciphers", "import socket; socket.socket(38, socket.SOCK_SEQPACKET, 0)"),
    # files
    _no("files", "a file beside the workspace", "print(open('{secret}').read())"),
    _no("files", "a file by a way up", "print(open('/workspace/../{secret}').read())"),
    _no("files", "a symbolic link to a file outside", "import os; os.symlink('{secret}', 'link'); print(open('link').read())"),
    _no("files", "a hard link to the interpreter", "import os, sys; os.link(os.path.realpath(sys.executable), 'link')"),
    _no("files", "a hard link to the system's programs", "import os; os.link('/usr/bin/env', 'link')"),
    _no("files", "the password file", "print(open('/etc/shadow').read())"),
    _no("files", "the users", "print(open('/etc/passwd').read())"),
    _no("files", "the home folders", "import os; print(os.listdir('/root'), os.listdir('/home'))\nos.listdir('/root/.ssh')"),
    _no("files", "the system's programs", "open('/usr/bin/python3', 'wb')"),
    _no("files", "the interpreter", "import os; open(os.__file__, 'a').write('x')"),
    _no("files", "the installed packages", "open('/packages/evil.py', 'w')"),
    _no("files", "the root folder", "open('/evil', 'w')"),
    _no("files", "the folder of its code", "open('/run/main.py', 'a').write('x')"),
    _no("files", "a file owned by root", "import os; open('f', 'w'); os.chown('f', 0, 0)"),
    _no("files", "a file by its inode", _LIBC + _MACHINE + "call(304 if x86 else 265, -100, 0, 0)"),
    # /proc and /sys
    _ends("/proc", "the launcher's environment", "print(open('/proc/1/environ').read())", ""),
    _no("/proc", "its parent's memory", "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb').read(1)"),
    _no("/proc", "the launcher's root", "import os; print(os.listdir('/proc/1/root/root'))"),
    _no("/proc", "a way out by its own root", "print(open('/proc/self/root/../../{secret}').read())"),
    _no("/proc", "kernel settings", "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/x')"),
    _no("/proc", "sysrq", "open('/proc/sysrq-trigger', 'w').write('h')"),
    _no("/proc", "its place before the out-of-memory killer", "open('/proc/self/oom_score_adj', 'w').write('1000')"),
    _no("/proc", "the user map of its namespace", "open('/proc/self/uid_map', 'w').write('0 0 1')"),
    _no("/proc", "the launcher's name", "open('/proc/1/comm', 'w').write('x')"),
    _no("/proc", "its own memory, past the page's rights", "open('/proc/self/mem', 'r+b')"),
    _no("/proc", "the kernel's log", "open('/proc/kmsg', 'rb').read(1)"),
    _no("/sys", "the kernel's objects", "import os; os.listdir('/sys/kernel')"),
    _no("/sys", "control groups", "import os; os.listdir('/sys/fs/cgroup')"),
    _no("/sys", "the machine's serial number", "print(open('/sys/class/dmi/id/product_uuid').read())"),
    _no("files", "the machine's id", "print(open('/etc/machine-id').read())"),
    _no("files", "a program out of memory", _LIBC + "os.memfd_create('x')"),
    _no("files", "writing again where it may only read", _LIBC + _MACHINE + "call(165 if x86 else 40, 0, b'/', 0, 0x1020, 0)"),
    _no("files", "the same by the newer call", _LIBC + "call(442, -100, b'/', 0x8000, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)"),
    _no("files", "a tree of mounts taken along", _LIBC + "call(428, -100, b'/', 1)"),
    # devices
    _no(
        "devices", "the disks", "import glob; found = glob.glob('/dev/sd*') + glob.glob('/dev/vd*') + glob.glob('/dev/nvme*'); assert found"
    ),
    _no("devices", "a device node", "import os; os.mknod('/workspace/disk', 0o60600, os.makedev(254, 0)); open('disk', 'rb').read(1)"),
    _no("devices", "a new device", "open('/dev/evil', 'w')"),
    _no("devices", "the memory", "open('/dev/mem', 'rb').read(1)"),
    _no("devices", "the terminal", "open('/dev/tty', 'w').write('x')"),
    _no("devices", "typing into the terminal", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x')"),
    # rights
    _no("rights", "another user", "import os; os.setuid(0)"),
    _no("rights", "a set-uid program", "import subprocess; subprocess.run(['su', '-c', 'id', 'root'], check=True)"),
    _no(
        "rights",
        "any capability",
        "held = [l for l in open('/proc/self/status') if l.startswith('Cap') and int(l.split()[1], 16)]\nif not held: raise OSError('none')",
    ),
    _no("rights", "a mount", _LIBC + _MACHINE + "call(165 if x86 else 40, b'x', b'/tmp', b'tmpfs', 0, 0)"),
    _no("rights", "a mount by the program", "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp'], check=True)"),
    _no("rights", "a new user namespace", "import subprocess; subprocess.run(['unshare', '-Ur', 'true'], check=True)"),
    _no("rights", "a namespace by clone", _LIBC + _MACHINE + "call(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0) == 0 and os._exit(0)"),
    _no(
        "rights",
        "a namespace by clone3",
        _LIBC + "call(435, (ctypes.c_uint64 * 11)(0x20000000, 0, 0, 0, 17), 88) == 0 and os._exit(0)",
    ),
    _no(
        "rights",
        "the right to new rights",
        _LIBC + "if libc.prctl(38, 0, 0, 0, 0) or libc.prctl(47, 2, 21, 0, 0): raise OSError('refused')",
    ),
    _no(
        "rights",
        "a set-uid copy",
        "import os, shutil, subprocess; shutil.copy('/usr/bin/id', 'id'); os.chmod('id', 0o6755)\n"
        "if subprocess.check_output(['./id', '-u']) == subprocess.check_output(['/usr/bin/id', '-u']): raise OSError('the same')",
    ),
    _no("rights", "a place before all others", "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
    _no("rights", "the clock", "import time; time.clock_settime(time.CLOCK_REALTIME, 0)"),
    _no("rights", "another sandbox", "import subprocess; subprocess.run(['bwrap', '--ro-bind', '/', '/', 'true'], check=True)"),
    _no("rights", "a new root", "import os; os.chroot('/tmp')"),
    _no("rights", "tracing its parent", _LIBC + _MACHINE + "call(101 if x86 else 117, 16, os.getppid(), 0, 0)"),
    _no("rights", "the keyring of who started it", _LIBC + _MACHINE + "call(250 if x86 else 219, 0, -3, 0)"),
    _no("rights", "a new key", _LIBC + _MACHINE + "call(248 if x86 else 217, b'user', b'k', b'v', 1, -3)"),
    _no("rights", "kernel programs (BPF)", _LIBC + _MACHINE + "call(321 if x86 else 280, 0, 0, 0)"),
    _no("rights", "performance counters", _LIBC + _MACHINE + "call(298 if x86 else 241, 0, 0, -1, -1, 0)"),
    _no("rights", "io_uring", _LIBC + "call(425, 1, ctypes.create_string_buffer(120))"),
    _no("rights", "a higher limit", "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))"),
    _no("rights", "a higher priority", "import os; os.nice(-5)"),
    _no("rights", "the machine's name", "import socket; socket.sethostname('evil')"),
    # processes and signals
    _no("signals", "a process outside", "import os; os.kill({pid}, 0)"),
    _ends(
        "signals", "ending its parent", "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(1); print('alone')", ""
    ),
    _ends("signals", "ending everyone", "import os, signal, time\nos.kill(-1, signal.SIGKILL)\ntime.sleep(1); print('alone')", ""),
    _ends(
        "signals",
        "not to be ended",
        "import signal, time\nfor s in (15, 2, 1, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        r"took longer than 1\.5 s",
        1.5,
    ),
    _ends("signals", "stopping itself", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", r"took longer than 1\.5 s", 1.5),
    _ends(
        "signals",
        "stopping its parent",
        "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)",
        r"took longer than 1\.5 s",
        1.5,
    ),
    _ends(
        "processes",
        "a child that goes on alone",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    for fd in (0, 1, 2): os.close(fd)\n"
        "    while True: open('alive', 'w').write(str(time.time())); time.sleep(.02)\ntime.sleep(.2); print('left')",
        "left",
    ),
    _ends(
        "processes",
        "a fork bomb",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: print('no more'); break",
        "no more|more than 24 processes|took longer",
        5,
    ),
    _ends(
        "processes",
        "threads without end",
        "import threading, time\nfor _ in range(500): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "can't start new thread",
    ),
    # memory and time
    _ends("memory", "more than it may have", "x = bytearray(900_000_000)", "MemoryError"),
    _ends(
        "memory",
        "by many processes together",
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        x = b'1' * 120_000_000; break\ntime.sleep(30)",
        "its processes take more than 400 MB together",
    ),
    _ends("memory", "by the scratch folder", "for n in range(20): open(f'/tmp/{{n}}', 'wb').write(bytes(7_000_000))", "No space left"),
    _ends("memory", "by shared memory", "for n in range(20): open(f'/dev/shm/{{n}}', 'wb').write(bytes(7_000_000))", "No space left"),
    _no("memory", "System V's shared memory", _LIBC + _MACHINE + "call(29 if x86 else 194, 0, 2**25, 0o1600)"),
    _no(
        "memory", "large buffers of sockets", "import socket; socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**24)"
    ),
    _ends(
        "memory",
        "by shared pages whose writers are gone",
        "import mmap, os, time\nheld = mmap.mmap(-1, 110 * 2**20), mmap.mmap(-1, 110 * 2**20)\n"
        "for shared in held:\n    if os.fork() == 0:\n        shared.write(bytes(110 * 2**20)); os._exit(0)\n    os.wait()\n"
        "if os.fork() == 0: time.sleep(30)\n"
        "for shared in held: shared.close()\n"
        "held = mmap.mmap(-1, 110 * 2**20), mmap.mmap(-1, 110 * 2**20)\ntime.sleep(30)",
        "its processes take more than 400 MB together",
    ),
    _ends(
        "memory",
        "deep recursion",
        "import sys; sys.setrecursionlimit(10**8)\nf = lambda n: f(n + 1)\nf(0)",
        r"MemoryError|signal|Segmentation|^$|used up",
    ),
    _ends("time", "a busy loop", "while True: pass", r"its 1 s of CPU time were used up"),
    _ends(
        "time",
        "deaf to the end of its time",
        "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "used up|took longer|CPU time",
        5,
    ),
    _ends("time", "a sleep", "import time; time.sleep(600)", r"took longer than 1 s", 1),
    _ends("time", "a number too large to compute", "print(9 ** 9 ** 9)", r"used up|MemoryError|took longer", 4),
    # disk
    _ends("disk", "a large file", "open('big', 'wb').write(bytes(9 * 2**20))", "File too large"),
    _ends("disk", "a sparse file", "open('sparse', 'wb').truncate(10**12)", "File too large"),
    _ends(
        "disk",
        "many files",
        "import time\nfor n in range(8): open(f'{{n}}', 'wb').write(b'1' * 7 * 2**20)\ntime.sleep(30)",
        "files take more than 24 MB",
    ),
    _ends(
        "disk", "a great many empty files", "import time\nfor n in range(900): open(f'{{n}}', 'w')\ntime.sleep(30)", "more than 500 files"
    ),
    _ends(
        "disk", "a great many folders", "import os, time\nfor n in range(900): os.mkdir(f'd{{n}}')\ntime.sleep(30)", "more than 500 files"
    ),
    _ends(
        "disk",
        "folders in folders",
        "import os, time\nfor n in range(300): os.mkdir('d'); os.chdir('d')\ntime.sleep(30)",
        "folders lie more than 40 deep",
    ),
    _ends(
        "disk",
        "deleted files that are still open",
        "import os, time\nkept = []\nfor n in range(8):\n    kept.append(open('f', 'wb')); kept[-1].write(b'1' * 7 * 2**20); kept[-1].flush(); os.remove('f')\n"
        "time.sleep(30)",
        "files take more than 24 MB",
    ),
    _ends(
        "disk",
        "files in a closed folder",
        "import os, time\nos.mkdir('d')\nfor n in range(8): open(f'd/{{n}}', 'wb').write(b'1' * 7 * 2**20)\nos.chmod('d', 0); time.sleep(30)",
        "files take more than 24 MB|it closed a folder",
    ),
    _ends("disk", "a core dump", "import os\nos.chdir('/workspace')\nprint('aborts', flush=True)\nos.abort()", "aborts"),
    # what it says and reads
    _ends("output", "a flood", "import sys\nwhile True: sys.stdout.write('x' * 100_000)", "used up|took longer", 4),
    _ends("output", "bytes that are no text", "import os; os.write(1, bytes(range(256)) * 3); print('told')", "told"),
    _ends(
        "output",
        "halves of characters",
        "import sys; sys.stdout.buffer.write('\\ud800'.encode('utf-8', 'surrogatepass')); print('told')",
        "told",
    ),
    _ends("output", "a closed stream", "import os; os.close(1); os.close(2)", ""),
    _ends("input", "waiting for an answer", "print(input('? '))", "EOFError"),
    _ends("input", "descriptors it was started with", "import os; print(sorted(os.listdir('/proc/self/fd')))", r"\['0', '1', '2', '3'\]"),
    _ends("files", "descriptors without end", "kept = []\nwhile True: kept.append(open('/dev/null'))", "Too many open files"),
    _ends("environment", "the variables of who started it", "from os import environ; print(sorted(environ))", r"\['HOME', 'LANG'"),
)


@contextmanager
def machine(home: Path) -> Iterator[dict[str, object]]:
    """What is there to be got at: a secret file, a listener, a process. Whoever tries sets a variable to SECRET, too."""
    secret, name = home / "secret.txt", f"research-agent-test-{os.getpid()}"
    secret.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{name}")
        local.listen()
        yield {"port": server.getsockname()[1], "abstract": name, "secret": secret, "pid": os.getpid()}


Run = Callable[[str, Path, Limits | None], Coroutine[Any, Any, Ran]]


def tried(escape: Escape, folder: Path, there: Mapping[str, object], run: Run) -> Outcome:
    """Tries one in a workspace of its own."""
    ran = asyncio.run(run(escape.code.format(**there), folder, replace(LIMITS, wall_s=escape.wall_s)))
    said = f"{ran.stdout}\n{ran.stderr}"
    unharmed = ran.seconds < SECONDS and not _alive(folder) and not any(folder.glob("core*"))
    ended = ran.stopped or (ran.stderr.strip().splitlines() or [f"exit {ran.status}"])[-1]
    return Outcome(
        escape.area, escape.what, unharmed and _is_contained(escape, f"{said}\n{ran.stopped}"), ended[:90], round(ran.seconds, 2)
    )


_TRY_EACH = """
import contextlib, io, json
told = []
for code in json.loads(CODES):
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(code, {})
    except BaseException as error:
        print(f'{type(error).__name__}: {error}', file=said)
    told.append(said.getvalue())
print(json.dumps(told))
"""


def tried_together(escapes: Sequence[Escape], folder: Path, there: Mapping[str, object], run: Run) -> list[Outcome]:
    """Attempts that can be made one after another in one interpreter: as `tried`, and many times as fast."""
    codes = json.dumps([escape.code.format(**there) for escape in escapes])
    ran = asyncio.run(run(f"CODES = {codes!r}\n{_TRY_EACH}", folder, replace(LIMITS, output_chars=80_000)))
    told = json.loads(ran.stdout)
    return [
        Outcome(escape.area, escape.what, _is_contained(escape, said), said[:90], 0.0) for escape, said in zip(escapes, told, strict=True)
    ]


def _is_contained(escape: Escape, said: str) -> bool:
    escaped = re.search(f"{GOT}|{SECRET}|SyntaxError|NameError|ModuleNotFoundError", said)
    return not escaped and re.search(escape.said, said, re.MULTILINE) is not None and len(said) < 3 * LIMITS.output_chars


def _alive(folder: Path) -> bool:
    """Whether somebody still writes there."""
    sign = folder / "alive"
    if not sign.exists():
        return False
    time.sleep(0.1)  # the kernel ends what is left when the sandbox ends, not before
    before = sign.stat().st_mtime_ns
    time.sleep(0.2)
    return sign.stat().st_mtime_ns != before


def main() -> None:
    from research_agent.sandbox.bubblewrap import available, run

    if reason := available():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as home, machine(Path(home)) as there:
        for number, escape in enumerate(ESCAPES):
            outcome = tried(escape, Path(home) / f"workspace-{number}", there, run)
            sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
