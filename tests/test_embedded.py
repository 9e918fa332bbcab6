"""The investigation inside somebody else's graph, and the file by which LangGraph's own server would find it."""

from __future__ import annotations

import json
import runpy
from importlib import import_module
from pathlib import Path

import pytest
from langgraph.graph.state import CompiledStateGraph

from research_agent import Agent, RunError

ROOT = Path(__file__).resolve().parents[1]


def test_the_examples_are_listed_where_they_are() -> None:
    told = (ROOT / "examples" / "README.md").read_text("utf-8")
    here = [path.name for path in (ROOT / "examples").iterdir() if path.name[0] not in "._" and path.name != "README.md"]
    assert [name for name in here if f"`{name}" not in told] == []


async def test_the_example_runs_with_an_interrupt_passing_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(ROOT / "examples" / "embed_in_graph.py"))
    reply, report = await example["main"](str(tmp_path))
    assert "asks about its plan: Is it safe when two processes" in capsys.readouterr().out
    assert reply.startswith('Dear customer, "Two processes that write to one embedded Chroma folder lose vectors silently."')
    assert "[1]" in reply
    assert "[S" not in reply
    text = Path(report).read_text("utf-8")
    assert "lose vectors silently" in text
    assert "[1]" in text
    record = json.loads((Path(report).parent / "run.json").read_text("utf-8"))
    assert (record["status"], record["question"]) == ("complete", "Is it safe when two processes write vectors to one Chroma folder?")
    assert record["steps"] > 3
    assert json.loads((Path(report).parent / "sources.json").read_text("utf-8"))[0]["url"]


async def test_one_process_drives_an_embedded_run(tmp_path: Path) -> None:
    agent = Agent.from_config(ROOT / "examples" / "quickstart.yaml", out=tmp_path, overrides=[f"cache={tmp_path}/cache"])
    async with agent.embedded() as first:
        with pytest.raises(RunError, match="is being worked on by another process"):
            async with agent.embedded(run=first.id):
                pass
    async with agent.embedded(run=first.folder) as again:
        assert (again.id, again.context.run) == (first.id, first.id)


def test_langgraph_json_names_what_can_be_imported_and_compiled() -> None:
    named = json.loads((ROOT / "langgraph.json").read_text("utf-8"))["graphs"]
    assert named
    for target in named.values():
        module, _, attribute = target.partition(":")
        graph = getattr(import_module(module), attribute)()
        assert graph.get_graph().nodes
        assert isinstance(getattr(graph, "bound", graph), CompiledStateGraph)
