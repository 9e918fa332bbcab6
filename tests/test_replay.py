"""A run is replayed from its own records, with nobody asked, and every prompt is the one that was sent."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sqlite3
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chain import KEY, Chain, config
from langgraph.runtime import RunControl

from research_agent import Agent, Config
from research_agent.history.replay import Replayed, replay
from research_agent.runs import Run, RunError
from research_agent.stores.forget import forget
from research_agent.testing.host import Reply, ScriptedHost
from research_agent.testing.site import Site


@contextmanager
def world(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[tuple[Chain, Site, ScriptedHost]]:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    with Site() as site:
        chain = Chain(site, **options)
        with ScriptedHost(lambda request: chain.script(request), key=KEY) as host:
            yield chain, site, host
    monkeypatch.delenv("TEST_HOST_KEY")

    def refused(*_: Any) -> None:
        raise AssertionError("a replay opens no connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)


async def test_a_finished_run_replays_with_no_network_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch, wide=3, length=6) as (_, site, host):
        result = await Agent(config(tmp_path, site, host)).arun()
        asked = len(host.requests)
    replayed = await replay(Run(result.folder))
    assert (replayed.requests, replayed.recorded, replayed.difference) == (asked, asked, "")


async def test_the_extractive_run_replays_too(tmp_path: Path) -> None:
    examples = Path(__file__).resolve().parents[1] / "examples"
    (tmp_path / "docs").mkdir()
    for path in (examples / "corpus").iterdir():
        (tmp_path / "docs" / path.name).write_bytes(path.read_bytes())
    settings = [f"cache={tmp_path / 'cache'}", "memory.embedder=none", f"search.folder={tmp_path / 'docs'}"]
    result = await Agent(Config.load(examples / "quickstart.yaml", out=tmp_path / "runs", overrides=settings)).arun()
    for path in (tmp_path / "docs").iterdir():
        path.unlink()
    replayed = await replay(Run(result.folder))
    assert replayed.difference == ""
    assert replayed.requests == replayed.recorded > 8


async def test_a_run_stopped_resumed_and_refused_replays_over_all_its_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch) as (chain, site, host):
        first = await Agent(config(tmp_path, site, host, limits={"steps": 3})).arun()
        agent, seen = Agent(config(tmp_path, site, host, limits={"steps": 60, "usd": 1.0})), 0

        def failing(request: Any) -> Reply:
            nonlocal seen
            seen += 1
            if seen == 2:
                return Reply(status=429, error={"type": "engine_overloaded_error", "message": "busy"}, headers={"Retry-After": "0"})
            if seen == 4:
                return Reply(status=401, error={"type": "invalid_authentication_error", "message": "no"})
            return Chain.script(chain, request)

        chain.script = failing  # type: ignore[method-assign]
        failed = await agent.aresume(first.id)
        assert "refused" in failed.reason
        del chain.script
        result = await agent.aresume(first.id)
        assert result.status == "complete"
        answered = len(host.requests) - 2
    replayed = await replay(Run(result.folder))
    assert replayed.difference == ""
    assert replayed.requests == replayed.recorded == answered


async def test_a_run_cut_in_the_middle_of_a_turn_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch, wide=3, length=6) as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        stream = agent.astream()
        folder = ""
        async for event in stream:
            folder = event.get("folder", folder)
            if event["type"] == "result" and event["step"] == 3:
                break
        await stream.aclose()
        result = await agent.aresume(folder)
        assert result.status == "complete"
    replayed = await replay(Run(result.folder))
    assert replayed.difference == ""
    assert replayed.requests == replayed.recorded


async def test_a_run_cut_in_the_middle_of_a_model_call_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch) as (chain, site, host):
        agent, slow, asking = Agent(config(tmp_path, site, host)), True, asyncio.Event()
        loop = asyncio.get_running_loop()

        def waiting(request: Any) -> Reply:
            nonlocal slow
            reply = Chain.script(chain, request)
            if slow and len(request["messages"]) > 6:
                slow = False
                loop.call_soon_threadsafe(asking.set)
                return replace(reply, delay_s=1.0)
            return reply

        chain.script = waiting  # type: ignore[method-assign]
        task = asyncio.create_task(agent.arun())
        await asking.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [folder] = (tmp_path / "runs").iterdir()
        result = await agent.aresume(folder)
        assert result.status == "complete"
    replayed = await replay(Run(result.folder))
    assert replayed.difference == ""
    assert replayed.requests == replayed.recorded > 8


async def test_forks_replay_whole_without_their_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch, wide=3, length=6) as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        forks = [
            await agent.afork(parent.id, at=3),
            await agent.afork(parent.id, at=4, plan=["What colour are the letters?", "Which codes do the stations have?"]),
            await agent.afork(parent.id, at=5, question="Are the doors green?"),
            await agent.afork(parent.id, at=0, question="Are the doors green?"),
        ]
        forks.append(await agent.afork(forks[0].id, at=2))
    await forget(Run(parent.folder))
    for fork in forks:
        assert fork.status == "complete"
        replayed = await replay(Run(fork.folder))
        assert (replayed.difference, replayed.requests) == ("", replayed.recorded)


async def test_a_run_that_has_not_ended_replays_as_far_as_its_records_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after some of a turn's calls, as it goes on, stopped between two turns; a difference is one still."""
    killed: list[Path] = []
    going: list[Replayed] = []
    with world(monkeypatch, wide=3, length=6) as (_, site, host):
        agent, control = Agent(config(tmp_path, site, host)), RunControl()

        def stopping(event: Any) -> None:
            if event["type"] == "result" and event["step"] in (2, 5, 6):
                [folder] = (tmp_path / "runs").iterdir()
                killed.append(tmp_path / f"killed at {event['step']}" / folder.name)
                shutil.copytree(folder, killed[-1])
                if event["step"] == 5:
                    with ThreadPoolExecutor() as beside:
                        going.append(beside.submit(lambda: asyncio.run(replay(Run(folder)))).result())
                if event["step"] == 6:
                    control.request_drain("test")

        result = await agent.arun(on_event=stopping, control=control)
        assert (result.status, len(killed), len(going)) == ("incomplete", 3, 1)
    replayed = await replay(Run(result.folder))
    assert (replayed.difference, replayed.ends) == ("", "incomplete")
    assert 0 < replayed.requests == replayed.recorded
    for folder in killed:
        cut = await replay(Run(folder))
        assert (cut.difference, cut.ends) == ("", "interrupted")
        assert 0 < cut.requests == cut.recorded <= replayed.recorded
    for now in going:
        assert (now.difference, now.ends) == ("", "running")
    other_reply(killed[-1], 1)
    assert (await replay(Run(killed[-1]))).difference.startswith("request 3 of ")


async def test_the_first_difference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch) as (_, site, host):
        result = await Agent(config(tmp_path, site, host)).arun()
    other_reply(result.folder, 3)
    replayed = await replay(Run(result.folder))
    assert replayed.requests == 4
    assert replayed.difference.startswith("request 5 of 13 (investigator): message ")
    assert "Another thought." in replayed.difference


def other_reply(folder: Path, number: int) -> None:
    with sqlite3.connect(folder / "records.sqlite") as db:
        seq, packed = db.execute(f"SELECT seq, data FROM records WHERE kind = 'ask' ORDER BY seq LIMIT 1 OFFSET {number}").fetchone()
        data = json.loads(zlib.decompress(packed))
        data["reply"]["data"]["additional_kwargs"]["reasoning_content"] = "Another thought."
        db.execute("UPDATE records SET data = ? WHERE seq = ?", (zlib.compress(json.dumps(data).encode()), seq))
    db.close()


async def test_a_run_without_records_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(monkeypatch) as (_, site, host):
        result = await Agent(config(tmp_path, site, host)).arun()
    (result.folder / "records.sqlite").unlink()
    with pytest.raises(RunError, match=r"has no records\.sqlite"):
        await replay(Run(result.folder))
