"""The archive's truth: idempotent, ordered, exact, and gone when forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from research_agent.graphs import ports
from research_agent.memory import Archive, ArchiveError, NotArchived, Segment


def page(step: int, text: str, ordinal: int = 0, **fields: object) -> Segment:
    base = Segment(run="r", step=step, kind="observation", ordinal=ordinal, text=text, trust="untrusted")
    return replace(base, **fields)


@pytest.fixture
async def archive(tmp_path: Path):
    opened = Archive.open(tmp_path, run="r")
    yield opened
    await opened.close()


async def test_it_is_what_the_graph_asks_for(archive: Archive) -> None:
    as_port: ports.Archive = archive
    assert await as_port.recall("anything", budget_tokens=100) == []


async def test_what_is_archived_comes_back_whole(archive: Archive) -> None:
    text = "Lone \ud800 surrogate, NUL \x00, 漢字 and 🎈\r\n" * 100
    seen = page(
        3, text, 2, url="https://a.example/x", title="A", args_hash="h", retrieved_at="2026-01-01T00:00:00Z", tokens=9, tool="scrape"
    )
    await archive.archive([seen])
    assert archive.get(seen.id) == seen
    assert archive.get("S302") == archive.get("[S302]") == seen


async def test_a_handle_names_an_observation_and_nothing_else(archive: Archive) -> None:
    thought = Segment(run="r", step=4, kind="reasoning", text="hm", trust="own")
    await archive.archive([thought])
    assert archive.get("S400") is None
    assert archive.get(thought.id) == thought
    assert archive.get("nonsense") is None


async def test_another_runs_segment_is_not_this_runs(tmp_path: Path) -> None:
    other = page(1, "tungsten", run="other")
    theirs = Archive.open(tmp_path, run="other")
    await theirs.archive([other])
    await theirs.close()
    archive = Archive.open(tmp_path, run="r")
    assert archive.get(other.id) is None
    assert archive.get("S100") is None
    assert await archive.recall("tungsten", budget_tokens=100) == []
    await archive.close()


async def test_find_tells_calls_and_pages_apart(archive: Archive) -> None:
    call = Segment(run="r", step=2, kind="call", text="scrape(b)", trust="own", args_hash="abc")
    first, second = page(5, "old", url="https://b.example"), page(2, "new", url="https://b.example")
    await archive.archive([first, call, second])
    assert archive.find(kind="observation", url="https://b.example") == [second, first]
    assert archive.find(kind="call", args_hash="abc") == [call]
    assert archive.find(kind="call", args_hash="nope") == []


async def test_segments_come_in_the_order_of_the_run(archive: Archive) -> None:
    await archive.archive([page(step, f"text {step}") for step in (5, 1, 3)])
    assert [segment.step for segment in archive.segments()] == [1, 3, 5]


async def test_a_segment_written_twice_stays_as_it_was_first(archive: Archive) -> None:
    await archive.archive([page(1, "the first reading")])
    await archive.archive([page(1, "a second reading")])
    assert [segment.text for segment in archive.segments()] == ["the first reading"]


texts = st.text(st.characters(codec=None), max_size=60)
written = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["observation", "reasoning", "finding"]), st.integers(0, 2), texts), max_size=12
)


@given(written, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_doubled_and_reordered_writes_leave_the_same_memory(tmp_path_factory: pytest.TempPathFactory, rows, random) -> None:
    unique = {row[:3]: row for row in rows}.values()
    segments = [Segment(run="r", step=s, kind=k, ordinal=o, text=t, trust="own") for s, k, o, t in unique]
    shuffled = segments + segments[: len(segments) // 2]
    random.shuffle(shuffled)

    async def memory(writes: list[list[Segment]]) -> tuple[list[Segment], int]:
        archive = Archive.open(tmp_path_factory.mktemp("run"), run="r")
        for batch in writes:
            await archive.archive(batch)
        kept = sorted(archive.segments(), key=lambda segment: segment.id), archive.stats().chunks
        await archive.close()
        return kept

    once = asyncio.run(memory([segments]))
    assert once == asyncio.run(memory([[segment] for segment in shuffled]))
    assert once[0] == sorted(segments, key=lambda segment: segment.id)


async def test_bodies_are_kept_once_under_their_hash(archive: Archive) -> None:
    ref = archive.put_body("message " * 1000)
    assert archive.put_body("message " * 1000) == ref
    assert archive.get_body(ref) == "message " * 1000
    with pytest.raises(NotArchived, match="no text beef"):
        archive.get_body("beef")


async def test_a_closed_archive_opens_again_with_everything(tmp_path: Path) -> None:
    first = Archive.open(tmp_path, run="r")
    await first.archive([page(1, "Nickel melts at 1455 degrees.")])
    await first.close()
    second = Archive.open(tmp_path, run="r")
    assert [passage.text for passage in await second.recall("nickel melting", budget_tokens=50)] == ["Nickel melts at 1455 degrees."]
    await second.close()


async def test_forget_leaves_no_word_on_disk(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([page(step, f"the unforgettable xylophone {step}", title="zeppelin") for step in range(5)])
    archive.put_body("a message about xylophones")
    assert await archive.forget() == 5
    assert list(archive.segments()) == []
    assert await archive.recall("xylophone zeppelin", budget_tokens=100) == []
    await archive.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"xylophon" not in kept
    assert b"zeppelin" not in kept


async def test_forgetting_one_run_leaves_the_other(tmp_path: Path) -> None:
    other = page(1, "shared words", run="other")
    theirs = Archive.open(tmp_path, run="other")
    await theirs.archive([other])
    await theirs.close()
    mine = Archive.open(tmp_path, run="r")
    await mine.archive([page(1, "shared words")])
    await mine.forget()
    await mine.close()
    theirs = Archive.open(tmp_path, run="other")
    assert list(theirs.segments()) == [other]
    assert len(await theirs.recall("shared words", budget_tokens=50)) == 1
    await theirs.close()


async def test_a_file_that_is_no_ledger_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(ArchiveError, match=r"ledger\.sqlite cannot be read as a ledger"):
        Archive.open(tmp_path, run="r")


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    await Archive.open(tmp_path, run="r").close()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ArchiveError, match="schema 99"):
        Archive.open(tmp_path, run="r")
