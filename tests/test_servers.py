"""Checkpoints on a real PostgreSQL server and vectors on a real Chroma server, both started here."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layouts import relabel
from servers import NO_POSTGRES, PASSWORD, Chroma, Postgres

from research_agent import Agent, Config, RunError
from research_agent.ending import Result
from research_agent.memory import Archive, Choice, IndexFailed, Segment
from research_agent.memory.vectors import forget as forget_vectors
from research_agent.stores import postgres
from research_agent.stores.address import PostgresUrl
from research_agent.stores.forget import forget
from research_agent.testing.embedder import HashingEmbedder

needs_postgres = pytest.mark.skipif(bool(NO_POSTGRES), reason=NO_POSTGRES)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def chroma_server() -> Iterator[Chroma]:
    server = Chroma()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_agent.memories.choose", lambda spec, **_: Choice(HashingEmbedder() if spec != "none" else None, ""))


def config(tmp_path: Path, checkpoints: str = "", vectors: str = "", **changes: Any) -> Config:
    store = {key: value for key, value in (("checkpoints", checkpoints), ("vectors", vectors)) if value}
    mapping = {
        "question": "Is it safe when two processes write vectors to one Chroma folder?",
        "search": {"folder": str(EXAMPLES / "corpus")},
        "python": {"enabled": False},
        "memory": {"embedder": "onnx" if vectors else "none"},
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "runs"),
        "store": store,
        **changes,
    }
    return Config.from_mapping(mapping, base=tmp_path)


def record(result: Result) -> dict[str, Any]:
    return json.loads((result.folder / "run.json").read_text("utf-8"))


def steps_done(result: Result) -> list[int]:
    events = map(json.loads, (result.folder / "events.jsonl").read_text("utf-8").splitlines())
    return sorted(event["step"] for event in events if event["type"] == "result" and event["ok"])


def rows(server: Postgres, run: str) -> int:
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    return sum(int(str(server.sql(f"SELECT count(*) FROM {table} WHERE thread_id = %s", run)[0][0])) for table in tables)


def holding(folder: Path, secret: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@needs_postgres
async def test_a_run_on_postgresql_is_resumed_and_forgotten_and_its_password_is_nowhere(
    tmp_path: Path, postgres_server: Postgres, chroma_server: Chroma, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    wanted = config(tmp_path, postgres_server.url(), chroma_server.url, limits={"steps": 3})
    assert PASSWORD not in repr(wanted) + str(wanted)
    first = await Agent(wanted).arun(on_event=events.append)
    assert first.status == "incomplete"
    assert not (first.folder / "checkpoints.sqlite").exists()
    assert not (first.folder / "vectors").exists()
    assert rows(postgres_server, first.id) > 3
    assert holding(tmp_path, PASSWORD) == []
    assert PASSWORD not in json.dumps(events)
    assert record(first)["config"]["store"]["checkpoints"] == postgres_server.url(password="")

    monkeypatch.setenv("PGPASSWORD", PASSWORD)  # what is recorded has no password
    again = Config.from_mapping({**record(first)["config"], "limits": {"steps": 60}, "out": str(tmp_path / "runs")}, base=tmp_path)
    result = await Agent(again).aresume(first.id)
    assert (result.status, result.reason) == ("complete", "")
    assert steps_done(result) == sorted(set(steps_done(result)))

    removed = "; ".join(map(str, await forget_run(result)))
    assert "rows of checkpoints on postgresql://worker@127.0.0.1" in removed
    assert f"vectors on {chroma_server.url}" in removed
    assert not removed.startswith("0 ")
    assert "; 0 vectors" not in removed
    assert rows(postgres_server, first.id) == 0
    assert not result.folder.exists()


async def forget_run(result: Result) -> list[Any]:
    from research_agent.runs import Run

    return await forget(Run(result.folder))


WORKER = """
import asyncio, json, sys
from pathlib import Path
import research_agent.memories
from research_agent import Agent, Config
from research_agent.memory import Choice
from research_agent.testing.embedder import HashingEmbedder

