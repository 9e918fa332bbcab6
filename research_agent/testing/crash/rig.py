"""Starts runs, kills them, resumes them: `Rig` drives processes of the nursery and sees what they ask for from outside."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from research_agent.testing.crash.world import KEY, KEY_VARIABLE, World

_PATIENCE_S = 120.0


@dataclass(eq=False)
class Child:
    """A process that works on a run."""

    pid: int
    output: Path
    born: float
    status: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout_s: float = _PATIENCE_S) -> int:
        """Its exit status; minus the signal's number if one ended it. Raises TimeoutError."""
        if not self.ended.wait(timeout_s):
            raise TimeoutError(f"process {self.pid} did not end in {timeout_s:g} s: {self.said()[-2000:]}")
        assert self.status is not None  # noqa: S101
        return self.status

    def kill(self, number: signal.Signals = signal.SIGKILL, *, group: bool = False) -> None:
        """One that has ended is left alone."""
        if not self.ended.is_set():
            (os.killpg if group else os.kill)(self.pid, number)

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""


class Rig:
    """Processes to be killed, while it is entered. Each starts in milliseconds: its libraries are loaded once, before it is forked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._children: dict[int, Child] = {}
        self._count = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            ["env", f"{KEY_VARIABLE}={KEY}", sys.executable, "-m", "research_agent.testing.crash.nursery"],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        for child in list(self._children.values()):
            child.kill()
            child.wait()
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            told = json.loads(line)
            if "status" in told:
                child = self._children[told["pid"]]
                child.status = told["status"]
                child.ended.set()
                continue
            if "pid" in told:
                self._children[told["pid"]] = Child(told["pid"], self._output, time.monotonic())
            self._answers.put(told)

    def _next(self) -> dict[str, Any]:
        return self._answers.get(timeout=_PATIENCE_S)

    def start(self, *argv: str, cwd: Path, seam: str = "", hit: int = 1, embedder: bool = False) -> Child:
        """`research-agent ARGV`, in a session of its own."""
        assert self._process.stdin is not None  # noqa: S101
        self._count += 1
        self._output = self.folder / f"output-{self._count}.txt"
        order = {"argv": argv, "cwd": str(cwd), "output": str(self._output), "seam": seam, "hit": hit, "embedder": embedder}
        self._process.stdin.write(json.dumps(order) + "\n")
        return self._children[self._next()["pid"]]

    def run(self, *argv: str, cwd: Path, **how: Any) -> Child:
        """The same, to its end."""
        child = self.start(*argv, cwd=cwd, **how)
        child.wait()
        return child


@dataclass
class Life:
    """One run, through as many processes as it takes."""

    rig: Rig
    world: World
    config: Path
    embedder: bool = False
    kills: int = 0
    repeated_at: list[str] = field(default_factory=list)
    """Where a kill made the host answer once more."""
    resume_s: list[float] = field(default_factory=list)
    """From the start of a process to its first request."""
    _born: tuple[int, int] = (0, 0)
    _closed: tuple[int | None, int | None] = (None, None)

    def __post_init__(self) -> None:
        self._born = (len(self.world.host.requests), len(self.world.site.visits))

    def close(self) -> None:
        """What is asked for from now on is another's."""
        self._closed = (len(self.world.host.requests), len(self.world.site.visits))

    @property
    def cwd(self) -> Path:
        return self.config.parent

    @property
    def folder(self) -> Path | None:
        """The run's, once there is one."""
        found = [path.parent for path in (self.cwd / "runs").glob("*/run.json")]
        return found[0] if found else None

    @property
    def asked(self) -> list[str]:
        return self.world.asked(self._born[0], self._closed[0])

    @property
    def fetched(self) -> dict[str, int]:
        return dict(self.world.fetched(self._born[1], self._closed[1]))

    @property
    def billed_usd(self) -> float:
        return self.world.bill_usd(self._born[0], self._closed[0])

    def session(self, *, seam: str = "", hit: int = 1, more: Sequence[str] = ()) -> Child:
        """A process that starts the run, or goes on with it."""
        folder = self.folder
        argv = ("resume", str(folder)) if folder else ("run", str(self.config))
        return self.rig.start(*argv, *more, cwd=self.cwd, seam=seam, hit=hit, embedder=self.embedder)

    def whole(self, *more: str) -> Child:
        """To its end, if nothing ends it before."""
        child = self.session(more=more)
        child.wait()
        return child

    def killed_at(self, seam: str, hit: int = 1) -> bool:
        """Whether a session came to a seam; if it did, it died there."""
        before = len(self.asked)
        child = self.session(seam=seam, hit=hit)
        died = child.wait() == -signal.SIGKILL
        self.kills += died
        if len(set(self.asked)) - len(set(self.asked[:before])) < len(self.asked) - before:
            self.repeated_at.append(seam)
        return died

    def killed_randomly(self, random_: random.Random, *, requests: Sequence[int] = (0, 1, 1, 2), spread_s: float = 0.12) -> bool:
        """Whether a session was killed at a random moment, after some requests and some time; if not, it came to its end."""
        before = len(self.asked)
        child = self.session()
        wanted = before + random_.choice(requests)
        until(lambda: child.ended.is_set() or len(self.asked) > before or len(self.asked) >= wanted)
        self.resume_s.append(time.monotonic() - child.born)
        until(lambda: child.ended.is_set() or len(self.asked) >= wanted)
        time.sleep(random_.uniform(0, spread_s))
        child.kill()
        died = child.wait() == -signal.SIGKILL
        self.kills += died
        return died


def until(true: Callable[[], bool], timeout_s: float = _PATIENCE_S) -> None:
    """Waits. Raises TimeoutError."""
    limit = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > limit:
            raise TimeoutError(f"it did not come true in {timeout_s:g} s")
        time.sleep(0.002)
