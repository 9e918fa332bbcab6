"""What happens to a run's stores on disk: an older version, a newer one, damage, a full disk. One clear line, and nothing is lost."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from small_runs import config, page, root_of

from research_agent import Agent, RunError
from research_agent.ending import Result
from research_agent.history.listing import rows
from research_agent.memory import Archive, ArchiveError, Segment, content_hash
from research_agent.runs import Run
from research_agent.stores import lock

DATA = Path(__file__).parent / "data"


async def begun(tmp_path: Path) -> Result:
    result = await Agent(config(tmp_path, limits={"steps": 8})).arun()
    assert result.status == "incomplete"
    return result


def spoil(path: Path, table: str) -> None:
    """Overwrites the first page of a table with garbage."""
    root = root_of(path, table)
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


async def test_a_ledger_of_the_first_version_is_upgraded_and_nothing_is_lost(tmp_path: Path) -> None:
    """The file was written by the code as it was then (75f25ba)."""
    shutil.copy(DATA / "ledger-v1.sqlite", tmp_path / "ledger.sqlite")
    with pytest.raises(ArchiveError, match="has schema 1, this version of research-agent reads 3: `research-agent memory rebuild"):
        Archive.open(tmp_path, run="r", read_only=True)
    archive = Archive.open(tmp_path, run="r")
    assert [segment.step for segment in archive.segments()] == list(range(6))
    assert "K23757" in (await archive.recall("the code of station 3", budget_tokens=60))[0].text
    await archive.archive([page(9, "One more, by Elza Marrow.")])
    await archive.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 3
        assert db.execute("SELECT count(*) FROM names").fetchone()[0] > 0
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


async def test_a_newer_ledger_is_refused_in_one_line_that_names_both_versions(tmp_path: Path) -> None:
    await Archive.open(tmp_path, run="r").close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(ArchiveError, match="has schema 7, written by a newer research-agent; this one reads up to 3: update it"):
        Archive.open(tmp_path, run="r")


async def test_a_newer_run_is_refused(tmp_path: Path) -> None:
    result = await begun(tmp_path)
    record = json.loads((result.folder / "run.json").read_text())
    assert record["version"] == 2
    (result.folder / "run.json").write_text(json.dumps({**record, "version": 3}))
    with pytest.raises(RunError, match="version 3, written by a newer research-agent; this one reads up to 2: update it"):
        await Agent(config(tmp_path)).aresume(result.id)


@pytest.mark.parametrize("half", [b"", b'{"id": "2026', b"\x00" * 300])
async def test_a_half_written_record_and_a_cut_event_log_do_not_hinder_a_resume(tmp_path: Path, half: bytes) -> None:
    result = await begun(tmp_path)
    (result.folder / "run.json").write_bytes(half)
    events = result.folder / "events.jsonl"
    events.write_bytes(events.read_bytes()[:-40])
    resumed = await Agent(config(tmp_path)).aresume(result.folder)
    assert (resumed.status, resumed.reason) == ("complete", "")
    assert json.loads((result.folder / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("table", ["words_data", "chunks", "names"])
async def test_a_damaged_index_of_the_ledger_is_made_anew(tmp_path: Path, table: str) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([page(n, f"Station {n} has the code K{n}, says Elza Marrow.") for n in range(40)])
    await archive.close()
    spoil(tmp_path / "ledger.sqlite", table)
    archive = Archive.open(tmp_path, run="r")
    assert "all 80 rows are kept; the damaged one is ledger.sqlite.damaged-1" in archive.mended
    assert archive.stats().segments == 40
    assert "K7" in (await archive.recall("station 7 code K7", budget_tokens=60))[0].text
    await archive.close()


async def test_a_mending_that_is_cut_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a kill: no file without its indexes takes the damaged one's place."""
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([page(n, f"Station {n} has the code K{n}, says Elza Marrow.") for n in range(40)])
    await archive.close()
    spoil(tmp_path / "ledger.sqlite", "words_data")
    with monkeypatch.context() as cut:
        cut.setattr("research_agent.memory.ledger.names", lambda text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Archive.open(tmp_path, run="r")
        gc.collect()  # its lock
    archive = Archive.open(tmp_path, run="r")
    assert "all 80 rows are kept" in archive.mended
    assert "K7" in (await archive.recall("station 7 code K7", budget_tokens=60))[0].text
    await archive.close()


async def test_of_a_damaged_ledger_what_can_be_read_is_kept_when_that_is_asked_for(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([page(n, f"Station {n} has the code K{n}. " + os.urandom(1500).hex()) for n in range(60)])
    await archive.close()
    path = tmp_path / "ledger.sqlite"
    root_of(path, "bodies")  # all of it is in the one file now
    with closing(sqlite3.connect(path)) as db:
        size, text = db.execute("PRAGMA page_size").fetchone()[0], db.execute("SELECT data FROM bodies WHERE rowid = 30").fetchone()[0]
    at = path.read_bytes().index(text[:64]) // size * size
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * size)
    with pytest.raises(
        ArchiveError,
        match=r"is damaged: \d+ of its \d+ rows are lost; nothing else holds .*: `research-agent memory rebuild .*` keeps what",
    ):
        Archive.open(tmp_path, run="r")
    archive = Archive.open(tmp_path, run="r", accept_loss=True)
    assert "rows are lost; the damaged one is" in archive.mended
    assert 30 < archive.stats().segments < 60
    await archive.close()


async def turned(tmp_path: Path, pages: list[Segment], words: bytes) -> Path:
    """A ledger in which the last byte of some words is another."""
    archive = Archive.open(tmp_path, run="r")
    await archive.archive(pages)
    await archive.close()
    path = tmp_path / "ledger.sqlite"
    assert words in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(words, words[:-1] + b"\xff"))
    return path


