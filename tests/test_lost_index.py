"""The folder of the vectors is deleted or cut, while a run goes or between sessions: nothing is lost, and they are made anew."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_runs import config

from research_agent import Agent
from research_agent.commands.remembering import rebuild, search
from research_agent.ending import Result
from research_agent.memory import Archive, Choice, Segment
from research_agent.testing.embedder import HashingEmbedder

Harm = Callable[[Path], None]
EMBEDDER = HashingEmbedder(same={"automobile": "car"})


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
    warnings = json.loads((first.folder / "run.json").read_text("utf-8"))["warnings"]
    assert any("were damaged" in text and "made anew" in text for text in warnings) == (harm is not deleted)


@pytest.mark.parametrize("harm", HARMS)
async def test_a_search_says_so_in_one_line_and_goes_by_words(tmp_path: Path, harm: Harm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_agent.commands.remembering.choose", lambda spec, **_: Choice(HashingEmbedder(), ""))
    result = await agent(tmp_path).arun()
    harm(result.folder / "vectors")
    before = {path: path.read_bytes() for path in result.folder.rglob("*") if path.is_file()}
    said: list[str] = []
    found = await search(str(result.folder), tmp_path, "two processes", 500, say=said.append)
    assert "two processes" in found[0]
    [line] = said
    assert line.endswith(f": recall ranks by words; `research-agent memory rebuild {result.folder}` makes them anew")
    assert "damaged" in line or "are not there" in line or "no vectors" in line
    assert {path: path.read_bytes() for path in result.folder.rglob("*") if path.is_file()} == before
    assert "rebuilt the index" in await rebuild(str(result.folder), tmp_path, "")
    await search(str(result.folder), tmp_path, "two processes", 500, say=said.append)
    assert len(said) == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of so many vectors that Chroma has written its graph into files."""
    folder = tmp_path_factory.mktemp("large")

    async def write() -> None:
        archive = Archive.open(folder, run="r", embedder=EMBEDDER)
        await archive.archive([page(n, f"The automobile {n} was parked at place {n * 7}.") for n in range(1, 1100)])
        await archive.close()

    asyncio.run(write())
    return folder


FILES = ["chroma.sqlite3", "data_level0.bin", "header.bin", "index_metadata.pickle", "length.bin", "link_lists.bin"]


def cut(large: Path, tmp_path: Path, name: str, left: float) -> Path:
    """A copy, of whose file of that name only this part is left."""
    copy = Path(shutil.copytree(large, tmp_path / "copy"))
    [path] = (copy / "vectors").rglob(name)
    os.truncate(path, int(path.stat().st_size * left))
    return copy


def page(step: int, text: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted")


@pytest.mark.parametrize("left", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("name", FILES)
async def test_any_file_that_is_cut_is_recognised_by_who_reads(large: Path, tmp_path: Path, name: str, left: float) -> None:
    copy = cut(large, tmp_path, name, left)
    reader = Archive.open(copy, run="r", embedder=EMBEDDER, read_only=True)
    assert reader.opened().startswith("the vectors of r are damaged (")
    assert await reader.recall("car", budget_tokens=200) == []
    await reader.close()


async def test_what_a_cut_file_held_is_made_anew_by_who_writes(large: Path, tmp_path: Path) -> None:
    whole_one = Archive.open(large, run="r", embedder=EMBEDDER, read_only=True)
    expected = [passage.segment.step for passage in await whole_one.recall("car", budget_tokens=200)]
    await whole_one.close()
    assert expected
    archive = Archive.open(cut(large, tmp_path, "length.bin", 0.5), run="r", embedder=EMBEDDER)
    await archive.flush()
    assert archive.stats().mended == "the vectors of r were damaged (length.bin is cut), and are made anew from what is archived"
    assert archive.stats().failure == ""
    assert [passage.segment.step for passage in await archive.recall("car", budget_tokens=200)] == expected
    await archive.close()


@pytest.mark.parametrize(("since", "byte"), [(0.0, b"A"), (0.5, b"A"), (0.5, b"\x00")])
async def test_a_file_that_holds_something_else_is_recognised(large: Path, tmp_path: Path, since: float, byte: bytes) -> None:
    copy = Path(shutil.copytree(large, tmp_path / "copy"))
    [path] = (copy / "vectors").rglob("data_level0.bin")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * since)] + byte * (len(data) - int(len(data) * since)))
    reader = Archive.open(copy, run="r", embedder=EMBEDDER, read_only=True)
    assert reader.opened().startswith("the vectors of r are damaged (")
    await reader.close()


@pytest.mark.parametrize("column", ["collections.id", "segments.type", "collection_metadata.str_value", "embeddings_queue.metadata"])
async def test_a_database_whose_texts_are_none_is_recognised_and_made_anew(large: Path, tmp_path: Path, column: str) -> None:
    copy = Path(shutil.copytree(large, tmp_path / "copy"))
    table, name = column.split(".")
    with closing(sqlite3.connect(copy / "vectors" / "chroma.sqlite3")) as db, db:
        assert db.execute(f"UPDATE {table} SET {name} = CAST(x'ff41fe' AS TEXT)").rowcount
    archive = Archive.open(copy, run="r", embedder=EMBEDDER)
    await archive.flush()
    stats = archive.stats()
    assert (stats.indexed, stats.failure) == (stats.chunks, "")
    assert stats.mended.startswith("the vectors of r were damaged (")
    await archive.close()
