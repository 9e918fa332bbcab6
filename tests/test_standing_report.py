"""A report that was written stands until there is a better one: a session that finds nothing new does not take it away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import KEY, Chain, config
from command_line import Command
from langgraph.runtime import RunControl

from research_agent import Agent
from research_agent.history.rendering import rendered
from research_agent.history.settings import config_of
from research_agent.runs import Run
from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Site

ANSWER = "Station 0 has the code K0"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, ScriptedHost]]:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    monkeypatch.setattr("research_agent.graphs.calls.wait_s", lambda error, attempt: 0.01)
    with Site() as site, ScriptedHost(Chain(site).script, key=KEY) as host:
        yield site, host


@pytest.fixture
async def run(tmp_path: Path, host: tuple[Site, ScriptedHost]) -> Run:
    """Incomplete: a limit ended it after its second note, and its model wrote the report."""
    result = await Agent(config(tmp_path, *host, limits={"usd": 2.0, "steps": 5, "minutes": 5})).arun()
    assert result.status == "incomplete"
    return Run(result.folder)


def text(run: Run) -> str:
    return (run.folder / "report.md").read_text("utf-8")


def written(report: str) -> str:
    return report.partition("## Short answer")[2].partition("## What did not work")[0].partition("*Written by")[0]


def test_a_limit_below_what_was_spent_claims_nothing_and_its_remedy_goes_on(
    run: Run, host: tuple[Site, ScriptedHost], command: Command
) -> None:
    spent, asked = run.read()["usd"], len(host[1].requests)
    low = f"limits.usd={spent / 2:.4f}"
    done = command("resume", str(run.folder), "--set", low, "--set", "limits.steps=60")
    assert done.code == 3
    assert "kept back" not in done.err
    assert len(host[1].requests) == asked
    assert ANSWER in text(run).partition("## Short answer")[2]
    assert "*Written by scripted." in text(run)
    assert f"> **Incomplete**: the limit of ${spent / 2:.4f}".rstrip("0") in text(run)
    assert "did not work" not in text(run)
    remedy = re.search(r"`research-agent (resume \S+ --set limits\.usd=([\d.]+))` goes on", done.err)
    assert remedy, done.err
    assert float(remedy[2]) > spent
    assert command(*remedy[1].split()).code == 0
    assert "Incomplete" not in text(run)


def test_a_host_that_is_gone_takes_no_report_away(run: Run, command: Command) -> None:
    before = text(run)
    done = command("resume", str(run.folder), "--set", "limits.steps=60", "--set", "model.base_url=http://127.0.0.1:1/v1")
    assert done.code == 3
    after = text(run)
    assert written(after) == written(before)
    assert "*Written by scripted." in after
    assert "nothing answers at 127.0.0.1:1" in after.partition("## Short answer")[0]
    assert command("report", str(run.folder)).out.strip() == after.strip()
    assert command("replay", str(run.folder)).code == 0


async def test_a_stop_before_anything_new_takes_no_report_away(run: Run) -> None:
    before, control = text(run), RunControl()
    control.request_drain("at once")
    stopped = await Agent(config_of(run, overrides=["limits.steps=60"])).aresume(run.folder, control=control)
    assert stopped.status == "incomplete"
    assert written(text(run)) == written(before)
    assert "> **Incomplete**: it was stopped" in text(run)
    page = (run.folder / "report.html").read_text("utf-8")
    (run.folder / "report.html").unlink()
    assert await rendered(run, "html") == page


def test_what_was_noted_since_is_in_the_report_all_the_same(run: Run, host: tuple[Site, ScriptedHost], command: Command) -> None:
    asked = len(host[1].requests)
    assert command("resume", str(run.folder), "--set", "limits.steps=7").code == 3
    assert "Station 2 has the code K15838" in text(run).partition("## Short answer")[2].partition("## Sources")[0]
    assert len(host[1].requests) > asked
