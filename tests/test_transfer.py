"""A memory as a file, there and back; and what is forgotten is in no file."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from research_agent.memory import Archive, ArchiveError, Segment
from research_agent.testing.embedder import HashingEmbedder

SAME = {"automobile": "car"}


def page(step: int, text: str, **more: str) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted", **more)


PAGES = [
    page(1, "An automobile, a \ud800 and 漢字.", url="https://a.example/1", title="First"),
    page(2, "Bread is baked from flour.", thread="b"),
]
NOTE = Segment(run="r", step=3, kind="finding", text="It is so", quote="An automobile", source=PAGES[0].id, trust="own")


@pytest.fixture
async def exported(tmp_path: Path) -> Path:
    archive = Archive.open(tmp_path / "one", run="r")
    await archive.archive([*PAGES, NOTE])
    assert archive.export(tmp_path / "memory.jsonl", about={"question": "What of cars?"}) == 3
    await archive.close()
    return tmp_path / "memory.jsonl"


async def test_there_and_back(exported: Path, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "two", run="other", embedder=HashingEmbedder(same=SAME))
    assert await archive.import_(exported) == 3
    assert await archive.import_(exported) == 0
    await archive.flush()
    assert [replace(s, run="r", source="") for s in archive.segments()] == [*PAGES, replace(NOTE, source="")]
    [note] = archive.find(kind="finding")
    assert archive.get(note.source).text == PAGES[0].text
    assert (await archive.recall("car", budget_tokens=100))[0].segment.step == 1  # its vectors are new
    assert archive.export(tmp_path / "again.jsonl") == 3
    await archive.close()


async def test_an_archive_with_other_memories_is_left_alone(exported: Path, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "two", run="other")
    await archive.archive([replace(page(1, "Mine."), run="other", thread="mine")])
    with pytest.raises(ArchiveError, match="holds other segments: import into a new folder"):
        await archive.import_(exported)
    assert archive.stats().segments == 1
    await archive.close()


async def test_what_is_imported_can_be_redacted(exported: Path, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "two", run="other")
    await archive.import_(exported, redact=lambda text: text.replace("flour", "[redacted]"))
    assert archive.get("S200").text == "Bread is baked from [redacted]."
    await archive.close()


def cut(lines: list[str]) -> list[str]:
    return lines[:-1]


def half(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[2][:40]]


def changed(lines: list[str]) -> list[str]:
    return [line.replace("Bread", "Cake") for line in lines]


def dropped(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def another(lines: list[str]) -> list[str]:
    return ['{"a": 1}', *lines[1:]]


def newer(lines: list[str]) -> list[str]:
    return [lines[0].replace('"version": 1', '"version": 9'), *lines[1:]]


def binary(lines: list[str]) -> list[str]:
    return ["\x00\x01not json at all"]


def headless(lines: list[str]) -> list[str]:
    return ['{"format": "research-agent-memory", "version": 1}', *lines[1:]]


def nested(lines: list[str]) -> list[str]:
    return [lines[0], "[" * 100_000]


def half_a_letter(lines: list[str]) -> list[str]:
    segment = {**json.loads(lines[1])["segment"], "thread": "\ud800"}
    signed = json.dumps({"segment": segment, "hash": hashlib.sha256(json.dumps(segment, sort_keys=True).encode()).hexdigest()})
    foot = {"end": 1, "hash": hashlib.sha256(f"{signed}\n".encode()).hexdigest()}
    return [lines[0], signed, json.dumps(foot)]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (headless, "line 1: not the head of an exported memory"),
        (nested, "line 2: not a line of an exported memory"),
        (half_a_letter, "line 2: .*surrogates not allowed"),
        (cut, "was cut off after 3 segments"),
        (half, "line 3: not a line of an exported memory"),
        (changed, "line 3: the segment is not the one that was exported"),
        (dropped, "was changed"),
        (another, "is not an exported memory"),
        (newer, "has version 9; this version of research-agent reads 1"),
        (binary, "line 1: not a line"),
    ],
)
async def test_damage_is_one_line_and_nothing_is_taken(exported: Path, tmp_path: Path, damage, told: str) -> None:
    exported.write_text("\n".join(damage(exported.read_text().splitlines())))
    archive = Archive.open(tmp_path / "two", run="other")
    with pytest.raises(ArchiveError, match=told) as error:
        await archive.import_(exported)
    assert "\n" not in str(error.value)
    assert archive.stats().segments == 0
    await archive.close()


def kept(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("named", [{"source": "S100"}, {"source": "https://z.example/xylophone"}, {"thread": "x"}])
async def test_a_forgotten_source_is_in_no_file(tmp_path: Path, named: dict[str, str]) -> None:
    secret = page(1, "The unforgettable xylophone. " * 60, url="https://z.example/xylophone", title="zeppelin", thread="x")
    block = '<document handle="S100" title="zeppelin" step="1">\nunforgettable xylophone\n</document>\n'
    block += '<document handle="S200">\nBread\n</document>'
    noting = {"source": "S100", "quote": "unforgettable xylophone", "claim": "zeppelin"}
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(
        [
            secret,
            page(2, "Bread is baked; an automobile."),
            Segment(run="r", step=3, kind="finding", text="zeppelin", quote="unforgettable xylophone", source=secret.id, trust="own"),
            Segment(run="r", step=3, kind="call", tool="note", text=f"note {json.dumps(noting)}", trust="own"),
        ]
    )
    shown = archive.put_body(json.dumps({"type": "tool", "data": {"content": block}}))
    noted = archive.put_body(json.dumps({"type": "ai", "data": {"content": "", "tool_calls": [{"name": "note", "args": noting}]}}))
    listed = archive.put_body(json.dumps({"type": "human", "data": {"content": "Read before:\nS100 zeppelin\nS200 Bread"}}))
    await archive.flush()
    assert await archive.forget(**named) == 3
    assert archive.get("S100") is None
    assert "Bread" in archive.get_body(shown)
    assert json.loads(archive.get_body(noted))["data"]["tool_calls"][0]["args"]["quote"] == "[forgotten]"
    assert json.loads(archive.get_body(listed))["data"]["content"] == "Read before:\n[forgotten]\nS200 Bread"
    assert (await archive.recall("car", budget_tokens=100))[0].segment.step == 2
    assert archive.stats().indexed == 1
    assert await archive.forget(**named) == 0
    await archive.close()
    assert b"xylophon" not in kept(tmp_path)
    assert b"zeppelin" not in kept(tmp_path)
    again = Archive.open(tmp_path, run="r")
    assert [segment.step for segment in again.segments()] == [2]
    await again.close()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "two", run="other")
    with pytest.raises(ArchiveError, match="cannot be read: No such file"):
        asyncio.run(archive.import_(tmp_path / "none.jsonl"))
    asyncio.run(archive.close())