@pytest.mark.parametrize("of", ["id", "hash"])
async def test_a_byte_that_was_turned_over_costs_one_segment(tmp_path: Path, of: str) -> None:
    pages = [page(n, f"A penguin of number {n}.") for n in range(1, 9)]
    await turned(tmp_path, pages, {"id": pages[3].id, "hash": content_hash(pages[3].text)}[of].encode())
    archive = Archive.open(tmp_path, run="r", accept_loss=True)
    await archive.rebuild()
    assert list(archive.segments()) == [*pages[:3], *pages[4:]]
    assert len(await archive.recall("penguin", budget_tokens=500)) == 7
    assert "damaged and is made anew" in archive.mended
    await archive.close()


async def test_damage_that_is_told_in_damaged_words_is_one_line(tmp_path: Path) -> None:
    path = await turned(tmp_path, [page(1, "A penguin.")], b"indexnames_chunk")
    with pytest.raises(ArchiveError, match="cannot be read as a ledger"):
        Archive.open(tmp_path, run="r", accept_loss=True)
    assert path.is_file()


@pytest.mark.parametrize("left", ["nothing", "an empty file", "an empty ledger"])
async def test_a_complete_run_whose_ledger_is_gone_stays_complete_and_that_is_one_line(tmp_path: Path, left: str) -> None:
    result = await Agent(config(tmp_path)).arun()
    assert result.status == "complete"
    for path in result.folder.glob("ledger.sqlite*"):
        path.unlink()
    if left == "an empty ledger":
        await Archive.open(result.folder, run=result.id).close()
    elif left == "an empty file":
        (result.folder / "ledger.sqlite").touch()
    before = (result.folder / "run.json").read_bytes()
    for work in (Agent(config(tmp_path)).aresume(result.id), Agent(config(tmp_path)).arewrite(result.id)):
        with pytest.raises(RunError, match=f"run {result.id} is complete, and its ledger is gone") as error:
            await work
        assert "\n" not in str(error.value)
    assert (result.folder / "run.json").read_bytes() == before


async def test_damaged_checkpoints_go_on_from_what_can_be_read(tmp_path: Path) -> None:
    result = await begun(tmp_path)
    spoil(result.folder / "checkpoints.sqlite", "writes")
    warned: list[str] = []
    resumed = await Agent(config(tmp_path)).aresume(
        result.id, on_event=lambda event: warned.append(event["text"]) if event["type"] == "warning" else None
    )
    assert (resumed.status, resumed.reason) == ("complete", "")
    assert "checkpoints.sqlite was damaged" in " ".join(warned)


async def test_checkpoints_that_are_no_database_end_in_one_line(tmp_path: Path) -> None:
    result = await begun(tmp_path)
    for name in ("checkpoints.sqlite-wal", "checkpoints.sqlite-shm"):
        (result.folder / name).unlink(missing_ok=True)
    (result.folder / "checkpoints.sqlite").write_bytes(b"garbage" * 5000)
    resumed = await Agent(config(tmp_path)).aresume(result.id)
    assert resumed.status == "failed"
    assert "none of its checkpoints can be read: move it away" in resumed.reason
    (result.folder / "checkpoints.sqlite").unlink()
    again = await Agent(config(tmp_path)).aresume(result.id)
    assert again.status == "complete"


FULL = """
import json, resource, signal, sys
from pathlib import Path
from research_agent import Agent, Config

config = Config.from_mapping(json.loads(sys.argv[1]), base=Path.cwd())
limit = int(sys.argv[2])

def on_event(event):
    if event["type"] == "result" and event["step"] == 4 and limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

result = Agent(config).run(on_event=on_event)
print(json.dumps({"id": result.id, "status": result.status, "reason": result.reason}))
"""


