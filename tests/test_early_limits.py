"""A limit that is reached before anything was noted is told as one, with the command that goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import Command
from scripted_runs import config, scripted

from research_agent.runs import Run
from research_agent.testing.host import Call, Reply, Request, ScriptedHost

NOTE = Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})


def script(request: Request) -> Reply:
    """Searches three times before it notes; its writer cites nothing unless something was noted."""

    def investigate(messages: list[dict[str, object]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        search = Call("web_search", {"query": f"Vulpa moons {results}"})
        return Reply(calls=[search]) if results < 3 else Reply(calls=[NOTE]) if results == 3 else Reply(content="Nine.")

    if str(request["messages"][0]["content"]).startswith("You write"):
        cited = "Vulpa has nine moons [S100]." if "claim: " in str(request["messages"][-1]["content"]) else "Nothing is known."
        return Reply(content=json.dumps({"answer": cited, "sections": []}))
    return scripted(investigate)(request)


def begun(tmp_path: Path, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps(config(tmp_path, host).public()))
    monkeypatch.chdir(tmp_path)


def test_a_limit_before_the_first_note_is_incomplete_and_goes_on(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedHost(script) as host:
        begun(tmp_path, host, monkeypatch)
        done = command("run", "config.yaml", "--set", "limits.steps=2")
        last = done.err.splitlines()[-1]
        said = r"research-agent: incomplete: the limit of 2 steps was reached before anything was noted for a report; "
        remedy = re.fullmatch(said + r"`research-agent (resume \S+ --set limits.steps=4)` goes on", last)
        assert done.code == 3
        assert remedy, last
        [folder] = (tmp_path / "runs").iterdir()
        assert Run(folder).status() == "incomplete"
        assert command(*remedy[1].split()).code == 3
        assert "has nine moons" in (folder / "report.md").read_text("utf-8")
        again = command("resume", folder.name, "--set", "limits.steps=3", "--json")  # progress and reason in one stream
        assert (again.code, again.err.count("the limit of 3 steps")) == (3, 1)
        assert command("resume", folder.name, "--set", "limits.steps=9").code == 0


def test_the_remedy_for_a_limit_that_pays_for_no_plan_sets_one_that_does(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedHost(script) as host:
        begun(tmp_path, host, monkeypatch)
        done = command("run", "config.yaml", "--set", "limits.usd=0.001")
        assert done.code == 1
        remedy = re.search(r"then `research-agent (resume \S+ --set limits\.usd=[\d.]+)`$", done.err.strip())
        assert remedy, done.err
        assert command(*remedy[1].split()).code == 0