research_agent.memories.choose = lambda spec, **_: Choice(HashingEmbedder(), "")
config = Config.from_mapping(json.loads(sys.stdin.read()), base=Path.cwd())
result = Agent(config).run()
print(json.dumps({"id": result.id, "status": result.status, "reason": result.reason}))
"""


@needs_postgres
async def test_two_workers_on_two_runs_share_both_servers(tmp_path: Path, chroma_server: Chroma) -> None:
    server = Postgres()  # a new one: both make its tables at once
    try:
        own = []
        for n in range(2):
            mapping = config(tmp_path, server.url(), chroma_server.url, cache=str(tmp_path / f"cache{n}")).model_dump(mode="json")
            own.append(mapping | {"store": {"checkpoints": server.url(), "vectors": chroma_server.url}})
        workers = [subprocess.Popen([sys.executable, "-c", WORKER], stdin=-1, stdout=-1, stderr=-1, text=True) for _ in own]
        for worker, mapping in zip(workers, own, strict=True):
            assert worker.stdin
            worker.stdin.write(json.dumps({key: value for key, value in mapping.items() if value is not None}))
            worker.stdin.close()
            worker.stdin = None
        told = [await asyncio.to_thread(worker.communicate, timeout=120) for worker in workers]
        results = [json.loads(out) if out else err for out, err in told]
        assert [result["status"] for result in results] == ["complete", "complete"]
        assert len({result["id"] for result in results}) == 2
        assert all(rows(server, result["id"]) for result in results)
        for result in results:
            id = result["id"]
            archive = Archive.open(tmp_path / "runs" / id, run=id, embedder=HashingEmbedder(), vectors=chroma_server.url)
            await archive.flush()
            stats = archive.stats()
            assert stats.indexed == stats.chunks > 0
            await archive.close()
    finally:
        server.close()


@needs_postgres
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("down", "Connection refused; start the server or check store.checkpoints"),
        ("password", 'password authentication failed for user "worker"; check the user and the password'),
        ("database", 'database "nowhere" does not exist; check the name'),
        ("none", "no password supplied; set PGPASSWORD"),
    ],
)
async def test_a_server_that_cannot_be_used_fails_the_run_in_one_line(
    tmp_path: Path, postgres_server: Postgres, broken: str, told: str
) -> None:
    url = {
        "down": f"postgresql://worker:{PASSWORD}@127.0.0.1:1/runs",
        "password": postgres_server.url(password="wr0ng-one-of-length"),
        "database": postgres_server.url(database="nowhere"),
        "none": postgres_server.url(password=""),
    }[broken]
    result = await Agent(config(tmp_path, url)).arun()
    assert result.status == "failed"
    assert told in result.reason
    assert "\n" not in result.reason
    assert record(result)["status"] == "failed"
    assert holding(tmp_path, PASSWORD) == []
    assert holding(tmp_path, "wr0ng-one-of-length") == []


@needs_postgres
async def test_a_resume_that_does_not_reach_the_server_leaves_the_record_as_it_was(tmp_path: Path, postgres_server: Postgres) -> None:
    first = await Agent(config(tmp_path, postgres_server.url(), limits={"steps": 3})).arun()
    before = record(first)
    result = await Agent(config(tmp_path, "postgresql://worker@127.0.0.1:1/runs")).aresume(first.id)
    assert result.status == "failed"
    assert "Connection refused" in result.reason
    assert result.reason.endswith(f"then `research-agent resume {first.folder}`")
    kept = ("status", "reason", "steps", "config")
    assert [record(first)[key] for key in kept] == [before[key] for key in kept]


def from_step(step: int, act: Any) -> Any:
    done = []

    def on_event(event: Any) -> None:
        if event["type"] == "result" and event["step"] == step and not done:
            done.append(step)
            act()

    return on_event


@needs_postgres
async def test_a_server_that_dies_in_the_middle_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    server = Postgres()
    try:
        loop, warned = asyncio.get_running_loop(), []

        def dies() -> None:
            server.kill()
            loop.call_later(1.0, server.start)

        dying = from_step(3, dies)

        def on_event(event: Any) -> None:
            dying(event)
            if event["type"] == "warning":
                warned.append(event["text"])

        result = await Agent(config(tmp_path, server.url())).arun(on_event=on_event)
        assert (result.status, result.reason) == ("complete", "")
        assert len(warned) == 1
        assert "waiting up to 60 s" in warned[0]
    finally:
        server.close()


@needs_postgres
async def test_a_server_that_stays_away_ends_the_run_with_what_it_noted_and_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Postgres()
    monkeypatch.setattr(postgres, "WAIT_S", 0.5)
    try:
        agent = Agent(config(tmp_path, server.url()))
        killed: list[bool] = []

        def at_the_first_note(event: Any) -> None:
            if event["type"] == "finding" and not killed:
                killed.append(True)
                server.kill()

        result = await agent.arun(on_event=at_the_first_note)
        assert result.status == "incomplete"
        assert result.report
        assert "Still open" in result.report.read_text("utf-8")
        assert "nothing finished is lost" in result.reason
        assert f"research-agent resume {result.folder}" in result.reason
        with pytest.raises(RunError, match="Connection refused"):
            await forget_run(result)
        assert result.folder.exists()
        server.start()
        finished = await agent.aresume(result.id)
        assert (finished.status, finished.reason) == ("complete", "")
        assert set(steps_done(finished)) == set(range(1, record(finished)["steps"] + 1))
    finally:
        server.close()


LOST = """
import json, os, signal, sys
from pathlib import Path
from research_agent import Agent, Config
from research_agent.stores import postgres