async def test_a_disk_that_takes_no_more_ends_the_run_in_one_line_and_resume_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: it needs no rights."""
    mapping = config(tmp_path).model_dump(mode="json")
    done = subprocess.run([sys.executable, "-c", FULL, json.dumps(mapping), "20000"], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "failed"
    assert "\n" not in told["reason"]
    assert f"research-agent resume {tmp_path / 'runs' / told['id']}" in told["reason"]
    assert "limit" in told["reason"] or "full" in told["reason"]
    resumed = await Agent(config(tmp_path)).aresume(told["id"])
    assert (resumed.status, resumed.reason) == ("complete", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a file system")
async def test_a_full_file_system_ends_the_run_in_one_line_and_resume_goes_on_when_there_is_room(tmp_path: Path) -> None:
    small = tmp_path / "runs"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    ballast = small / "ballast"
    try:
        done, ends = set[int](), list[Any]()

        def fill(event: Any) -> None:
            if event["type"] == "result":
                done.add(event["step"])
            if event["type"] == "end":
                ends.append(event)
            if event["type"] == "result" and event["step"] == 4 and not ballast.exists():
                with suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while file.write(b"x" * 4096):
                        pass

        result = await Agent(config(tmp_path)).arun(on_event=fill)
        assert result.status == "failed"
        assert "the disk is full: make room" in result.reason or "is the disk full" in result.reason
        assert f"research-agent resume {result.folder}" in result.reason
        [row] = rows(small)
        assert (row.status, row.reason) == ("failed", result.reason)
        assert 0 < row.steps == len(done) == ends[-1]["steps"]
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        ballast.unlink()
        again: list[Any] = []
        resumed = await Agent(config(tmp_path)).aresume(result.id, on_event=again.append)
        assert (resumed.status, resumed.reason) == ("complete", "")
        [so_far] = [event for event in again if event["type"] == "so_far"]
        assert so_far["step"] == so_far["steps"] == row.steps
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a file system")
async def test_a_disk_too_small_to_open_a_database_on_is_called_full(tmp_path: Path) -> None:
    """SQLite calls it an input or output error."""
    small = tmp_path / "runs"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        result = await Agent(config(tmp_path)).arun()
        assert result.status == "failed"
        assert result.reason.startswith(f"{result.folder}: the disk is full: make room (")
        assert f"then `research-agent resume {result.folder}`" in result.reason
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


async def test_a_folder_closed_in_the_middle_is_named_and_what_was_done_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plain user meets it: what is open can be written still, and nothing new can be made."""
    told, made = dict[str, Any](), 0
    with monkeypatch.context() as closed:

        def closes(event: Any) -> None:
            nonlocal made
            made += event["type"] == "result"
            told[event["type"]] = event
            if event["type"] == "review":
                closed.setattr("tempfile.mkstemp", denied)
                closed.setattr("os.link", denied)

        result = await Agent(config(tmp_path)).arun(on_event=closes)
    assert result.status == "failed"
    assert result.reason.startswith(f"{result.folder}: it cannot be written: make it writable (Permission denied), then `research-agent")
    assert told["end"]["steps"] == made > 0
    assert "how it ended cannot be recorded (Permission denied)" in told["warning"]["text"]
    [row] = rows(tmp_path / "runs")
    assert (row.status, row.steps, row.reason) == ("interrupted", told["end"]["steps"], result.reason)
    resumed = await Agent(config(tmp_path)).aresume(result.id)
    assert (resumed.status, resumed.reason) == ("complete", "")


def denied(*names: Any, dir: Any = "", prefix: str = "", suffix: str = "") -> Any:
    raise PermissionError(errno.EACCES, "Permission denied", str(names[0] if names else Path(dir) / f"{prefix}x{suffix}"))


def made(tmp_path: Path) -> Run:
    folder = tmp_path / "r"
    folder.mkdir()
    return Run(folder)


def test_the_lock_of_a_dead_process_is_taken_over_also_if_its_number_is_used_again(tmp_path: Path) -> None:
    run = made(tmp_path)
    mine = lock.me()
    (run.folder / lock.RECORD).write_text(json.dumps({"kernel": mine.kernel, "host": mine.host, "pid": os.getpid(), "beat": 3}))
    (run.folder / lock.LOCK).write_text(str(os.getpid()))
    assert not run.locked
    with run.lock():
        assert run.locked
        with pytest.raises(RunError, match=rf"being worked on by another process \(process {os.getpid()} on"), run.lock():
            pass
    assert not (run.folder / lock.RECORD).exists()


def test_a_run_on_a_shared_folder_is_refused_while_another_machine_beats_and_taken_over_when_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "WATCH_S", 1.0)
    run = made(tmp_path)
    there = lock.Holder("another-kernel", "elsewhere", 7)
    with lock._beating(run.folder / lock.RECORD, there):  # as that machine does it; its kernel's lock does not reach us
        assert run.locked
        with pytest.raises(RunError, match=r"being worked on by another process \(process 7 on elsewhere\)"), run.lock():
            pass
    (run.folder / lock.RECORD).write_text(json.dumps({"kernel": "another-kernel", "host": "elsewhere", "pid": 7, "beat": 99}))
    with run.lock():
        assert lock.holder(run.folder) != there
