"""A report is for its reader: what an operator is to type, and what was overcome, does not stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import KEY, Chain, config
from command_line import Command
from langgraph.runtime import RunControl

from research_agent import Agent
from research_agent.history.settings import config_of
from research_agent.runs import Run
from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Site

OPERATORS = ("research-agent", "`", "limits.", "model.", "base_url")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, ScriptedHost]]:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    monkeypatch.setattr("research_agent.graphs.calls.wait_s", lambda error, attempt: 0.01)
    with Site() as site, ScriptedHost(Chain(site, wide=2).script, key=KEY) as host:
        yield site, host


@pytest.fixture
async def run(tmp_path: Path, host: tuple[Site, ScriptedHost]) -> Run:
    """Incomplete: a limit cut its second turn of two notes in the middle."""
    result = await Agent(config(tmp_path, *host, limits={"usd": 2.0, "steps": 4, "minutes": 5})).arun()
    assert result.status == "incomplete"
    return Run(result.folder)


def notes(run: Run) -> str:
    """What a report says of itself, before and after its text."""
    text = (run.folder / "report.md").read_text("utf-8")
    assert str(run.folder) not in text
    return text.partition("## Short answer")[0] + text.partition("## What did not work")[2]


async def test_a_stopped_runs_report_says_that_and_what_is_open(run: Run) -> None:
    control = RunControl()
    control.request_drain("at once")
    await Agent(config_of(run, overrides=["limits.steps=60"])).aresume(run.folder, control=control)
    assert "> **Incomplete**: it was stopped before its end. Still open: Which codes do the stations have?\n" in notes(run)
    assert f"stopped; `research-agent resume {run.name}` goes on" in run.read()["reason"]
    assert not [word for word in OPERATORS if word in notes(run)]


def test_a_lost_hosts_report_has_the_cause_and_no_remedy(run: Run, command: Command) -> None:
    done = command("resume", str(run.folder), "--set", "limits.steps=60", "--set", "model.base_url=http://127.0.0.1:1/v1")
    assert "check model.base_url, then `research-agent resume" in done.err
    assert "> **Incomplete**: nothing answers at 127.0.0.1:1, given up after " in notes(run)
    assert not [word for word in OPERATORS if word in notes(run)]


def test_what_was_overcome_is_not_told_as_what_did_not_work(run: Run, host: tuple[Site, ScriptedHost], command: Command) -> None:
    assert command("resume", str(run.folder), "--set", "limits.steps=60", "--set", "model.base_url=http://127.0.0.1:1/v1").code == 3
    goes_on = ("--set", "limits.steps=60", "--set", f"model.base_url={host[1].base_url}")
    assert command("resume", str(run.folder), *goes_on).code == 0
    for _ in range(2):
        assert (
            command("report", str(run.folder), "--model", "openai:other", "--set", "roles.writer.base_url=http://127.0.0.1:1/v1").code == 1
        )
    assert command("resume", str(run.folder)).code == 0
    assert command("report", str(run.folder), "--model", "openai:other").code == 0
    assert "did not work" not in (run.folder / "report.md").read_text("utf-8")
    assert "failed: " not in command("show", str(run.folder)).out
