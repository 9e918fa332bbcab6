"""Checkpoints are lost, all or the newest, and a model that is asked again answers otherwise: nothing is taken for what it is not."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from research_agent.graphs.counting import Meter, beginning, parts_of
from research_agent.graphs.numbering import follows
from research_agent.graphs.state import TurnRef
from research_agent.history.replay import replay
from research_agent.memory import Archive, Segment
from research_agent.runs import Run
from research_agent.testing.crash.rig import Life, Rig
from research_agent.testing.crash.world import World

STATIONS = 8


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture
def world() -> Iterator[World]:
    with World(lines="A", follow_up="", stations=STATIONS) as world:
        yield world


@pytest.fixture
def life(rig: Rig, world: World, tmp_path: Path) -> Life:
    return Life(rig, world, world.config(tmp_path / "here"))


def folder_of(life: Life) -> Path:
    assert life.folder
    return life.folder


def lose(folder: Path, name: str) -> None:
    for part in folder.glob(f"{name}*"):
        part.unlink()


def kept(life: Life, tmp_path: Path) -> Path:
    """A copy of the checkpoints that a run has now."""
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for part in folder_of(life).glob("checkpoints.sqlite*"):
        shutil.copy(part, earlier)
    return earlier


def put_back(folder: Path, earlier: Path) -> None:
    """The newest checkpoints are lost: there are those of then."""
    lose(folder, "checkpoints.sqlite")
    shutil.copytree(earlier, folder, dirs_exist_ok=True)


def mismatched(folder: Path) -> list[tuple[str, str]]:
    """Calls for a page beside what stands at their step, where that is another page."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        rows = db.execute(
            """SELECT b.data, b.packed, o.url FROM segments c JOIN bodies b ON b.hash = c.body
               JOIN segments o ON o.step = c.step AND o.kind = 'observation' WHERE c.kind = 'call' AND c.tool = 'scrape'"""
        ).fetchall()
    assert rows
    assert not any(packed for _, packed, _ in rows)
    asked = [(json.loads(text.decode().partition(" ")[2])["url"], url) for text, _, url in rows]
    return [pair for pair in asked if pair[0] != pair[1]]


def noted(folder: Path) -> Counter[str]:
    return Counter(finding["claim"] for finding in json.loads((folder / "findings.json").read_text("utf-8")))


def billed(folder: Path) -> list[float]:
    """Dollars, by the state and by the log."""
    record = json.loads((folder / "run.json").read_text("utf-8"))
    return [record["usd"], sum(role["usd"] for role in record["roles"].values())]


EACH_ONCE = Counter({f"Station A{n} has its code.": 1 for n in range(STATIONS)})


async def test_without_its_checkpoints_a_run_begins_again_with_what_it_read_and_what_it_spent(life: Life, world: World) -> None:
    assert life.killed_at("review.before")
    folder, pages = folder_of(life), life.fetched
    lose(folder, "checkpoints.sqlite")
    world.abreast = 2
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert "its checkpoints are gone" in child.said()
    assert noted(folder) == EACH_ONCE
    assert mismatched(folder) == []
    assert life.fetched == pages
    record = json.loads((folder / "run.json").read_text("utf-8"))
    assert record["usd"] == pytest.approx(life.billed_usd, rel=0.01)  # which counts the first replies as if they made two calls as well
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)


async def test_what_was_spent_on_the_plan_alone_stays_on_the_bill(life: Life) -> None:
    assert life.killed_at("thinking.before")
    folder = folder_of(life)
    assert life.billed_usd > 0
    lose(folder, "checkpoints.sqlite")
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert json.loads((folder / "run.json").read_text("utf-8"))["usd"] == pytest.approx(life.billed_usd, rel=1e-3)
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)


async def test_a_turn_that_repeats_an_old_call_is_never_put_before_its_state(tmp_path: Path) -> None:
    def call(step: int, text: str) -> Segment:
        return Segment(run="r", step=step, kind="call", text=text, args_hash=text, trust="own")

    archive = Archive.open(tmp_path, run="r")
    await archive.archive([call(5, "X"), call(9, "Y"), call(11, "Z")])
    assert follows(archive, 10, lambda step: [call(step + 1, "X")]) == 11
    await archive.archive([call(12, "X")])
    assert follows(archive, 10, lambda step: [call(step + 1, "X")]) == 11  # its process died after that
    await archive.close()


