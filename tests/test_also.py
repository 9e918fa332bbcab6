"""Recall from earlier runs: told apart, citable, and the earlier run untouched. With the extractive model: nothing here is scripted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_agent import Agent, Config, ConfigError
from research_agent.graphs.observation import parse
from research_agent.history.replay import replay
from research_agent.memory import Archive, Segment
from research_agent.runs import Run
from research_agent.testing.embedder import HashingEmbedder
from research_agent.tools.note import note_tool
from research_agent.tools.recall import recall_tool

QUESTION = "How many sacks did the mill at Orrin grind in 1903?"
FACT = "The mill at Orrin ground 567 sacks in 1903, its best year before the flood."


def agent(tmp_path: Path, docs: str, *overrides: str) -> Agent:
    mapping = {
        "question": QUESTION,
        "search": {"providers": ["folder"], "folder": str(tmp_path / docs)},
        "memory": {"embedder": "none"},
        "out": str(tmp_path / "runs"),
        "cache": str(tmp_path / "cache"),
    }
    return Agent(Config.from_mapping(mapping, base=tmp_path, overrides=overrides))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_a_run_answers_from_what_an_earlier_one_read(tmp_path: Path) -> None:
    for name, text in [
        ("first/orrin.md", f"# The mill at Orrin\n\n{FACT}\n"),
        ("second/bread.md", "# Bread\n\nBread is baked from flour.\n"),
    ]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    first = await agent(tmp_path, "first").arun()
    assert first.status == "complete"
    before = files(first.folder)
    alone = await agent(tmp_path, "second").arun()
    assert alone.status == "failed"
    second = await agent(tmp_path, "second", f"memory.also=[{first.id}]").arun()
    assert (second.status, "567 sacks" in second.answer) == ("complete", True)
    assert files(first.folder) == before
    [theirs] = json.loads((first.folder / "sources.json").read_text())
    [source] = json.loads((second.folder / "sources.json").read_text())
    assert (source["url"], source["retrieved_at"], source["run"]) == (theirs["url"], theirs["retrieved_at"], first.id)
    assert f"read by the earlier run {first.id}" in second.report.read_text()
    shutil.rmtree(first.folder)  # what was cited is this run's own by now
    replayed = await replay(Run(second.folder))
    assert (replayed.difference, replayed.requests > 3) == ("", True)
    archive = Archive.open(second.folder, run=second.id, read_only=True)
    assert FACT in archive.get(source["id"]).text
    await archive.close()


@pytest.mark.parametrize("name", ["no-such-run", "{tmp}/nowhere"])
def test_a_missing_run_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "docs").mkdir()
    name = name.format(tmp=tmp_path)
    with pytest.raises(ConfigError, match=r"memory\.also\.0: .*not allowed: the id or the folder of an earlier run") as told:
        agent(tmp_path, "docs", f"memory.also=[{name}]")
    assert "\n" not in str(told.value)
    (tmp_path / "c.yaml").write_text(f"question: x\nsearch: {{folder: {tmp_path}/docs}}\nmemory: {{also: ['{name}']}}\n")
    command = [sys.executable, "-m", "research_agent", "run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "memory.also.0" in done.stderr


def page(run: str, step: int, text: str, **more: str) -> Segment:
    return Segment(run=run, step=step, kind="observation", text=text, trust="untrusted", tool="scrape", **more)


async def ask(archive: Archive, *earlier: Archive, **args: object):
    call = {"type": "tool_call", "id": "1", "name": "recall", "args": {"query": "zinc", **args}}
    return await recall_tool(archive, earlier=earlier).ainvoke(call)


async def test_what_is_anothers_is_told_apart_and_what_is_known_is_not_brought_twice(tmp_path: Path) -> None:
    other = Archive.open(tmp_path / "other", run="other")
    await other.archive(
        [
            page("other", 1, "Zinc melts at 420 degrees.", url="https://a.example/zinc", retrieved_at="2026-01-02T03:04:05Z"),
            page("other", 2, "Zinc is mined at Tara.", url="https://b.example/tara"),
            Segment(run="other", step=3, kind="reasoning", text="Zinc may matter.", trust="own"),
        ]
    )
    mine = Archive.open(tmp_path / "mine", run="mine")
    await mine.archive([page("mine", 1, "Zinc is mined at Tara.", url="https://b.example/tara")])
    message = await ask(mine, other)
    own, theirs = parse(message.content)
    assert (own.handle, own.run, theirs.run, theirs.handle, theirs.trust) == ("S100", "", "other", "", "untrusted")
    fresh = [document for document in message.artifact.documents if not document.origin]
    assert [(d.url, d.retrieved_at, d.run) for d in fresh] == [("https://a.example/zinc", "2026-01-02T03:04:05Z", "other")]
    assert "Zinc may matter" not in message.content  # a thought of another run is nobody's here
    assert (await ask(mine, other, kind="reasoning")).content.startswith("Nothing in memory")
    tool = note_tool(mine)  # a handle of the other run names nothing here: cited before it is shown, it is refused
    call = {"type": "tool_call", "id": "2", "name": "note", "args": {"claim": "x", "quote": "Zinc melts at 420 degrees.", "source": "S200"}}
    with pytest.raises(Exception, match="nothing was read from S200"):
        await tool.ainvoke(call)
    await mine.close()
    await other.close()


async def test_an_earlier_run_with_another_embedder_is_recalled_by_words(tmp_path: Path) -> None:
    same = {"automobile": "car"}
    other = Archive.open(tmp_path / "other", run="other", embedder=HashingEmbedder(name="one", same=same))
    await other.archive([page("other", 1, "An automobile at last.")])
    await other.close()
    before = files(tmp_path / "other")
    mine = Archive.open(tmp_path / "mine", run="mine")
    for name, found in [("two", False), ("one", True)]:
        reader = Archive.open(tmp_path / "other", run="other", embedder=HashingEmbedder(name=name, same=same), read_only=True)
        assert ("made by one" in reader.opened()) is not found
        assert ("An automobile" in (await ask(mine, reader, query="car")).content) is found
        assert "An automobile" in (await ask(mine, reader, query="automobile")).content
        await reader.close()
    assert files(tmp_path / "other") == before
    await mine.close()