postgres.WAIT_S = 0.5
told = json.loads(sys.stdin.read())

def at_the_third_step(event):
    if event["type"] == "result" and event["step"] == 3:
        os.kill(told["server"], signal.SIGQUIT)

result = Agent(Config.from_mapping(told["config"], base=Path.cwd())).run(on_event=at_the_third_step)
print(result.reason)
"""


@needs_postgres
def test_a_server_that_is_lost_says_nothing_on_stderr_but_in_the_reason(tmp_path: Path) -> None:
    server = Postgres()
    try:
        mapping = config(tmp_path, server.url()).model_dump(mode="json", exclude_none=True)
        mapping["store"] = {"checkpoints": server.url()}
        given = json.dumps({"config": mapping, "server": server._process.pid})
        done = subprocess.run([sys.executable, "-c", LOST], input=given, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert "PostgreSQL at 127.0.0.1" in done.stdout
        assert done.stderr == ""
    finally:
        server.close()


@needs_postgres
async def test_one_run_is_worked_on_from_one_place_only(tmp_path: Path, postgres_server: Postgres) -> None:
    """A copy of its folder has a file lock of its own: the server's lock holds for both."""
    url = postgres_server.url()
    first = await Agent(config(tmp_path, url, limits={"steps": 3})).arun()
    copy = tmp_path / "elsewhere" / first.id
    shutil.copytree(first.folder, copy)
    reached: list[str] = []

    async def second() -> None:
        refused = await Agent(config(tmp_path, url)).aresume(copy)
        reached.append(f"{refused.status}: {refused.reason}")

    tasks = []
    result = await Agent(config(tmp_path, url)).aresume(
        first.folder, on_event=from_step(4, lambda: tasks.append(asyncio.ensure_future(second())))
    )
    await asyncio.gather(*tasks)
    assert result.status == "complete"
    assert len(reached) == 1
    assert "failed: run" in reached[0]
    assert "is being worked on by another process (research-agent on" in reached[0]


@needs_postgres
async def test_a_lock_left_on_the_server_by_a_broken_connection_is_taken_back(postgres_server: Postgres) -> None:
    url = PostgresUrl.parse(postgres_server.url())
    server = postgres.Server(url, PASSWORD)
    async with postgres.opened(server, "left", lambda text: None) as saver:
        assert await saver.rows() == 0
        lost = saver.conn
        saver.conn = await server.connect()
        await saver.conn.close()  # the client's end is gone, the server's is not
        assert await saver.rows() == 0
        await lost.close()


@needs_postgres
async def test_tables_of_a_newer_version_are_refused(postgres_server: Postgres) -> None:
    server = postgres.Server(PostgresUrl.parse(postgres_server.url()), PASSWORD)
    async with postgres.opened(server, "r", lambda text: None):
        pass
    postgres_server.sql("INSERT INTO checkpoint_migrations (v) VALUES (999)")
    try:
        with pytest.raises(RunError, match="version 999, the installed langgraph-checkpoint-postgres knows"):
            async with postgres.opened(server, "r", lambda text: None):
                pass
    finally:
        postgres_server.sql("DELETE FROM checkpoint_migrations WHERE v = 999")


