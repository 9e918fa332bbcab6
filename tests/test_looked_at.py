"""A run that was killed, or that goes on just now, looked at: what its record does not say yet, its events and its ledger do."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from research_agent.runs import Run
from research_agent.testing.crash.rig import Life, Rig, until
from research_agent.testing.crash.world import World
from research_agent.testing.host import Reply

CUT = "a call of the investigator was cut and is made again"


@dataclass(frozen=True)
class Scene:
    rig: Rig
    life: Life

    @property
    def folder(self) -> Path:
        assert self.life.folder
        return self.life.folder

    def told(self, *argv: str, status: int = 0) -> str:
        child = self.rig.run(*argv, str(self.folder), cwd=self.life.cwd)
        assert child.wait() == status, child.said()
        return child.said()

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.told("show", "--json").splitlines()[-1])
        return found

    def cut(self, number: signal.Signals = signal.SIGKILL) -> None:
        """A session ends while the model is asked."""
        asked, session = len(self.life.asked), self.life.session()
        until(lambda: len(self.life.asked) > asked + 1)
        session.kill(number)
        session.wait()


def contents(folder: Path) -> dict[Path, bytes]:
    """But SQLite's own notes of who reads."""
    return {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and not path.name.endswith("-shm")}


@pytest.fixture
def scene(rig: Rig, tmp_path: Path) -> Iterator[Scene]:
    with World(lines="A", follow_up="", stations=4, think_s=0.5) as world:
        yield Scene(rig, Life(rig, world, world.config(tmp_path)))


def test_a_killed_run_tells_its_time_its_cost_by_role_and_what_it_noted(scene: Scene) -> None:
    assert scene.life.killed_at("review.before")  # by then what was noted at once is archived, all of it
    before = contents(scene.folder)
    record = scene.record()
    assert record["status"] == "interrupted"
    assert 0.5 < record["seconds"] < 60
    assert record["roles"]["planner"]["calls"] == 1
    assert sum(role["usd"] for role in record["roles"].values()) == pytest.approx(record["usd"], abs=1e-5)
    assert "\ninvestigator: " in scene.told("show")
    report = scene.told("report")
    assert report.startswith("# ")
    assert "the run is interrupted: this is what it had noted by" in report
    told = json.loads(scene.told("report", "--json").splitlines()[-1])
    assert (told["status"], told["report"], told["text"][:2]) == ("interrupted", None, "# ")
    assert contents(scene.folder) == before


def test_a_run_that_goes_on_tells_its_time_by_now(scene: Scene) -> None:
    session = scene.life.session()
    until(lambda: len(scene.life.asked) > 2)
    seconds = scene.record()["seconds"]
    time.sleep(0.2)
    later = scene.record()
    assert later["status"] == "running"
    assert later["seconds"] > seconds + 0.2
    assert session.wait() == 0
    assert scene.record()["seconds"] == Run(scene.folder).read()["seconds"]


def test_the_first_interrupt_says_what_is_waited_for(scene: Scene) -> None:
    session = scene.life.session()
    until(lambda: len(scene.life.asked) > 2)
    session.kill(signal.SIGINT)
    assert session.wait() == 130
    assert re.search(r"warning: stopping after (an answer of \S+|\w+\(.*\)); Ctrl-C again stops at once\n", session.said())


def test_a_cut_call_is_told_of_by_every_later_session(scene: Scene) -> None:
    scene.cut()
    assert CUT not in scene.told("show")
    scene.cut(signal.SIGINT)
    assert scene.record()["status"] == "incomplete"
    assert scene.told("show").count(CUT) == 1
    assert scene.life.whole().status == 0
    assert scene.told("show").count(CUT) == 1
    assert any(CUT in warning for warning in Run(scene.folder).read()["warnings"])


def test_a_second_interrupt_names_the_run_that_goes_on(scene: Scene) -> None:
    session = scene.life.session()
    until(lambda: len(scene.life.asked) > 1)
    session.kill(signal.SIGINT)
    until(lambda: "Ctrl-C again stops at once" in session.said())
    session.kill(signal.SIGINT)
    assert session.wait() == 130
    told = f"research-agent: stopped at once: what was finished is kept; `research-agent resume {scene.folder.name}` goes on"
    assert session.said().strip().splitlines()[-1] == told
    assert scene.life.whole().status == 0


def test_a_resume_that_cannot_begin_leaves_what_a_killed_run_had_come_to(scene: Scene) -> None:
    assert scene.life.killed_at("note.after", hit=2)
    before = scene.record()
    child = scene.life.whole("--set", "store.checkpoints=postgresql://nobody@127.0.0.1:1/none")
    assert child.status == 1
    after = scene.record()
    assert (after["status"], "PostgreSQL" in child.said()) == ("interrupted", True)
    told = ("steps", "usd", "tokens", "model_calls", "roles", "sub_questions")
    assert before["steps"] > 0
    assert {key: after[key] for key in told} == {key: before[key] for key in told}
    assert f"failed: {before['steps']} steps" in child.said()
    assert scene.life.whole().status == 0


def test_a_run_whose_record_is_gone_is_known_by_the_one_before_it(scene: Scene) -> None:
    assert scene.life.killed_at("note.after", hit=2)
    before, folder = scene.record(), scene.folder
    (folder / "run.json").unlink()
    after = scene.rig.run("show", "--json", str(folder), cwd=scene.life.cwd)
    assert json.loads(after.said().splitlines()[-1])["steps"] == before["steps"]
    assert scene.rig.run("resume", str(folder), cwd=scene.life.cwd).status == 0
    scene.told("forget", "--yes")
    assert [*folder.parent.iterdir()] == []


def test_a_line_of_the_log_that_is_no_event_is_no_event(scene: Scene) -> None:
    assert scene.life.killed_at("note.after", hit=2)
    before = scene.record()
    for name in ("events.jsonl", "call.json"):
        with (scene.folder / name).open("a") as file:
            file.write('3\n[1, 2]\n{"a": 1}\n')
    after = scene.record()
    assert (after["status"], after["steps"]) == ("interrupted", before["steps"])
    assert scene.life.whole().status == 0


def test_what_a_host_says_in_an_error_commands_no_terminal(scene: Scene) -> None:
    scene.life.world.fault = Reply(status=401, error={"type": "authentication_error", "message": "no\x1b]0;owned\x07 \u202ekey"})
    child = scene.life.whole()
    assert child.status == 1
    assert "401: no key" in child.said()
    assert not set("\x1b\x07\u202e") & set(child.said() + scene.told("report", status=1))
