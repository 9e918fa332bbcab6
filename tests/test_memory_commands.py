"""`memory search | rebuild | export | import`, on a run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from research_agent import RunError, runs
from research_agent.commands.remembering import export, import_, rebuild, search
from research_agent.memory import Archive, ArchiveError, EmbedderChanged, Segment
from research_agent.memory.embedders import Choice
from research_agent.testing.embedder import HashingEmbedder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def embedders(monkeypatch: pytest.MonkeyPatch) -> None:
    """`onnx` and `openai:other` are doubles here."""

    def choose(spec: str, *, api_key: str = "") -> Choice:
        return Choice(None, "no embedder") if spec in ("none", "auto") else Choice(HashingEmbedder(name=spec, same={"automobile": "car"}))

    monkeypatch.setattr("research_agent.commands.remembering.choose", choose)


@pytest.fixture
async def run(tmp_path: Path, embedders: None) -> runs.Run:
    made = runs.create(tmp_path / "runs", "What of cars?", config={"memory": {"embedder": "onnx"}})
    archive = Archive.open(made.folder, run=made.id, embedder=HashingEmbedder(name="onnx", same={"automobile": "car"}))
    page = Segment(run=made.id, step=1, kind="observation", text="An automobile, parked.", trust="untrusted", url="https://a.example")
    await archive.archive([page])
    await archive.close()
    return made


async def test_search_writes_nothing_and_goes_on_beside_a_running_run(run: runs.Run, tmp_path: Path) -> None:
    said: list[str] = []
    before = files(run.folder)
    assert "An automobile" in (await search(run.id, tmp_path / "runs", "car", 500, say=said.append))[0]
    assert "An automobile" in (await search(str(run.folder), tmp_path / "runs", "S100", 500, say=said.append))[0]
    assert (files(run.folder), said) == (before, [])
    writer = Archive.open(run.folder, run=run.id)
    with run.lock():
        assert "An automobile" in (await search(run.id, tmp_path / "runs", "automobile", 500, say=said.append))[0]
        assert run.status() == "running"
    assert said == ["this memory is being written: recall ranks by words"]
    await writer.close()


async def test_a_search_takes_what_is_no_text(run: runs.Run, tmp_path: Path) -> None:
    for query in ("\udced\udca0\udc80", "automobile \ud800"):
        assert await search(run.id, tmp_path / "runs", query, 500, say=lambda text: None)


async def test_rebuild_says_what_it_did_and_a_new_embedder_is_kept(run: runs.Run, tmp_path: Path) -> None:
    told = f"rebuilt the index of {run.id}: 1 segments in 1 pieces, 1 vectors by "
    assert await rebuild(run.id, tmp_path / "runs", "") == f"{told}onnx"
    assert await rebuild(run.id, tmp_path / "runs", "openai:other") == f"{told}openai:other"
    assert run.read()["config"]["memory"]["embedder"] == "openai:other"
    said: list[str] = []
    assert await search(run.id, tmp_path / "runs", "car", 500, say=said.append) != ["nothing on that"]
    assert said == []
    assert "no vectors, for there is no embedder" in await rebuild(run.id, tmp_path / "runs", "none")
    with run.lock(), pytest.raises(RunError, match="is being worked on"):
        await rebuild(run.id, tmp_path / "runs", "")


async def test_a_refused_embedder_is_told_with_both_ways_on_and_each_of_them_works(run: runs.Run, tmp_path: Path) -> None:
    other, mine = HashingEmbedder(name="openai:other@http://h:1/v1"), HashingEmbedder(name="onnx")
    with pytest.raises(EmbedderChanged) as refused:
        Archive.open(run.folder, run=run.id, embedder=other, changed="refuse")
    told = str(refused.value)
    assert f"`research-agent memory rebuild {run.folder} --embedder openai:other@http://h:1/v1` makes them anew" in told
    assert told.endswith("or go on with those by memory.embedder: onnx")
    assert "\n" not in told
    await Archive.open(run.folder, run=run.id, embedder=mine, changed="refuse").close()
    await rebuild(run.id, tmp_path / "runs", other.identity)
    await Archive.open(run.folder, run=run.id, embedder=other, changed="refuse").close()


async def test_a_memory_goes_to_another_folder_and_is_searched_there(run: runs.Run, tmp_path: Path) -> None:
    file, into, said = tmp_path / "m.jsonl", tmp_path / "runs" / "taken", []
    assert await export(run.id, tmp_path / "runs", file) == f"exported 1 segments of {run.id} to {file}"
    assert await import_(file, into, "onnx", say=said.append) == f"imported 1 new segments into {into}; 1 are there"
    assert await import_(file, into, "onnx", say=said.append) == f"imported 0 new segments into {into}; 1 are there"
    assert "An automobile" in (await search("taken", tmp_path / "runs", "car", 500, say=said.append))[0]
    assert json.loads((into / "run.json").read_text())["question"] == "What of cars?"
    assert said == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(RunError, match="holds something else: import into a new folder"):
        await import_(file, tmp_path / "full", "onnx", say=said.append)


async def test_nothing_is_imported_into_a_run_of_its_own_however_empty_its_memory_is(run: runs.Run, tmp_path: Path) -> None:
    await export(run.id, tmp_path / "runs", tmp_path / "m.jsonl")
    other = runs.create(tmp_path / "runs", "What of ships?", config={"memory": {"embedder": "none"}})
    await Archive.open(other.folder, run=other.id).close()
    with pytest.raises(RunError, match="is a run of its own: import into a new folder"):
        await import_(tmp_path / "m.jsonl", other.folder, "none", say=lambda text: None)
    assert (other.read()["status"], other.read()["question"]) == ("running", "What of ships?")
    archive = Archive.open(other.folder, run=other.id, read_only=True)
    assert list(archive.segments()) == []
    await archive.close()


def test_a_damaged_file_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("{}\n")
    command = [sys.executable, "-m", "research_agent", "memory", "import", str(tmp_path / "m.jsonl"), "--into", str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"research-agent: {tmp_path / 'm.jsonl'} is not an exported memory\n",
    )
    assert not (tmp_path / "new").exists()


async def test_a_damaged_memory_is_one_line_to_whoever_searches_it(tmp_path: Path, embedders: None) -> None:
    made = runs.create(tmp_path / "runs", "What of cars?", config={"memory": {"embedder": "none"}})
    archive = Archive.open(made.folder, run=made.id)
    text = "A car that was parked by the mill stood there for years. " * 40
    await archive.archive([Segment(run=made.id, step=n, kind="observation", text=f"{n} {text}", trust="untrusted") for n in range(60)])
    await archive.close()
    path = made.folder / "ledger.sqlite"
    whole, told = path.read_bytes(), list[str]()
    for page in range(1, len(whole) // 4096, 7):
        path.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        try:
            await search(made.id, tmp_path / "runs", "a car by the mill", 400, say=lambda text: None)
        except ArchiveError as error:
            told.append(str(error))
    assert told
    assert all(f"memory rebuild {made.folder}` keeps what can be read" in line for line in told)


@pytest.mark.parametrize("left", [b"", b"no database at all. " * 900])
async def test_of_a_ledger_that_is_no_more_nothing_is_promised(run: runs.Run, tmp_path: Path, left: bytes) -> None:
    path = run.folder / "ledger.sqlite"
    path.unlink()
    if left:
        path.write_bytes(left)
        with pytest.raises(ArchiveError, match="keeps what can be read of it, if anything can"):
            await search(run.id, tmp_path / "runs", "car", 400, say=lambda text: None)
    before = files(run.folder)
    with pytest.raises((RunError, ArchiveError), match="nothing in it can be read" if left else "there is no memory in"):
        await rebuild(run.id, tmp_path / "runs", "none")
    assert files(run.folder).keys() <= {*before, ".memory.lock", ".lock"}


async def test_a_folder_by_another_name_is_not_taken_for_an_empty_memory(run: runs.Run, tmp_path: Path) -> None:
    other = run.folder.rename(run.folder.parent / "other")
    for work in (search(str(other), tmp_path, "automobile", 300, say=lambda text: None), rebuild(str(other), tmp_path, "")):
        with pytest.raises(RunError, match=rf"this is run {run.id}, and a run is found by its folder's name"):
            await work
