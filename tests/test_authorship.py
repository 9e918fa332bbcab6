"""Who wrote a report is told of the text that stands in it, whatever config a later session has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chain import KEY, Chain, config
from command_line import Command, Done

from research_agent import Agent
from research_agent.runs import Run
from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Site

QUOTED = "> No language model wrote this report"


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A complete run, written by a model that is there no more."""
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    with Site() as site, ScriptedHost(Chain(site).script, key=KEY) as host:
        result = await Agent(config(tmp_path, site, host)).arun()
    assert result.status == "complete"
    return Run(result.folder)


def files(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.glob("report.*")}


def config_of(run: Run) -> Any:
    return run.read()["config"]


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("research_agent.ending", "research_agent.runs"):
        monkeypatch.setattr(f"{module}.now", lambda: "2099-01-01T00:00:00Z")


def test_a_complete_run_that_is_resumed_has_the_report_it_had(run: Run, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before, settings = files(run), config_of(run)
    assert b"*Written by scripted. Finished " in before["report.md"]
    later(monkeypatch)
    assert command("resume", str(run.folder)).code == 0
    assert files(run) == before
    told = command("resume", str(run.folder), "--model", "openai:other", "--set", "report.max_words=50")
    assert told.code == 0
    assert f"--model is not used: `research-agent report {run.name} --model openai:other` has the report written anew\n" in told.err
    assert files(run) == before
    assert config_of(run) == settings
    page = run.folder / "report.html"
    page.unlink()
    assert command("report", str(run.folder), "--format", "html").out.strip().encode() == before["report.html"].strip()


def test_a_report_that_no_model_wrote_says_so_after_a_resume_too(run: Run, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def printed(*args: str) -> str:
        done: Done = command(*args)
        assert done.code == 0
        return (run.folder / "report.md").read_text("utf-8")

    rewritten = printed("report", str(run.folder), "--model", "extractive")
    assert QUOTED in rewritten
    later(monkeypatch)
    for args in ((), ("--model", "openai:other"), ("--set", "model.name=other")):
        assert printed("resume", str(run.folder), *args) == rewritten
    assert "Written by" not in rewritten
