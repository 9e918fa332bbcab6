"""Forgetting a run that was forked, a fork, one that recalled from another: all of it goes from both servers, nothing of the others."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import NO_POSTGRES, PASSWORD, Chroma, Postgres
from small_runs import config
from typer.testing import CliRunner

from research_agent import Agent
from research_agent.cli import app
from research_agent.ending import Result
from research_agent.memory import Archive, Choice, vectors
from research_agent.stores.errors import StoreError
from research_agent.testing.embedder import HashingEmbedder

pytestmark = pytest.mark.skipif(bool(NO_POSTGRES), reason=NO_POSTGRES)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Postgres, Chroma]]:
    postgres, chroma = Postgres(), Chroma()
    yield postgres, chroma
    postgres.close()
    chroma.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr("research_agent.memories.choose", lambda spec, **_: Choice(HashingEmbedder(), ""))


def on_postgres(server: Postgres) -> dict[str, int]:
    """Rows of checkpoints by run."""
    counts: dict[str, int] = {}
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        for run, count in server.sql(f"SELECT thread_id, count(*) FROM {table} GROUP BY thread_id"):
            counts[str(run)] = counts.get(str(run), 0) + int(str(count))
    return counts


def on_chroma(server: Chroma) -> dict[str, int]:
    """Vectors by run."""
    client = vectors._server(server.url)
    counts = {collection.metadata["run"]: collection.count() for collection in client.list_collections()}
    vectors._close(client)
    return counts


def forget(run: Result) -> str:
    done = CliRunner().invoke(app, ["forget", str(run.folder), "--yes"])
    assert done.exit_code == 0, done.output
    return done.output


def test_each_of_three_related_runs_is_forgotten_whole_and_alone(tmp_path: Path, servers: tuple[Postgres, Chroma]) -> None:
    postgres, chroma = servers
    own: dict[str, Any] = {"store": {"checkpoints": postgres.url(), "vectors": chroma.url}}
    agent = Agent(config(tmp_path, **own, memory={"embedder": "onnx"}))
    parent = agent.run()
    fork = agent.fork(parent.id, at=3)
    reader = Agent(config(tmp_path, **own, memory={"embedder": "onnx", "also": [parent.id]})).run()
    ids = {run.id for run in (parent, fork, reader)}
    assert [run.status for run in (parent, fork, reader)] == ["complete"] * 3
    assert {*on_postgres(postgres)} == {*on_chroma(chroma)} == ids
    for run in (parent, fork, reader):
        rows, kept = on_postgres(postgres), on_chroma(chroma)
        told = forget(run)
        assert f"{rows.pop(run.id)} rows of checkpoints on postgresql://worker@127.0.0.1" in told
        assert f"{kept.pop(run.id)} vectors on {chroma.url}" in told
        assert (on_postgres(postgres), on_chroma(chroma)) == (rows, kept)
        assert not run.folder.exists()
        if run is parent:
            goes_on(agent, fork, chroma)
            assert json.loads((reader.folder / "run.json").read_text("utf-8"))["status"] == "complete"
    assert list((tmp_path / "runs").iterdir()) == []


def goes_on(agent: Agent, fork: Result, chroma: Chroma) -> None:
    """A fork needs nothing of the run that it was taken from."""
    again = agent.fork(fork.id, at=4)
    assert again.status == "complete"
    asyncio.run(recalls(again, chroma))
    forget(again)


async def recalls(run: Result, chroma: Chroma) -> None:
    archive = Archive.open(run.folder, run=run.id, embedder=HashingEmbedder(), vectors=chroma.url)
    assert await archive.recall("two processes", budget_tokens=200)
    await archive.close()


def test_a_run_that_left_a_server_is_forgotten_there_too(tmp_path: Path, servers: tuple[Postgres, Chroma]) -> None:
    """It began on both servers, and its last session wrote into its folder alone."""
    postgres, chroma = servers
    both: dict[str, Any] = {"checkpoints": postgres.url(), "vectors": chroma.url}
    first = Agent(config(tmp_path, store=both, memory={"embedder": "onnx"}, limits={"steps": 3})).run()
    last = Agent(config(tmp_path, memory={"embedder": "onnx"})).resume(first.id)
    assert last.status == "complete"
    assert on_postgres(postgres)[first.id] > 0
    told = forget(last)
    assert f"on {chroma.url}" in told
    assert (on_postgres(postgres), on_chroma(chroma)) == ({}, {})
    assert list((tmp_path / "runs").iterdir()) == []


def refused(run: Result, *command: str) -> str:
    done = CliRunner().invoke(app, [*command, "--out", str(run.folder.parent)])
    assert done.exit_code == 1, done.output
    return str(done.exception)


@pytest.mark.parametrize("away", ["chroma", "postgres"])
def test_nothing_is_forgotten_while_a_server_does_not_answer(tmp_path: Path, away: str) -> None:
    postgres, chroma = Postgres(), Chroma()
    try:
        own: dict[str, Any] = {"store": {"checkpoints": postgres.url(), "vectors": chroma.url}}
        agent = Agent(config(tmp_path, **own, memory={"embedder": "onnx"}, limits={"steps": 4}))
        run = agent.run()
        rows, kept, record = on_postgres(postgres), on_chroma(chroma), (run.folder / "run.json").read_bytes()
        server = {"chroma": chroma, "postgres": postgres}[away]
        server.kill()
        told = refused(run, "forget", run.id, "--yes")
        assert told.startswith("nothing was removed: ")
        assert "Connection refused" in told
        server.start()
        assert (on_postgres(postgres), on_chroma(chroma)) == (rows, kept)
        assert (run.folder / "run.json").read_bytes() == record
        assert agent.resume(run.id).status == "incomplete"  # of 4 steps, as before
        forget(run)
        assert (on_postgres(postgres), on_chroma(chroma)) == ({}, {})
    finally:
        postgres.close()
        chroma.close()


@pytest.mark.parametrize("away", ["chroma", "postgres"])
def test_a_run_whose_server_is_gone_for_good_is_forgotten_without_it_when_that_is_asked_for(tmp_path: Path, away: str) -> None:
    postgres, chroma = Postgres(), Chroma()
    try:
        own: dict[str, Any] = {"store": {"checkpoints": postgres.url(), "vectors": chroma.url}}
        run = Agent(config(tmp_path, **own, memory={"embedder": "onnx"}, limits={"steps": 4})).run()
        kept = {"chroma": lambda: on_chroma(chroma), "postgres": lambda: on_postgres(postgres)}
        gone = {"chroma": chroma, "postgres": postgres}[away]
        gone.kill()
        assert f"`research-agent forget --without-servers {run.folder}`" in refused(run, "forget", run.id, "--yes")
        done = CliRunner().invoke(app, ["forget", "--without-servers", "--yes", str(run.folder)])
        assert done.exit_code == 0, done.output
        named = {"chroma": f"the collection {vectors.collection_name(run.id)}", "postgres": f"the rows whose thread_id is {run.id}"}
        assert "it does not answer" in done.output
        assert named[away] in done.output
        assert list((tmp_path / "runs").iterdir()) == []
        gone.start()
        assert run.id in kept.pop(away)()
        assert [count() for count in kept.values()] == [{}]
    finally:
        postgres.close()
        chroma.close()


def test_a_run_that_is_half_forgotten_says_what_is_gone_and_can_only_be_forgotten(
    tmp_path: Path, servers: tuple[Postgres, Chroma], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres, chroma = servers
    own: dict[str, Any] = {"store": {"checkpoints": postgres.url(), "vectors": chroma.url}}
    run = Agent(config(tmp_path, **own, memory={"embedder": "onnx"}, limits={"steps": 4})).run()
    vectors_kept = on_chroma(chroma)[run.id]
    with monkeypatch.context() as failing:
        failing.setattr("research_agent.stores.checkpoints.forget", lost_in_the_middle)
        told = refused(run, "forget", run.id, "--yes")
    gone = f"{vectors_kept} vectors on {chroma.url}"
    ends = f"`research-agent forget {run.folder}` ends it"
    assert f"gone: {gone}" in told
    assert ends in told
    rows = on_postgres(postgres)
    for command in (("resume", run.id), ("fork", run.id, "--at", "2"), ("replay", run.id), ("memory", "rebuild", run.id)):
        told = refused(run, *command)
        assert told.startswith(f"run {run.id} is half forgotten; gone: {gone}")
        assert ends in told
    shown = CliRunner().invoke(app, ["show", run.id, "--out", str(run.folder.parent)]).output
    assert f"half-forgotten: gone: {gone}\n{ends}" in shown
    listed = CliRunner().invoke(app, ["list", "--status", "half-forgotten", "--out", str(run.folder.parent)]).output
    assert run.id in listed
    assert on_postgres(postgres) == rows
    told = forget(run)
    assert f"{rows[run.id]} rows of checkpoints" in told
    assert gone in told
    assert (on_postgres(postgres), on_chroma(chroma)) == ({}, {})
    assert list(run.folder.parent.iterdir()) == []


async def lost_in_the_middle(place: Any) -> int:
    raise StoreError(f"PostgreSQL at {place.server.place}: server closed the connection unexpectedly")


def holding(chroma: Chroma, *parts: bytes) -> list[str]:
    return sorted({path.name for path in chroma.folder.rglob("*") if path.is_file() for part in parts if part in path.read_bytes()})


def test_what_a_chroma_server_keeps_on_its_disk_is_told_and_goes_as_told(tmp_path: Path) -> None:
    chroma = Chroma()
    try:
        own: dict[str, Any] = {"store": {"vectors": chroma.url}, "memory": {"embedder": "onnx"}}
        run = Agent(config(tmp_path, **own, limits={"steps": 4})).run()
        other = Agent(config(tmp_path, **own, question="What did two processes lose in one folder?", limits={"steps": 4})).run()
        [found, *_] = vectors_of(chroma, run.id)
        assert "chroma.sqlite3" in holding(chroma, found, run.id.encode())
        told = forget(run)
        assert "keeps their bytes on its disk, and no client can have them erased: stop it, run `chroma vacuum --path ITS_FOLDER`" in told
        assert "chroma.sqlite3" in holding(chroma, found, run.id.encode()), "then it need not be told any more"
        chroma.kill()
        program = Path(sys.executable).parent / "chroma"
        subprocess.run([str(program), "vacuum", "--path", str(chroma.folder), "--force"], check=True, capture_output=True)
        with closing(sqlite3.connect(chroma.folder / "chroma.sqlite3")) as db:
            named = {str(id) for (id,) in db.execute("SELECT id FROM segments")}
        [left] = [path for path in chroma.folder.iterdir() if path.is_dir() and path.name not in named]
        shutil.rmtree(left)
        assert holding(chroma, found, run.id.encode()) == []
        chroma.start()
        asyncio.run(recalls(other, chroma))
        assert {*on_chroma(chroma)} == {other.id}
    finally:
        chroma.close()


def vectors_of(chroma: Chroma, run: str) -> list[bytes]:
    client = vectors._server(chroma.url)
    found = client.get_collection(vectors.collection_name(run)).get(include=["embeddings"], limit=5)["embeddings"]
    vectors._close(client)
    return [np.asarray(vector, dtype=np.float32)[:32].tobytes() for vector in found]
