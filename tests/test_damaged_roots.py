"""The first page of a table is damaged, which leads to all its others: what stands in those is found all the same."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from small_runs import page, root_of

from research_agent.memory import Archive, ArchiveError, ChromaStore, damage

TEXTS = {n: f"Station {n} has the code K{n * 7919}. " + os.urandom(1500).hex() for n in range(60)}


def overwrite(path: Path, page: int, noise: bytes) -> None:
    with closing(sqlite3.connect(path)) as db:
        size = int(db.execute("PRAGMA page_size").fetchone()[0])
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write((noise * size)[:size])


async def archived(folder: Path) -> Path:
    archive = Archive.open(folder, run="r")
    await archive.archive([page(n, text) for n, text in TEXTS.items()])
    await archive.close()
    return folder / "ledger.sqlite"


@pytest.mark.parametrize("noise", [b"\xff", b"\x00", random.Random(7).randbytes(4096)], ids=["ones", "nothing", "noise"])
@pytest.mark.parametrize("tables", [["bodies"], ["segments"], ["bodies", "segments", "words_data", "chunks"]], ids="+".join)
async def test_of_a_ledger_whose_tables_lost_their_roots_every_text_is_kept(tmp_path: Path, tables: list[str], noise: bytes) -> None:
    path = await archived(tmp_path)
    for root in [root_of(path, table) for table in tables]:
        overwrite(path, root, noise)
    with pytest.raises(
        ArchiveError,
        match=r"is damaged: 120 rows can be read, and how many more .*: `research-age",
    ):
        Archive.open(tmp_path, run="r")
    archive = Archive.open(tmp_path, run="r", accept_loss=True)
    assert "the damaged one is ledger.sqlite.damaged-1" in archive.mended
    assert {segment.step: segment.text for segment in archive.segments()} == TEXTS
    assert "K55433" in (await archive.recall("code of station 7", budget_tokens=60))[0].text
    await archive.close()
    assert sorted(file.name for file in tmp_path.iterdir() if "rescued" in file.name) == []


async def test_what_was_deleted_does_not_come_back_with_a_lost_root(tmp_path: Path) -> None:
    path = tmp_path / "plain.sqlite"
    with closing(sqlite3.connect(path)) as db:
        make(db)
        db.executemany("INSERT INTO notes (text) VALUES (?)", [(f"note {n} " + "x" * 300,) for n in range(400)])
        db.execute("DELETE FROM notes WHERE rowid % 40 < 20")
        db.commit()
        left = db.execute("SELECT rowid, text FROM notes").fetchall()
    overwrite(path, root_of(path, "notes"), b"\xff")
    new, saved = damage.rescue(path, make, ["notes"])
    assert (saved.rows, saved.whole) == (len(left), False)
    with closing(sqlite3.connect(new)) as db:
        assert db.execute("SELECT rowid, text FROM notes").fetchall() == left


def test_a_number_of_rows_that_damage_made_up_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "plain.sqlite"
    with closing(sqlite3.connect(path)) as db:
        make(db)
        db.executemany("INSERT INTO notes (text) VALUES (?)", [(f"note {n}",) for n in range(300)])
        db.execute("INSERT INTO notes (rowid, text) VALUES (?, 'far off')", (10**6,))
        db.execute("INSERT INTO notes (rowid, text) VALUES (?, 'damage')", (2**62,))
        db.commit()
    _, saved = damage.rescue(path, make, ["notes"])
    assert saved.rows == 302


def make(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE notes (text TEXT)")


@pytest.mark.parametrize("rows", [1, 30, 40_000], ids=["one page", "a few pages", "three levels"])
async def test_of_any_size_what_is_not_in_the_damaged_page_itself_is_kept(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "plain.sqlite"
    with closing(sqlite3.connect(path)) as db:
        make(db)
        db.executemany("INSERT INTO notes (text) VALUES (?)", [(f"note {n} " + "x" * 300,) for n in range(rows)])
        db.commit()
    overwrite(path, root_of(path, "notes"), b"\xff")
    _, saved = damage.rescue(path, make, ["notes"])
    assert (saved.rows, saved.whole) == (0 if rows == 1 else rows, False)


async def test_of_a_table_that_was_one_page_nothing_is_left_and_all_beside_it_is_kept_and_told(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([page(n, f"Station {n}.") for n in range(3)], bodies=["what was sent"])
    ref = archive.put_body("what was sent")
    await archive.close()
    overwrite(tmp_path / "ledger.sqlite", root_of(tmp_path / "ledger.sqlite", "segments"), b"\xff")
    with pytest.raises(
        ArchiveError,
        match=r"is damaged: 4 rows can be read, and how many more .*: `.*` keeps what",
    ):
        Archive.open(tmp_path, run="r")
    archive = Archive.open(tmp_path, run="r", accept_loss=True)
    assert "4 rows can be read" in archive.mended
    assert (archive.stats().segments, archive.get_body(ref)) == (0, "what was sent")
    await archive.close()


def test_a_store_of_which_nothing_is_left_says_so_in_one_line(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        store.put(("a",), "k", {"text": "one"})
    path = tmp_path / "store.sqlite"
    overwrite(path, root_of(path, "items"), b"\xff")
    with pytest.raises(ArchiveError, match=r"cannot be read as a store: nothing in it can be read; move it away to begin a new one"):
        ChromaStore(tmp_path)


async def test_a_store_whose_items_lost_their_root_keeps_them(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        for n in range(50):
            store.put(("a",), str(n), {"text": TEXTS[n]})
    overwrite(tmp_path / "store.sqlite", root_of(tmp_path / "store.sqlite", "items"), b"\xff")
    with ChromaStore(tmp_path) as store:
        assert "50 rows can be read, and how many more there were cannot be told" in store.mended
        assert [store.get(("a",), str(n)).value for n in range(50)] == [{"text": TEXTS[n]} for n in range(50)]  # type: ignore[union-attr]
