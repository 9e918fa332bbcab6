"""A memory opened for reading: beside its writer, on a folder at rest, and nothing of it changes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_agent.memory import Archive, ArchiveError, ArchiveInUse, EmbedderChanged, ReadOnly, Segment
from research_agent.testing.embedder import HashingEmbedder

SAME = {"automobile": "car"}


def page(step: int, text: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted")


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


async def written(folder: Path, embedder: HashingEmbedder | None = None) -> None:
    archive = Archive.open(folder, run="r", embedder=embedder)
    await archive.archive([page(1, "The automobile was parked."), page(2, "Bread is made from flour.")])
    await archive.close()


@pytest.mark.parametrize("embedder", [None, HashingEmbedder(same=SAME)])
async def test_nothing_is_written(tmp_path: Path, embedder: HashingEmbedder | None) -> None:
    await written(tmp_path, embedder)
    before = files(tmp_path)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    archive = Archive.open(tmp_path, run="r", embedder=embedder, read_only=True)
    assert [p.segment.step for p in await archive.recall("automobile", budget_tokens=100)] == [1]
    assert bool(await archive.recall("car", budget_tokens=100)) == (embedder is not None)
    assert archive.get("S200").text == "Bread is made from flour."
    for write in (archive.archive([page(3, "x")]), archive.forget(), archive.rebuild()):
        with pytest.raises(ReadOnly, match="opened for reading only"):
            await write
    with pytest.raises(ReadOnly):
        archive.put_body("x")
    await archive.close()
    assert files(tmp_path) == before


async def test_a_reader_sees_what_the_writer_beside_it_writes(tmp_path: Path) -> None:
    await written(tmp_path)
    reader = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(), read_only=True)
    writer = Archive.open(tmp_path, run="r")
    for step in range(3, 20):
        await writer.archive([page(step, f"zinc {step} " * 200)])
        assert reader.get(f"S{step}00") is not None
        assert (await reader.recall("zinc", budget_tokens=300, since_step=step))[0].segment.step == step
    await writer.close()
    writer = Archive.open(tmp_path, run="r")
    await writer.archive([page(50, "tungsten")])
    assert reader.get("S5000").text == "tungsten"
    await reader.close()
    await writer.forget()
    await writer.close()


async def test_vectors_are_left_alone_while_somebody_writes_them(tmp_path: Path) -> None:
    embedder = HashingEmbedder(same=SAME)
    writer = Archive.open(tmp_path, run="r", embedder=embedder)
    await writer.archive([page(1, "The automobile was parked.")])
    await writer.flush()
    reader = Archive.open(tmp_path, run="r", embedder=embedder, read_only=True)
    assert [p.segment.step for p in await reader.recall("automobile", budget_tokens=100)] == [1]
    assert await reader.recall("car", budget_tokens=100) == []
    assert reader.stats().failure == "this memory is being written: recall ranks by words"
    await reader.close()
    await writer.close()


async def test_vectors_of_another_embedder_are_not_used_and_not_touched(tmp_path: Path) -> None:
    await written(tmp_path, HashingEmbedder(name="one", same=SAME))
    before, other = files(tmp_path), HashingEmbedder(name="two", same=SAME)
    reader = Archive.open(tmp_path, run="r", embedder=other, read_only=True)
    assert [p.segment.step for p in await reader.recall("automobile", budget_tokens=100)] == [1]
    assert await reader.recall("car", budget_tokens=100) == []
    assert reader.stats().failure.startswith("the vectors of r were made by one (128 dimensions), the embedder now is two")
    await reader.close()
    assert files(tmp_path) == before


async def test_a_changed_embedder_can_be_refused(tmp_path: Path) -> None:
    one, two = HashingEmbedder(name="one", same=SAME), HashingEmbedder(name="two", same=SAME)
    await written(tmp_path, one)
    with pytest.raises(EmbedderChanged, match=r"made by one .*, the embedder now is two"):
        Archive.open(tmp_path, run="r", embedder=two, changed="refuse")
    archive = Archive.open(tmp_path, run="r", embedder=one, changed="refuse")  # and what was refused is as it was
    assert await archive.recall("car", budget_tokens=100)
    assert one.texts == 3
    await archive.close()


async def test_a_killed_runs_memory_can_be_read_where_it_lies(tmp_path: Path) -> None:
    await written(tmp_path)
    writer = Archive.open(tmp_path, run="r")
    await writer.archive([page(7, "only in the log")])
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in os.listdir(tmp_path):
        if name.startswith("ledger"):
            shutil.copy(tmp_path / name, killed)
    await writer.close()
    reader = Archive.open(killed, run="r", read_only=True)
    assert reader.get("S700").text == "only in the log"
    await reader.close()


def test_no_memory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no memory in"):
        Archive.open(tmp_path, run="r", read_only=True)
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from research_agent.memory import Archive
archive = Archive.open(Path(sys.argv[1]), run="r")
print("open", flush=True)
sys.stdin.read()
"""


def test_another_process_that_writes_is_told_in_one_line(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ArchiveInUse, match="is open already, here or in another process") as told:
            Archive.open(tmp_path, run="r")
        assert "\n" not in str(told.value)
        reader = Archive.open(tmp_path, run="r", read_only=True)
        assert list(reader.segments()) == []
        asyncio.run(reader.close())
        holder.stdin.close()
    asyncio.run(Archive.open(tmp_path, run="r").close())
