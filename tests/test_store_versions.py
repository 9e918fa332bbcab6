"""A store's file and its vectors: an older version, a newer one, damage. One clear line, and no item lost that can be read."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from layouts import relabel

from research_agent.memory import ArchiveError, ChromaStore
from research_agent.testing.embedder import HashingEmbedder


def keys(found: list[Any]) -> list[str]:
    return [item.key for item in found]


@pytest.mark.parametrize("embedder", [None, HashingEmbedder()])
def test_a_store_of_the_first_version_is_upgraded_and_nothing_is_lost(tmp_path: Path, embedder: HashingEmbedder | None) -> None:
    """The file was written by the code as it was then (6b2c70f)."""
    shutil.copy(Path(__file__).parent / "data" / "store-v1.sqlite", tmp_path / "store.sqlite")
    with ChromaStore(tmp_path, embedder=embedder) as store:
        assert store.mended == ""
        assert store.search(("notes",), query="what melts?")[0].key == "zinc"
        store.put(("notes",), "copper", {"text": "Copper melts later."})
        assert len(store.search(())) == 5
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_newer_store_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    ChromaStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute("PRAGMA user_version = 7")
    for _ in range(2):  # and what was refused is not held open
        with pytest.raises(ArchiveError, match=r"schema 7, written by a newer research-agent; this one reads up to 2: update it$"):
            ChromaStore(tmp_path)


def spoil_each_page(path: Path) -> Iterator[int]:
    """The file with one page after the other as garbage, and its pages' numbers."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = int(db.execute("PRAGMA page_size").fetchone()[0])
    whole = path.read_bytes()
    for page in range(len(whole) // size):
        for part in ("-wal", "-shm"):
            Path(f"{path}{part}").unlink(missing_ok=True)
        path.write_bytes(whole[: page * size] + b"\xff" * size + whole[(page + 1) * size :])
        yield page


@pytest.mark.parametrize("version", [1, 2])
def test_of_a_damaged_store_the_items_are_kept_that_can_be_read_and_their_index_is_made_anew(tmp_path: Path, version: int) -> None:
    made: dict[str, Any] = {"embedder": HashingEmbedder(same={"automobile": "car"})}
    if version == 1:
        shutil.copy(Path(__file__).parent / "data" / "store-v1.sqlite", tmp_path / "store.sqlite")
    else:
        with ChromaStore(tmp_path, **made) as store:
            for n in range(40):
                store.put(("notes",), f"{n}", {"text": f"automobile {n} " + "rain " * 200, "n": n}, index=False if n == 7 else None)
    kept_whole = lost = 0
    for page in spoil_each_page(tmp_path / "store.sqlite"):
        refused = ""
        try:
            store = ChromaStore(tmp_path, **made)
        except ArchiveError as error:
            refused = str(error)
        if refused:
            assert refused.endswith("nothing in it can be read; move it away to begin a new one"), page
            assert page in (0, 1), page  # where the tables are told, and where the items' pages are (the old one's items themselves)
            continue
        with store:
            assert "store.sqlite was damaged and is made anew" in store.mended, page
            count = len(store.search((), limit=100))
            if "rows are kept" in store.mended:
                kept_whole += 1
                assert count == (40 if version == 2 else 4), page
                assert version == 1 or "7" not in keys(store.search(("notes",), query="car", limit=39))
            else:
                lost += 1
                assert "rows are lost" in store.mended or "cannot be told" in store.mended, page
                assert 0 < count < 40 or "cannot be told" in store.mended  # all are there, but nothing says that there were no more
            assert store.search(("notes",), query="car" if version == 2 else "zinc", limit=1)[0].score is not None, page
            store.put(("notes",), "new", {"text": "a new one"})
        with ChromaStore(tmp_path, **made) as store:
            assert store.mended == ""
            assert store.get(("notes",), "new") is not None
    assert kept_whole >= 3
    assert version == 1 or lost >= 3


def test_a_newer_layout_of_vectors_is_left_alone_and_told(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, embedder=HashingEmbedder()) as store:
        store.put(("n",), "1", {"text": "Zinc melts."})
    relabel(tmp_path / "vectors", layout=7)
    with ChromaStore(tmp_path, embedder=HashingEmbedder()) as store:
        assert keys(store.search(("n",), query="zinc")) == ["1"]
        assert "the vectors of store have layout 7, written by a newer research-agent; this one reads up to 1: update it" in store.failure
    embedder = HashingEmbedder()
    relabel(tmp_path / "vectors", layout=0)
    with ChromaStore(tmp_path, embedder=embedder) as store:
        assert store.search(("n",), query="zinc")[0].score is not None
        assert (embedder.texts, store.failure) == (2, "")  # an older one is made anew
