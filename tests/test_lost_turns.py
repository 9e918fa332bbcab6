"""Damage takes a message of a conversation, and a kill came while the calls of a turn were being made."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any, Literal

import pytest
from chain import KEY, Chain, config
from langgraph.checkpoint.base import CheckpointTuple

from research_agent import Agent, Config
from research_agent.history.replay import replay
from research_agent.history.steps import read_only, values_of
from research_agent.runs import Run
from research_agent.stores import lock
from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Page, Site, Visit

Which = Literal["thought", "result", "older"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its pages 1 and 2 wait."""
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    opened = Event()
    with Site() as site:
        chain = Chain(site, wide=3, length=6)
        for name in ("/page1", "/page2"):
            site.pages[name] = waiting(site.pages[name], opened)
        with ScriptedHost(chain.script, key=KEY) as host:
            yield config(tmp_path, site, host), opened
        opened.set()


def waiting(page: Any, opened: Event) -> Any:
    def answer(visit: Visit) -> Page:
        opened.wait(20)
        assert isinstance(page, Page)
        return page

    return answer


async def cut_after_one_of_three(settings: Config, opened: Event) -> Run:
    """A run's folder as a kill would leave it: copied while it waits for the two pages."""
    told = asyncio.Event()
    task = asyncio.create_task(
        Agent(settings).arun(on_event=lambda event: told.set() if event["type"] == "result" and event["step"] == 2 else None)
    )
    await told.wait()
    [folder] = settings.out.iterdir()
    while not (await written(Run(folder)))[1]:
        await asyncio.sleep(0.05)
    cut = settings.out.with_name("cut") / folder.name
    shutil.copytree(folder, cut, ignore=shutil.ignore_patterns(lock.LOCK, lock.RECORD))
    opened.set()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return Run(cut)


async def written(run: Run) -> tuple[CheckpointTuple, list[Any]]:
    """The newest checkpoint, and the results of calls that were written since."""
    async with read_only(run) as history:
        newest = history[-1]
    return newest, [ref for _, channel, value in newest.pending_writes or () if channel == "results" for ref in value.values()]


async def lose(run: Run, which: Which) -> None:
    newest, [result] = await written(run)
    turns = values_of(newest)["turns"]
    ref = {"thought": turns[-1], "result": result, "older": turns[-2]}[which]["ref"]
    with closing(sqlite3.connect(run.folder / "ledger.sqlite")) as db:
        assert db.execute("DELETE FROM bodies WHERE hash = ?", (ref,)).rowcount == 1
        db.commit()


async def gone_on(settings: Config, run: Run) -> list[Any]:
    events: list[Any] = []
    result = await Agent(settings).aresume(run.folder, on_event=events.append)
    assert (result.status, result.reason) == ("complete", "")
    assert [event["text"] for event in events if event["type"] == "warning" and "1 messages are lost" in event["text"]]
    return events


@pytest.mark.parametrize("which", ["thought", "result", "older"])
async def test_of_a_turn_that_is_lost_no_call_is_made_and_every_other_call_is(world: tuple[Config, Event], which: Which) -> None:
    settings, opened = world
    run = await cut_after_one_of_three(settings, opened)
    await lose(run, which)
    events = await gone_on(settings, run)
    asked = next(index for index, event in enumerate(events) if event["type"] == "turn")
    made = [event["step"] for event in events[:asked] if event["type"] == "call"]
    assert made == ([3, 4] if which == "older" else [])


@pytest.mark.parametrize("which", ["thought", "result", "older"])
async def test_a_run_that_left_out_a_lost_turn_replays(world: tuple[Config, Event], which: Which) -> None:
    settings, opened = world
    run = await cut_after_one_of_three(settings, opened)
    await lose(run, which)
    await gone_on(settings, run)
    replayed = await replay(run)
    assert replayed.difference == ""
    assert replayed.requests == replayed.recorded > 8
