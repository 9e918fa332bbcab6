"""A page of any of a run's databases is damaged: the run goes on and ends with its findings, or says in one line what to do first."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_runs import config
from typer.testing import CliRunner

from research_agent import Agent, RunError
from research_agent.cli import app
from research_agent.commands.remembering import rebuild
from research_agent.ending import Result
from research_agent.history.at_step import at_step
from research_agent.history.listing import rows
from research_agent.history.replay import replay
from research_agent.history.steps import NoSuchStep, read_only, values_of
from research_agent.memory import ArchiveError
from research_agent.runs import Run

STEPS = 8
Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that met its limit: to be copied, its databases without a log beside them."""
    result = Agent(config(tmp_path_factory.mktemp("stopped"), limits={"steps": STEPS})).run()
    assert result.status == "incomplete"
    for path in result.folder.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return result.folder


@pytest.fixture(scope="module")
def claims(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the run finds that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    return found(Agent(config(folder)).resume(copied(stopped, folder)))


def copied(folder: Path, into: Path) -> Path:
    return Path(shutil.copytree(folder, into / "runs" / folder.name))


async def gone_on(tmp_path: Path, folder: Path, warned: list[str] | None = None) -> Result:
    said = [] if warned is None else warned
    return await Agent(config(tmp_path)).aresume(
        folder, on_event=lambda event: said.append(event["text"]) if event["type"] == "warning" else None
    )


def found(result: Result) -> list[str]:
    assert (result.status, result.reason) == ("complete", "")
    told = json.loads((result.folder / "findings.json").read_text("utf-8"))
    return sorted(finding["claim"] for finding in told)


def pages(path: Path) -> tuple[int, int]:
    """How many there are, and their size."""
    with closing(sqlite3.connect(path)) as db:
        size = int(db.execute("PRAGMA page_size").fetchone()[0])
    return path.stat().st_size // size, size


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def spoil_value(path: Path, sql: str) -> None:
    """Garbage in the middle of one value: as a database, the file stays whole."""
    with closing(sqlite3.connect(path)) as db:
        value = bytes(db.execute(sql).fetchone()[0])
    middle = value[len(value) // 3 : len(value) // 3 + 48]
    at = path.read_bytes().index(middle)
    overwrite(path, at, b"\xff" * len(middle))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("name", ["ledger.sqlite", "checkpoints.sqlite"])
def test_a_run_whose_first_page_is_gone_is_listed_and_shown_as_damaged(stopped: Path, tmp_path: Path, name: str) -> None:
    folder = copied(stopped, tmp_path)
    assert [row.status for row in rows(folder.parent)] == ["incomplete"]
    assert f"{folder.name}  incomplete: the limit of" in told("show", folder)
    overwrite(folder / name, 0, random.Random(name).randbytes(pages(folder / name)[1]))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    [row] = rows(folder.parent)
    assert (row.status, row.steps) == ("damaged", STEPS)
    assert f"{folder / name} is damaged: `research-agent show {folder}` says what can be done" in row.reason
    shown = told("show", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    resumed = Agent(config(tmp_path)).resume(folder)
    assert (f"{folder.name}  damaged: {resumed.reason}" in shown) == (resumed.status == "failed")


def test_a_run_that_lost_a_part_of_its_ledger_is_shown_as_damaged_and_why_it_is_not_mended_unasked(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    count, size = pages(folder / "ledger.sqlite")
    for page in range(count // 3, count // 2):
        overwrite(folder / "ledger.sqlite", page * size, b"\xff" * size)
    shown = told("show", folder)
    assert f"{folder.name}  damaged: {folder / 'ledger.sqlite'} is damaged: " in shown
    assert "nothing else holds what is lost, so that is not taken for granted: `research-agent memory rebuild" in shown
    resumed = Agent(config(tmp_path)).resume(folder)
    assert resumed.status == "failed"
    assert resumed.reason in shown


@pytest.mark.parametrize("name", ["ledger.sqlite", "checkpoints.sqlite"])
def test_a_folder_in_the_place_of_a_database_hides_no_run_of_a_list(stopped: Path, tmp_path: Path, name: str) -> None:
    folder = copied(stopped, tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert [row.id for row in rows(folder.parent)] == [folder.name]


def test_a_search_in_a_memory_whose_names_are_damaged_is_one_line(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    path = folder / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        root = int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'names'").fetchone()[0])
    size = pages(path)[1]
    overwrite(path, (root - 1) * size, b"\xff" * size)
    done = CliRunner().invoke(app, ["memory", "search", str(folder), "code of a station"])
    assert isinstance(done.exception, ArchiveError)
    assert "is damaged" in str(done.exception)
    assert one_line(str(done.exception))


def told(command: str, folder: Path) -> str:
    done = CliRunner().invoke(app, [command, str(folder)])
    assert done.exit_code == 0, done.output
    return done.output


def one_line(text: str) -> bool:
    return bool(text) and "\n" not in text


@pytest.mark.parametrize(("name", "every"), [("checkpoints.sqlite", 8), ("records.sqlite", 1), ("ledger.sqlite", 16)])
async def test_whichever_page_is_damaged_nothing_that_can_be_read_is_lost(
    stopped: Path, claims: list[str], tmp_path: Path, name: str, every: int
) -> None:
    chance, noted = random.Random(name), {finding["claim"] for finding in json.loads((stopped / "findings.json").read_text("utf-8"))}
    count, size = pages(stopped / name)
    for page in sorted({0, *range(chance.randrange(every), count, every)}):
        here = tmp_path / str(page)
        folder = copied(stopped, here)
        overwrite(folder / name, page * size, chance.randbytes(size))
        warned: list[str] = []
        result = await gone_on(here, folder, warned)
        if result.status == "failed":
            assert one_line(result.reason)
            assert name in result.reason
            if "memory rebuild" in result.reason:
                await rebuild(str(folder), here, "")
            else:
                assert "move it away" in result.reason
                assert page in (0, 1)  # where the tables are told, and the first one's pages
                (folder / name).unlink()
            result = await gone_on(here, folder)
            assert result.status == "complete", (page, result.reason)
        else:
            [told] = [text for text in warned if f"{name} was damaged" in text]
            whole = "rows are kept" in told or name == "records.sqlite"
            assert found(result) == claims if whole else noted <= {*found(result)}, (page, told)
            assert (folder / f"{name}.damaged-1").is_file()


@pytest.mark.parametrize("what", ["checkpoint", "value"])
async def test_a_checkpoint_whose_text_is_damaged_is_left_for_the_one_before_it(
    stopped: Path, claims: list[str], tmp_path: Path, what: str
) -> None:
    folder = copied(stopped, tmp_path)
    newest = {
        "checkpoint": "SELECT checkpoint FROM checkpoints ORDER BY checkpoint_id DESC LIMIT 1",
        "value": "SELECT value FROM writes WHERE channel = 'report' ORDER BY rowid DESC LIMIT 1",
    }[what]
    spoil_value(folder / "checkpoints.sqlite", newest)
    with pytest.raises(NoSuchStep, match=rf"allowed: 0 to {STEPS}"):  # it can be read all the same, without its newest
        await at_step(Run(folder), 999)
    warned: list[str] = []
    assert found(await gone_on(tmp_path, folder, warned)) == claims
    assert (folder / "checkpoints.sqlite.damaged-1").is_file() == bool([text for text in warned if "1 of its" in text])


async def test_a_message_that_is_lost_takes_its_turn_with_it_and_the_run_goes_on(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    async with read_only(Run(folder)) as history:
        live = json.dumps([turn["ref"] for turn in values_of(history[-1])["turns"] if not turn["opens"]])
    oldest = f"SELECT data FROM json_each('{live}') j JOIN bodies ON hash = j.value WHERE packed ORDER BY j.key LIMIT 1"
    spoil_value(folder / "ledger.sqlite", oldest)
    first = await gone_on(tmp_path, folder)
    assert first.status == "failed"
    assert f"`research-agent memory rebuild {folder}` keeps the others" in first.reason
    for look in (at_step(Run(folder), STEPS), Agent(config(tmp_path)).afork(folder, at=STEPS)):
        with pytest.raises(ArchiveError, match=rf"memory rebuild {re.escape(str(folder))}"):
            await look
    assert "1 of its" in await rebuild(str(folder), tmp_path, "")
    warned: list[str] = []
    second = await gone_on(tmp_path, folder, warned)
    assert second.status == "complete"
    assert [text for text in warned if "1 messages are lost" in text]


async def test_a_run_without_its_ledger_begins_its_plan_again(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    (folder / "ledger.sqlite").unlink()
    assert found(await gone_on(tmp_path, folder))


async def test_damaged_records_cost_a_replay_and_nothing_else(stopped: Path, claims: list[str], tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    assert (await replay(Run(folder))).difference == ""
    spoil_value(folder / "records.sqlite", "SELECT data FROM records WHERE kind = 'use' ORDER BY seq LIMIT 1")
    told = await replay(Run(folder))
    assert "is called now, and was not then" in told.difference
    assert (await at_step(Run(folder), STEPS))["prompt"]
    assert found(await Agent(config(tmp_path)).afork(folder, at=STEPS))
    assert found(await gone_on(tmp_path, folder)) == claims


async def test_a_request_that_is_lost_spoils_none_that_shares_its_messages(stopped: Path, tmp_path: Path) -> None:
    """A request is kept as what it has that the one before it had not."""
    folder = copied(stopped, tmp_path)
    before: dict[int, Any] = {step: (await at_step(Run(folder), step))["prompt"] for step in range(1, STEPS + 1)}
    spoil_value(folder / "records.sqlite", "SELECT data FROM records WHERE kind = 'ask' ORDER BY seq LIMIT 1 OFFSET 2")
    for step, prompt in before.items():
        assert (await at_step(Run(folder), step))["prompt"] == prompt


async def test_newer_records_and_a_newer_state_are_refused_in_one_line(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    with closing(sqlite3.connect(folder / "records.sqlite")) as db:
        db.execute("PRAGMA user_version = 7")
    refused = await gone_on(tmp_path, folder)
    assert refused.status == "failed"
    assert "schema 7, written by a newer research-agent; this one reads up to 1: update it" in refused.reason
    with closing(sqlite3.connect(folder / "records.sqlite")) as db:
        db.execute("PRAGMA user_version = 1")
    with closing(sqlite3.connect(folder / "checkpoints.sqlite")) as db:
        assert db.execute("SELECT DISTINCT metadata ->> 'state' FROM checkpoints").fetchall() == [(1,)]
        db.execute("UPDATE checkpoints SET metadata = json_set(metadata, '$.state', 2)")
        db.commit()
    before = json.loads((folder / "run.json").read_text("utf-8"))
    refused = await gone_on(tmp_path, folder)
    told = "has version 2, written by a newer research-agent; this one reads up to 1: update it"
    assert refused.status == "failed"
    assert told in refused.reason
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == before["status"]
    for look in (at_step(Run(folder), 1), Agent(config(tmp_path)).afork(folder, at=1)):
        with pytest.raises(RunError, match=told):
            await look