@needs_postgres
@pytest.mark.parametrize("way", ["to the server", "from the server"])
async def test_a_run_changes_where_its_checkpoints_are(
    tmp_path: Path, postgres_server: Postgres, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    here, there = config(tmp_path, limits={"steps": 4}), config(tmp_path, postgres_server.url(), limits={"steps": 4})
    first, second = (here, there) if way == "to the server" else (there, here)
    begun = await Agent(first).arun()
    copy = tmp_path / "another machine" / begun.id
    shutil.copytree(begun.folder, copy)
    events: list[Any] = []
    result = await Agent(second.model_copy(update={"limits": config(tmp_path).limits})).aresume(copy, on_event=events.append)
    assert (result.status, result.reason) == ("complete", "")
    assert min(event["step"] for event in events if event["type"] == "result") == 5
    # and both places are known to `forget`
    assert len(record(result)["servers"]["checkpoints"]) == 1


async def test_a_chroma_server_that_is_not_there_fails_the_run_in_one_line(tmp_path: Path) -> None:
    result = await Agent(config(tmp_path, vectors="http://127.0.0.1:1")).arun()
    assert result.status == "failed"
    assert "start the Chroma server at http://127.0.0.1:1, or check store.vectors" in result.reason
    assert "\n" not in result.reason


async def test_a_run_goes_on_by_words_while_its_chroma_server_is_down_and_catches_up(tmp_path: Path) -> None:
    server, warned = Chroma(), list[str]()
    try:
        first = await Agent(config(tmp_path, vectors=server.url, limits={"steps": 3})).arun()
        assert first.status == "incomplete"
        server.kill()
        second = await Agent(config(tmp_path, vectors=server.url, limits={"steps": 6})).aresume(
            first.id, on_event=lambda event: warned.append(event["text"]) if event["type"] == "warning" else None
        )
        assert (second.status, second.reason) == ("incomplete", "the limit of 6 steps was reached")
        assert len([text for text in warned if "recall goes by words" in text and "start the Chroma server" in text]) == 1
        await asyncio.to_thread(server.start)
        third = await Agent(config(tmp_path, vectors=server.url)).aresume(first.id)
        assert third.status == "complete"
        archive = Archive.open(third.folder, run=third.id, embedder=HashingEmbedder(), vectors=server.url, read_only=True)
        stats = archive.stats()
        await archive.close()
        assert stats.indexed == stats.chunks > 0
    finally:
        server.close()


def page(step: int, text: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted")


async def test_vectors_on_a_server_that_comes_back_or_is_another_one_are_made_up_for(tmp_path: Path) -> None:
    server = Chroma()
    try:
        archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same={"automobile": "car"}), vectors=server.url)
        await archive.archive([page(1, "The automobile was parked.")])
        await archive.flush()
        assert archive.stats().indexed == 1
        server.kill()
        await archive.archive([page(2, "Bread is made from flour.")])
        await archive.flush()
        assert "start the Chroma server" in archive.stats().failure or "refused" in archive.stats().failure
        assert (await archive.recall("bread flour", budget_tokens=100))[0].segment.step == 2
        await asyncio.to_thread(server.start)
        await archive.archive([page(3, "The mill stood still.")])
        await archive.flush()
        assert (archive.stats().indexed, archive.stats().failure) == (3, "")
        assert (await archive.recall("car", budget_tokens=100))[0].segment.step == 1
        await archive.close()
    finally:
        server.close()
    other = Chroma()
    try:
        archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(), vectors=other.url)
        await archive.flush()
        assert (archive.stats().indexed, archive.stats().failure) == (3, "")
        await archive.close()
    finally:
        other.close()
    with pytest.raises(IndexFailed, match="start the Chroma server"):
        Archive.open(tmp_path, run="r", embedder=HashingEmbedder(), vectors=other.url)


async def test_vectors_of_a_newer_layout_on_a_server_are_left_until_they_are_forgotten(tmp_path: Path, chroma_server: Chroma) -> None:
    archive = Archive.open(tmp_path, run="newer", embedder=HashingEmbedder(), vectors=chroma_server.url)
    await archive.archive([Segment(run="newer", step=1, kind="observation", text="The mill stood still.", trust="untrusted")])
    await archive.close()
    relabel(chroma_server.url, layout=7)
    archive = Archive.open(tmp_path, run="newer", embedder=HashingEmbedder(), vectors=chroma_server.url)
    await archive.flush()
    assert "have layout 7, written by a newer research-agent" in archive.stats().failure
    await archive.forget()
    await archive.close()
    assert forget_vectors(chroma_server.url, "newer") == 0


@needs_postgres
async def test_a_newer_state_on_a_server_is_refused_in_one_line(tmp_path: Path, postgres_server: Postgres) -> None:
    agent = Agent(config(tmp_path, postgres_server.url(), limits={"steps": 3}))
    first = await agent.arun()
    postgres_server.sql("""UPDATE checkpoints SET metadata = metadata || '{"state": 2}' WHERE thread_id = %s""", first.id)
    refused = await Agent(config(tmp_path, postgres_server.url())).aresume(first.id)
    assert refused.status == "failed"
    assert "has version 2, written by a newer research-agent; this one reads up to 1: update it" in refused.reason
    assert record(first)["status"] == "incomplete"
