"""A run that is ended before its plan, by a limit or by its host: it reports what it has, and goes on later without paying twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from research_agent.history.replay import replay
from research_agent.runs import Run
from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig
from research_agent.testing.crash.world import World
from research_agent.testing.host import Reply

QUOTA = Reply(status=429, error={"type": "exceeded_current_quota_error", "message": "check your plan"})
BUSY = Reply(status=503, error={"type": "engine_overloaded_error", "message": "overloaded"})
TO_THE_FIRST_NOTES = 7
"""Steps: a search, three pages, three notes. The limit falls between two turns."""


@pytest.fixture(scope="module")
def served() -> Iterator[World]:
    with World(lines="A", follow_up="", stations=4) as world:
        yield world


@pytest.fixture
def world(served: World) -> Iterator[World]:
    yield served
    served.fault = served.faults_after = None
    served.host.script = served.script


@pytest.fixture(scope="module")
def unstopped(rig: Rig, served: World, tmp_path_factory: pytest.TempPathFactory) -> Life:
    life = Life(rig, served, served.config(tmp_path_factory.mktemp("unstopped")))
    assert life.whole().status == 0
    life.close()
    return life


def record(life: Life) -> dict[str, Any]:
    assert life.folder
    found: dict[str, Any] = json.loads((life.folder / "run.json").read_text("utf-8"))
    return found


def report(life: Life) -> str:
    assert life.folder
    return (life.folder / "report.md").read_text("utf-8")


def last_line(said: str) -> str:
    return said.strip().splitlines()[-1]


def same_findings(life: Life, unstopped: Life) -> None:
    assert life.folder
    assert unstopped.folder
    assert audit.faults(life.folder) == []
    one, other = audit.story(life.folder), audit.story(unstopped.folder)
    for store in ("findings", "sources", "files"):
        assert one[store] == other[store]
    assert [s for s in one["ledger: segments"] if "'answer'" not in s] == [s for s in other["ledger: segments"] if "'answer'" not in s]


@pytest.mark.parametrize(
    ("limit", "raised", "told"),
    [
        (f"limits.steps={TO_THE_FIRST_NOTES}", "limits.steps=100", "the limit of 7 steps was reached"),
        ("limits.usd={most:.4f}", "limits.usd=20", "the limit of ${most:.4g} was reached"),
        ("limits.minutes=0.0001", "limits.minutes=60", "the limit of 0.0001 minutes was reached"),
    ],
)
def test_a_limit_reports_what_there_is_and_a_higher_one_goes_on(
    world: World, rig: Rig, unstopped: Life, tmp_path: Path, limit: str, raised: str, told: str
) -> None:
    life = Life(rig, world, world.config(tmp_path / "limited"))
    most = round(1.4 * unstopped.billed_usd, 4)  # the report is paid for first, and each call at its worst
    limit, told = limit.format(most=most), told.format(most=most)
    first = life.whole("--set", limit)
    nothing_read = limit.startswith("limits.minutes")
    assert first.status == 3, first.said()
    assert told in last_line(first.said())
    asked, spent = len(life.asked), record(life)
    assert spent["usd"] == pytest.approx(life.billed_usd, abs=1e-6)
    if not nothing_read:
        assert spent["usd"] <= most or not limit.startswith("limits.usd")
        assert told in report(life)
        assert "Which codes do the stations of line A have?" in report(life)  # what stays open
        again = life.whole()  # the limit is what it was
        assert again.status == 3
        assert len(life.asked) == asked, "a report that was written is not paid for again"
    if not nothing_read:
        for seam in ("reopened.before", "reopened.after"):
            child = life.session(seam=seam, more=("--set", raised))
            assert child.wait() == -signal.SIGKILL
    last = life.whole("--set", raised)
    assert last.status == 0, last.said()
    assert life.folder
    assert asyncio.run(replay(Run(life.folder))).difference == ""
    same_findings(life, unstopped)
    assert record(life)["usd"] == pytest.approx(life.billed_usd, abs=1e-6)
    looked_back = 6  # requests until the model recalls: then it finds the first report's answer, too
    assert set(unstopped.asked[:looked_back]) <= set(life.asked)  # the conversation is the one that nobody stopped
    assert life.fetched == unstopped.fetched


@pytest.mark.parametrize(("fault", "told"), [(QUOTA, "has no credit left"), (BUSY, "was still busy")], ids=["quota", "busy"])
def test_a_host_that_fails_in_the_middle_costs_nothing_that_was_found(
    world: World, rig: Rig, unstopped: Life, tmp_path: Path, fault: Reply, told: str
) -> None:
    life = Life(rig, world, world.config(tmp_path / "failed"))
    world.fault, world.faults_after = fault, len(world.host.requests) + 5
    first = life.whole()
    assert first.status == 3, first.said()
    assert told in last_line(first.said())
    assert "research-agent resume" in last_line(first.said())
    assert told in report(life)
    spent = record(life)
    assert spent["model_calls"] == 5
    world.fault = None
    assert life.whole().status == 0
    same_findings(life, unstopped)
    served = list(dict.fromkeys(life.asked))
    assert [one for one in served if one in set(unstopped.asked)] == unstopped.asked
    assert record(life)["model_calls"] == len(unstopped.asked)
    assert life.fetched == unstopped.fetched


def test_a_host_that_cannot_be_reached_is_one_line_and_another_one_goes_on(world: World, rig: Rig, unstopped: Life, tmp_path: Path) -> None:
    life = Life(rig, world, world.config(tmp_path / "dead"))
    assert life.killed_at("note.after", 2)
    away = life.whole("--set", "model.base_url=http://127.0.0.1:9/v1")
    assert away.status == 3, away.said()
    assert "nothing answers at 127.0.0.1" in last_line(away.said())
    assert life.whole("--set", f"model.base_url={world.host.base_url}").status == 0
    same_findings(life, unstopped)
    assert len(life.asked) == len(unstopped.asked)
    assert life.fetched == unstopped.fetched


def test_a_host_that_comes_back_is_waited_for(world: World, rig: Rig, unstopped: Life, tmp_path: Path) -> None:
    life = Life(rig, world, world.config(tmp_path / "back"))
    count = 0

    def busy_at_times(request: dict[str, Any]) -> Reply:
        nonlocal count
        count += 1
        return BUSY if count % 3 == 0 else world.script(request)

    world.host.script = busy_at_times
    assert life.whole().status == 0
    same_findings(life, unstopped)