async def test_checkpoints_of_some_turns_ago_lead_on_to_other_turns_in_places_of_their_own(
    life: Life, world: World, tmp_path: Path
) -> None:
    assert life.killed_at("tool.before", 8)
    folder, earlier = folder_of(life), kept(life, tmp_path)
    assert life.killed_at("tool.before", 9)
    put_back(folder, earlier)
    world.abreast = 2
    assert life.killed_at("tool.before", 3)  # and once more on the way
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert noted(folder) == EACH_ONCE
    assert mismatched(folder) == []
    assert billed(folder) == [pytest.approx(life.billed_usd, rel=0.02)] * 2  # what is asked twice of the lost turns is paid twice
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)


async def test_what_lost_turns_have_cost_stays_on_the_bill_where_the_newest_checkpoint_has_a_turn_that_was_done(
    life: Life, tmp_path: Path
) -> None:
    assert life.killed_at("checkpoint.before", 6)  # the turn's writes are there, and its checkpoint is not
    folder, earlier = folder_of(life), kept(life, tmp_path)
    assert life.killed_at("thinking.before", 3)
    put_back(folder, earlier)
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert billed(folder) == [pytest.approx(life.billed_usd, abs=1e-5)] * 2
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)


async def test_a_call_that_is_made_again_for_its_checkpoint_is_lost_is_logged_though_that_session_too_is_killed(
    life: Life, tmp_path: Path
) -> None:
    assert life.killed_at("thinking.before", 3)
    folder, earlier = folder_of(life), kept(life, tmp_path)
    assert life.killed_at("thinking.before", 3)
    put_back(folder, earlier)
    assert life.killed_at("checkpoint.after")  # the state owes what is lost from here on
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert billed(folder) == [pytest.approx(life.billed_usd, abs=1e-5)] * 2


async def test_a_folder_that_is_older_than_its_checkpoints_is_refused(life: Life, tmp_path: Path) -> None:
    assert life.killed_at("tool.before", 8)
    folder = folder_of(life)
    older = ("ledger.sqlite", "ledger.sqlite-wal", "events.jsonl")
    for name in older:
        shutil.copy(folder / name, tmp_path)
    assert life.killed_at("review.before")
    lose(folder, "ledger.sqlite")
    for name in older:
        shutil.copy(tmp_path / name, folder)
    child = life.whole()
    assert child.wait() == 1
    assert "is an older copy of the run" in child.said()
    assert "resume it where it was run last" in child.said()


async def test_a_ledger_whose_log_is_torn_has_lost_a_part_and_the_run_goes_on_with_the_rest(life: Life) -> None:
    assert life.killed_at("tool.before", 8)
    folder = folder_of(life)
    log = folder / "ledger.sqlite-wal"
    torn = bytearray(log.read_bytes())
    torn[len(torn) // 2 : len(torn) // 2 + 4_096] = bytes(4_096)  # SQLite reads it up to there, and calls it whole
    log.write_bytes(torn)
    child = life.whole()
    assert child.wait() == 0, child.said()
    assert "messages are lost with a part of the ledger" in child.said()
    assert noted(folder) == EACH_ONCE


def test_what_an_older_version_learned_of_a_tokenizer_is_learned_anew() -> None:
    old = beginning()
    old["weights"], old["spread"] = old["weights"][:-2], old["spread"][:-19]
    turn = TurnRef(ref="a", tokens=10, step=0, opens=True, segments=[])

    def counted(meter: Meter) -> int:
        meter.reported([turn], 400)
        return meter.tokens([turn])

    of_old, of_new = (Meter(learned, lambda _: parts_of(["water " * 40]), lambda: parts_of(["rules"])) for learned in (old, None))
    assert counted(of_old) == counted(of_new)


async def test_a_replay_goes_by_a_reply_that_was_kept_wherever_the_lost_checkpoints_lead_back_to(life: Life, tmp_path: Path) -> None:
    assert life.killed_at("turn.archived.before", 3)
    assert life.killed_at("checkpoint.before")  # the turn's writes are there, and its checkpoint is not
    folder, earlier = folder_of(life), kept(life, tmp_path)
    assert life.killed_at("thinking.before", 3)
    put_back(folder, earlier)
    child = life.whole()
    assert child.wait() == 0, child.said()
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)


async def test_what_a_run_without_checkpoints_said_before_is_in_its_replay_as_it_was_in_its_ledger(life: Life, world: World) -> None:
    assert life.killed_at("tool.before", 2 * STATIONS + 3)  # the last call that was made looked back, and left nothing but itself
    folder = folder_of(life)
    lose(folder, "checkpoints.sqlite")
    world.abreast = 2
    child = life.whole()
    assert child.wait() == 0, child.said()
    played = await replay(Run(folder))
    assert (played.difference, played.requests) == ("", played.recorded)
