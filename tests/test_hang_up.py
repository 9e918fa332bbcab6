"""The terminal goes away: the run ends as it does when it is asked to, with its report, and can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from scripted_runs import config, scripted

from research_agent.runs import Run
from research_agent.testing.host import Call, Reply, Request, ScriptedHost

NOTE = Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})
pytestmark = pytest.mark.skipif(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="hang-ups are ignored here")


class Thinker:
    """Searches, notes, and then searches without end; from its fifth turn on it says so."""

    def __init__(self) -> None:
        self.well_begun = Event()

    def __call__(self, request: Request) -> Reply:
        return scripted(self._investigate)(request)

    def _investigate(self, messages: list[dict[str, object]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        if results >= 4:
            self.well_begun.set()
        return Reply(calls=[NOTE if results == 1 else Call("web_search", {"query": f"Vulpa moons {results}"})])


def on_a_terminal(folder: Path, *args: str) -> tuple[subprocess.Popen[bytes], int]:
    """The command in a session of its own, and our end of its terminal."""
    ours, its = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "research_agent", *args],
        cwd=folder,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    return child, ours


def begun(tmp_path: Path, host: ScriptedHost, **limits: int) -> Path:
    (tmp_path / "config.yaml").write_text(json.dumps(config(tmp_path, host, **({"limits": limits} if limits else {})).public()))
    return tmp_path


def record(tmp_path: Path) -> dict[str, Any]:
    [folder] = (tmp_path / "runs").iterdir()
    return Run(folder).read()


def test_a_run_whose_terminal_is_closed_ends_with_its_report(tmp_path: Path) -> None:
    thinker = Thinker()
    with ScriptedHost(thinker) as host:
        child, terminal = on_a_terminal(begun(tmp_path, host), "run", "config.yaml")
        while not thinker.well_begun.is_set() and child.poll() is None:
            if select.select([terminal], [], [], 0.02)[0]:
                os.read(terminal, 65_536)
        os.close(terminal)
        assert child.wait(60) == 130
    ended = record(tmp_path)
    assert (ended["status"], ended["report"]) == ("incomplete", "report.md")
    assert ended["reason"].startswith("stopped; `research-agent resume ")


def test_under_nohup_a_run_goes_on_to_its_end(tmp_path: Path) -> None:
    thinker = Thinker()
    with ScriptedHost(thinker) as host:
        command = ["nohup", sys.executable, "-m", "research_agent", "run", "config.yaml"]
        with (tmp_path / "out").open("wb") as out:
            child = subprocess.Popen(command, cwd=begun(tmp_path, host, steps=12), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
            assert thinker.well_begun.wait(60)
            child.send_signal(signal.SIGHUP)
            assert child.wait(60) == 3
    assert record(tmp_path)["reason"] == "the limit of 12 steps was reached"
