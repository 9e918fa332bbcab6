"""An embedder that is slow or hangs: no recall waits long for it, and whoever asks is told why it went by words."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from langgraph.runtime import RunControl
from numpy.typing import NDArray
from small_runs import config

from research_agent import Agent
from research_agent.events import Event
from research_agent.memory import Archive, Choice, EmbeddingFailed, Segment, choose
from research_agent.testing.embedder import HashingEmbedder


def page(step: int, text: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted")


PAGES = [page(1, "The automobile was parked."), page(2, "Bread is made from flour.")]


@pytest.fixture
def hung() -> Iterator[socket.socket]:
    """An endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


async def steps(archive: Archive, query: str) -> list[int]:
    return [passage.segment.step for passage in await archive.recall(query, budget_tokens=100)]


async def test_a_recall_waits_a_short_time_for_a_hung_embedder_and_the_next_one_not_at_all(tmp_path: Path) -> None:
    embedder, told = HashingEmbedder(same={"automobile": "car"}), list[str]()
    archive = Archive.open(tmp_path, run="r", embedder=embedder, on_failure=told.append)
    await archive.archive(PAGES)
    await archive.flush()
    embedder.gate.clear()
    begun = time.monotonic()
    assert await steps(archive, "flour") == [2]
    assert time.monotonic() - begun < 4.5
    again = time.monotonic()
    assert await steps(archive, "flour") == [2]
    assert time.monotonic() - again < 1.0
    assert told == [archive.stats().failure] == ["hashing has not answered within 3 s: recall goes by words until it does"]
    embedder.gate.set()
    while archive.stats().failure:  # its answer comes, and it is asked again
        assert time.monotonic() - begun < 20
        await archive.recall("car", budget_tokens=100)
    assert 1 in await steps(archive, "car")
    assert len(told) == 1
    await archive.close()


async def test_an_endpoint_that_hangs_from_the_start_holds_up_no_recall(hung: socket.socket, tmp_path: Path) -> None:
    told = list[str]()
    archive = Archive.open(tmp_path, run="r", embedder=choose(f"openai:m@{url(hung)}").embedder, on_failure=told.append)
    begun = time.monotonic()
    await archive.archive(PAGES)
    assert [await steps(archive, "flour") for _ in range(3)] == [[2]] * 3
    assert time.monotonic() - begun < 5.0
    assert "has not answered within 3 s" in archive.stats().failure == told[0]
    hung.close()  # resets who waits, and refuses who comes: closing waits for the thread that embeds
    await archive.close()


async def test_a_run_is_told_while_it_goes_that_its_vectors_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder, seen = HashingEmbedder(), list[str]()
    embedder.up = False
    monkeypatch.setattr("research_agent.memories.choose", lambda spec, **_: Choice(embedder, ""))

    def on_event(event: Event) -> None:
        seen.append(event["text"] if event["type"] == "warning" else event["type"])

    result = await Agent(config(tmp_path, memory={"embedder": "onnx"}, limits={"steps": 4})).arun(on_event=on_event)
    told = "the memory works without vectors for now, recall goes by words: hashing is down"
    assert seen.count(told) == 1
    assert seen.index(told) < seen.index("report" if result.report else "end")
    assert [warning for warning in json.loads((result.folder / "run.json").read_text())["warnings"] if told in str(warning)]


class Slow(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(1.0)
        return super().embed(texts)


@pytest.mark.parametrize("gone", [False, True])
async def test_the_report_does_not_wait_for_the_vectors_and_who_does_not_want_to_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    embedder, control, told = Slow(), RunControl(), list[Event]()
    monkeypatch.setattr("research_agent.memories.choose", lambda spec, **_: Choice(embedder, ""))

    def see(event: Event) -> None:
        told.append(event)
        if event["type"] == "vectors" and gone:
            control.request_drain("interrupted")

    result = await Agent(config(tmp_path, memory={"embedder": "onnx"})).arun(on_event=see, control=control)
    assert result.status == "complete"
    assert [event["type"] for event in told][-3:] == ["report", "end", "vectors"]
    assert told[-1]["left"] > 0
    reader = Archive.open(result.folder, run=result.id, read_only=True)
    stats = reader.stats()
    assert (stats.indexed < stats.chunks) == gone
    await reader.close()


async def test_a_question_longer_than_the_embedder_takes_is_asked_by_its_ends(tmp_path: Path) -> None:
    embedder = Short(same={"automobile": "car"})
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.archive(PAGES)
    await archive.flush()
    assert await steps(archive, f"{'and so it was, ' * 5_000} where was the car?") == [1]
    assert archive.stats().failure == ""
    await archive.close()


class Short(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if max(map(len, texts)) > 20_000:
            raise EmbeddingFailed("maximum context length is 8192 tokens")
        return super().embed(texts)
