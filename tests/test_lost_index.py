"""The folder of the vectors is deleted or cut, while a run goes or between sessions: nothing is lost, and they are made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_damage import config

from research_agent import Agent
from research_agent.ending import Result
from research_agent.memory import Archive, Choice
from research_agent.testing.embedder import HashingEmbedder

Harm = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_agent.memories.choose", lambda spec, **_: Choice(HashingEmbedder(), ""))


def agent(tmp_path: Path, **changes: Any) -> Agent:
    return Agent(config(tmp_path, memory={"embedder": "onnx"}, **changes))


def deleted(vectors: Path) -> None:
    shutil.rmtree(vectors)


def cut_in_half(vectors: Path) -> None:
    for path in vectors.rglob("*"):
        if path.is_file():
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)


def emptied(vectors: Path) -> None:
    for path in vectors.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def only_its_database(vectors: Path) -> None:
    (vectors / "chroma.sqlite3").unlink()


HARMS: list[Harm] = [deleted, cut_in_half, emptied, only_its_database]


async def whole(result: Result) -> None:
    """The run has ended, and every piece of what it read has its vectors."""
    assert (result.status, result.reason) == ("complete", "")
    assert json.loads((result.folder / "findings.json").read_text("utf-8"))
    archive = Archive.open(result.folder, run=result.id, embedder=HashingEmbedder())
    await archive.flush()
    stats = archive.stats()
    assert (stats.indexed, stats.failure) == (stats.chunks, "")
    assert await archive.recall("two processes", budget_tokens=200)
    await archive.close()


@pytest.mark.parametrize("harm", HARMS)
async def test_while_the_run_goes(tmp_path: Path, harm: Harm) -> None:
    folder = Path()
    harmed: list[int] = []

    def on_event(event: Any) -> None:
        nonlocal folder
        folder = Path(event.get("folder", folder))
        if event["type"] == "result" and event["step"] in (3, 7) and (folder / "vectors" / "chroma.sqlite3").exists():
            harmed.append(event["step"])
            harm(folder / "vectors")

    result = await agent(tmp_path).arun(on_event=on_event)
    assert harmed
    await whole(result)


@pytest.mark.parametrize("harm", HARMS)
async def test_between_two_sessions(tmp_path: Path, harm: Harm) -> None:
    first = await agent(tmp_path, limits={"steps": 6}).arun()
    assert first.status == "incomplete"
    harm(first.folder / "vectors")
    await whole(await agent(tmp_path).aresume(first.id))
