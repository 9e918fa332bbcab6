"""A ledger is deleted, or loses a part, in a run that has noted something: nothing noted is ever silently missing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.runtime import RunControl

from research_agent import Agent, Config, RunError
from research_agent.ending import Result
from research_agent.runs import Run
from research_agent.testing.crash.world import KEY, KEY_VARIABLE, World

STATIONS = 3
ALL = sorted(f"Station {line}{n} has its code." for line in "AB" for n in range(STATIONS))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with World(lines="AB", follow_up="", stations=STATIONS) as world:
        yield world


def agent(world: World, tmp_path: Path, **changes: Any) -> Agent:
    return Agent(Config.load(world.config(tmp_path, python={"enabled": False}, **changes)))


async def stopped(world: World, tmp_path: Path) -> Result:
    """In its second line, with all of the first noted."""
    result = await agent(world, tmp_path, limits={"usd": 20.0, "steps": 12, "minutes": 60}).arun()
    assert result.status == "incomplete"
    assert set(claims(result.folder)) >= {claim for claim in ALL if " A" in claim}
    return result


def claims(folder: Path, name: str = "findings.json") -> list[str]:
    return sorted(finding["claim"] for finding in json.loads((folder / name).read_text("utf-8")))


def lose(folder: Path, where: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        assert db.execute(f"DELETE FROM segments WHERE {where}").rowcount
        db.commit()


async def gone_on(at: Agent, folder: Path) -> tuple[Result, str]:
    warned: list[str] = []
    result = await at.aresume(folder, on_event=lambda event: warned.append(event["text"]) if event["type"] == "warning" else None)
    return result, "\n".join(warned)


async def test_of_a_run_without_its_ledger_every_finding_is_looked_for_again(world: World, tmp_path: Path) -> None:
    folder = (await stopped(world, tmp_path)).folder
    before, report = claims(folder), (folder / "report.md").read_text()
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()
    result, warned = await gone_on(agent(world, tmp_path), folder)
    assert result.status == "complete"
    assert f"{len(before)} findings are lost with a part of the ledger; investigated again: sub-question 1" in warned
    assert claims(folder) == ALL
    assert claims(folder, "findings.1.json") == before
    assert (folder / "report.1.md").read_text() == report


def age(folder: Path) -> None:
    """The log as an older version wrote it: it told the step of no finding."""
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    older = [{key: value for key, value in event.items() if (event["type"], key) != ("finding", "step")} for event in told]
    assert older != told
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in older))


@pytest.mark.parametrize("log", ["of now", "older"])
async def test_findings_whose_sources_are_there_are_noted_again_from_the_log(world: World, tmp_path: Path, log: str) -> None:
    folder = (await stopped(world, tmp_path)).folder
    lose(folder, "kind = 'finding'")
    if log == "older":
        age(folder)
    visits = len(world.site.visits)
    result, warned = await gone_on(agent(world, tmp_path), folder)
    assert (result.status, "findings are lost" in warned) == ("complete", False)
    assert claims(folder) == ALL
    assert not [visit.path for visit in world.site.visits[visits:] if visit.path.startswith("/A")]


async def test_a_sub_question_whose_sources_are_lost_is_open_again_and_only_once(world: World, tmp_path: Path) -> None:
    folder = (await stopped(world, tmp_path)).folder
    lose(folder, "url LIKE '%/A1' OR kind = 'finding' AND quote LIKE '%A1 %'")
    result, warned = await gone_on(agent(world, tmp_path, limits={"usd": 20.0, "steps": 15, "minutes": 60}), folder)
    assert result.status == "incomplete"
    assert "1 findings are lost with a part of the ledger; investigated again: sub-question 1; what there was is kept as" in warned
    result, warned = await gone_on(agent(world, tmp_path), folder)
    assert (result.status, "findings are lost" in warned) == ("complete", False)
    assert claims(folder) == ALL


async def test_a_complete_run_that_lost_findings_keeps_its_report_and_a_fork_looks_for_them(world: World, tmp_path: Path) -> None:
    at = agent(world, tmp_path)
    result = await at.arun()
    assert claims(result.folder) == ALL
    lose(result.folder, "url LIKE '%/A1' OR kind = 'finding' AND quote LIKE '%A1 %'")
    for work in (at.aresume(result.id), at.arewrite(result.id)):
        with pytest.raises(RunError, match=r"is complete, and 1 of its findings are lost .*`research-agent fork \S+ --at \d+`"):
            await work
    assert claims(result.folder) == ALL
    steps = json.loads((result.folder / "run.json").read_text())["steps"]
    forked = await at.afork(result.id, at=steps)
    assert (forked.status, claims(forked.folder)) == ("complete", ALL)


async def test_a_run_that_was_killed_before_its_report_was_written_looks_again_for_what_it_lost(world: World, tmp_path: Path) -> None:
    result = await agent(world, tmp_path).arun()
    Run(result.folder).update(status="running", reason="", report=None)
    for path in result.folder.glob("report.*"):
        path.unlink()
    lose(result.folder, "url LIKE '%/A1' OR kind = 'finding' AND quote LIKE '%A1 %'")
    visits = len(world.site.visits)
    result, warned = await gone_on(agent(world, tmp_path), result.folder)
    assert "investigated again: sub-question 1" in warned
    assert [visit.path for visit in world.site.visits[visits:]] == ["/A1"]
    assert (result.status, claims(result.folder)) == ("complete", ALL)


async def test_where_a_limit_lets_nothing_be_investigated_again_what_was_found_stays_as_it_is(world: World, tmp_path: Path) -> None:
    folder = (await stopped(world, tmp_path)).folder
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()
    before = {name: (folder / name).read_bytes() for name in ("findings.json", "sources.json", "report.md")}
    result, _ = await gone_on(agent(world, tmp_path, limits={"usd": 20.0, "steps": 12, "minutes": 60}), folder)
    assert result.status == "failed"
    assert "findings are lost with a part of the ledger, and the limit of 12 steps was reached: raise that, and " in result.reason
    assert f"`research-agent resume {folder}` investigates again" in result.reason
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert json.loads((folder / "run.json").read_text())["status"] == "incomplete"
    result, _ = await gone_on(agent(world, tmp_path), folder)
    assert (result.status, claims(folder)) == ("complete", ALL)


async def test_a_fork_of_a_run_with_an_older_log_misses_nothing_that_came_later(world: World, tmp_path: Path) -> None:
    folder = (await stopped(world, tmp_path)).folder
    age(folder)
    warned: list[str] = []
    forked = await agent(world, tmp_path).afork(
        folder, at=4, on_event=lambda event: warned.append(event["text"]) if event["type"] == "warning" else None
    )
    assert (forked.status, claims(forked.folder)) == ("complete", ALL)
    assert not [text for text in warned if "lost" in text]


async def test_a_report_is_not_written_anew_on_less_than_was_found(world: World, tmp_path: Path) -> None:
    result = await stopped(world, tmp_path)
    lose(result.folder, "url LIKE '%/A1' OR kind = 'finding' AND quote LIKE '%A1 %'")
    before = (result.folder / "report.md").read_bytes()
    with pytest.raises(RunError, match=r"1 of its findings are lost .*`research-agent resume \S+` investigates again"):
        await agent(world, tmp_path).arewrite(result.id)
    assert (result.folder / "report.md").read_bytes() == before


async def test_a_ledger_that_is_no_database_says_what_moving_it_away_does(world: World, tmp_path: Path) -> None:
    folder = (await stopped(world, tmp_path)).folder
    for path in folder.glob("ledger.sqlite?*"):
        path.unlink()
    (folder / "ledger.sqlite").write_bytes(b"garbage" * 1000)
    result, _ = await gone_on(agent(world, tmp_path), folder)
    assert result.status == "failed"
    assert f"move it away, and `research-agent resume {folder}` investigates the whole plan again" in result.reason
    (folder / "ledger.sqlite").rename(tmp_path / "away")
    result, warned = await gone_on(agent(world, tmp_path), folder)
    assert (result.status, claims(folder)) == ("complete", ALL)
    assert "investigated again: sub-question 1" in warned


async def test_a_run_that_another_graph_drives_does_not_go_on_without_its_ledger(world: World, tmp_path: Path) -> None:
    at = agent(world, tmp_path)
    async with at.embedded() as run:
        pass
    async with at.embedded(run=run.id):
        pass
    (run.folder / "ledger.sqlite").unlink()
    with pytest.raises(RunError, match="cannot be gone on with: its ledger is gone"):
        async with at.embedded(run=run.id):
            pass


async def noted_in_an_open_one(world: World, tmp_path: Path) -> Path:
    """Stopped with all noted, and the second sub-question open; a finding of that is lost since."""
    result = await agent(world, tmp_path, limits={"usd": 20.0, "steps": 16, "minutes": 60}).arun()
    assert (result.status, claims(result.folder)) == ("incomplete", ALL)
    lose(result.folder, "url LIKE '%/B1' OR kind = 'finding' AND quote LIKE '%B1 %'")
    return result.folder


async def test_a_draft_that_tells_of_what_is_lost_does_not_stand_for_as_many_findings_that_are_noted_since(
    world: World, tmp_path: Path
) -> None:
    folder, control = await noted_in_an_open_one(world, tmp_path), RunControl()

    def stop(event: dict[str, Any]) -> None:
        if event["type"] == "finding":
            control.request_drain("as by Ctrl-C")

    result = await agent(world, tmp_path).aresume(folder, on_event=stop, control=control)
    assert (result.status, claims(folder)) == ("incomplete", ALL)
    assert "was never read" not in (folder / "report.md").read_text()


async def test_a_report_stays_as_it_is_where_a_limit_lets_a_lost_finding_of_an_open_sub_question_not_be_noted_again(
    world: World, tmp_path: Path
) -> None:
    folder = await noted_in_an_open_one(world, tmp_path)
    before = {name: (folder / name).read_bytes() for name in ("findings.json", "sources.json", "report.md")}
    result, _ = await gone_on(agent(world, tmp_path, limits={"usd": 20.0, "steps": 16, "minutes": 60}), folder)
    assert "1 findings are lost with a part of the ledger, and the limit of 16 steps was reached: raise that, and " in result.reason
    assert {name: (folder / name).read_bytes() for name in before} == before
    result, _ = await gone_on(agent(world, tmp_path), folder)
    assert (result.status, claims(folder)) == ("complete", ALL)
