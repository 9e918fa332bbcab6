"""The wall clock is set back, in a run or between its sessions: nothing is done again, lost or put in another order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import langgraph.checkpoint.base.id as ids
import pytest
from chain import KEY, Chain, config

from research_agent import Agent, event_log, runs
from research_agent.history import listing
from research_agent.history.at_step import at_step
from research_agent.history.replay import replay
from research_agent.memory import Archive
from research_agent.runs import Run
from research_agent.stores import lock
from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Site
from research_agent.web import net

SetBack = Callable[[float], None]
DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> SetBack:
    """Sets the clock that the run sees back by so many seconds, once more with each call."""
    behind = [0.0]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(seconds=behind[0])

    clock = SimpleNamespace(
        time=lambda: time.time() - behind[0],
        time_ns=lambda: time.time_ns() - int(behind[0] * 1e9),
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    for module in (runs, event_log, net, listing):
        monkeypatch.setattr(module, "datetime", Clock)
    for module in (runs, lock, ids):
        monkeypatch.setattr(module, "time", clock)

    def back(seconds: float) -> None:
        behind[0] += seconds

    return back


def another_process() -> None:
    """It has made no checkpoint yet."""
    ids._last_v6_timestamp = None


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


async def test_between_sessions_no_step_is_made_again(tmp_path: Path, set_back: SetBack) -> None:
    with Site() as site:
        chain = Chain(site, length=5)
        with ScriptedHost(chain.script, key=KEY) as host:
            whole = await Agent(config(tmp_path / "whole", site, host)).arun()
            asked, fetched = len(host.requests), len(site.visits)
            folder = (await Agent(config(tmp_path, site, host, limits={"steps": 3})).arun()).folder
            for limit in (5, 7, 60):
                another_process()
                set_back(3 * DAY_S)
                result = await Agent(config(tmp_path, site, host, limits={"steps": limit})).aresume(folder)
            investigated = [request for request in host.requests if "tools" in request]
    assert (result.status, result.reason) == ("complete", "")
    assert len(site.visits) == 2 * fetched
    assert len(investigated) == 2 * (asked - 3)  # planner, reviewer and writer have no tools
    calls = [event["step"] for event in events(folder) if event["type"] == "call"]
    assert calls == list(range(1, len(calls) + 1))
    assert (await replay(Run(folder))).difference == ""
    assert (await at_step(Run(folder), 6))["prompt"]
    found = [json.loads((at / "findings.json").read_text("utf-8")) for at in (whole.folder, folder)]
    assert [[finding["claim"] for finding in one] for one in found] == [[finding["claim"] for finding in found[0]]] * 2


async def test_in_a_run_its_order_and_its_limits_hold(tmp_path: Path, set_back: SetBack) -> None:
    def on_event(event: Any) -> None:
        if event["type"] == "result" and event["step"] in (2, 4, 6):
            set_back(3 * DAY_S)

    with Site() as site:
        chain = Chain(site, length=5)
        with ScriptedHost(chain.script, key=KEY) as host:
            result = await Agent(config(tmp_path, site, host, limits={"minutes": 5})).arun(on_event=on_event)
    assert (result.status, result.reason) == ("complete", "")
    record = json.loads((result.folder / "run.json").read_text("utf-8"))
    assert 0 < record["seconds"] < 300
    sources = json.loads((result.folder / "sources.json").read_text("utf-8"))
    assert [source["number"] for source in sources] == list(range(1, len(sources) + 1))
    assert sources[0]["retrieved_at"] > sources[-1]["retrieved_at"]  # as the clock said
    archive = Archive.open(result.folder, run=result.id, read_only=True)
    passages = await archive.recall("codes of the stations", budget_tokens=2_000, kinds=["observation"])
    await archive.close()
    assert [passage.segment.step for passage in passages] == sorted(passage.segment.step for passage in passages)
    assert len({passage.segment.step for passage in passages}) > 2


async def test_a_fork_goes_on_from_where_it_was_taken(tmp_path: Path, set_back: SetBack) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as host:
            parent = await Agent(config(tmp_path, site, host)).arun()
            another_process()
            set_back(30 * DAY_S)
            fork = await Agent(config(tmp_path, site, host)).afork(parent.id, at=4, question="Are the doors green?")
            assert str(host.requests[-1]["messages"][0]["content"]).startswith("You write")
            again = await Agent(config(tmp_path, site, host)).afork(fork.id, at=json.loads((fork.folder / "run.json").read_text())["steps"])
    assert (fork.status, again.status) == ("complete", "complete")


def test_a_run_of_tomorrow_is_listed_with_its_age_and_its_lock_is_taken_over(tmp_path: Path, set_back: SetBack) -> None:
    run = runs.create(tmp_path, "Which?")
    with run.lock():
        pass
    (run.folder / lock.RECORD).write_text(json.dumps({"kernel": lock.me().kernel, "host": "here", "pid": 1, "beat": 3}))
    set_back(DAY_S)
    [row] = listing.rows(tmp_path)
    assert listing.age(row.created) == "now"
    assert row.status == "interrupted"
    with run.lock():
        assert listing.rows(tmp_path)[0].status == "running"
    assert datetime.fromisoformat(run.update(status="failed")["updated"]) < datetime.now(UTC)
    assert runs.create(tmp_path, "Which?").id != run.id
