"""The dense index beside the ledger: what it adds, and that nothing that happens to it loses anything. Real Chroma, embedded."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from layouts import relabel

from research_agent.memory import Archive, ArchiveInUse, EmbedderUnavailable, EmbeddingFailed, Segment, choose
from research_agent.memory.vectors import Vectors
from research_agent.testing.embedder import HashingEmbedder

SAME = {"automobile": "car", "physician": "doctor", "vessel": "ship"}


def page(step: int, text: str, **fields: object) -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted", **fields)


PAGES = [
    page(1, "The automobile was parked behind the mill."),
    page(2, "A physician signed the paper."),
    page(3, "The vessel left harbour at dawn."),
    page(4, "Bread is made from flour."),
]


async def best(archive: Archive, query: str, **narrowed: object) -> int:
    """The step of what serves a query best."""
    return max(await archive.recall(query, budget_tokens=100, **narrowed), key=lambda passage: passage.score).segment.step


async def test_what_shares_no_word_with_the_query_is_found_by_meaning(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(PAGES)
    await archive.flush()
    assert await best(archive, "car") == 1
    assert await best(archive, "which doctor") == 2
    assert await best(archive, "ship", exclude=frozenset({PAGES[0].id}), kinds=["observation"]) == 3
    assert await best(archive, "ship", exclude=frozenset({PAGES[2].id})) != 3
    assert await best(archive, "car", source="S300") == 3
    assert archive.stats().indexed == archive.stats().chunks == 4
    await archive.close()


async def test_archiving_and_recalling_by_words_do_not_wait_for_the_embedder(tmp_path: Path) -> None:
    embedder = HashingEmbedder(same=SAME)
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.flush()
    embedder.gate.clear()
    begun = time.perf_counter()
    await archive.archive(PAGES)
    assert time.perf_counter() - begun < 0.5
    assert archive.stats().indexed == 0
    asyncio.get_running_loop().call_later(0.1, embedder.gate.set)
    assert await best(archive, "flour bread") == 4
    await archive.flush()
    assert archive.stats().indexed == 4
    await archive.close()


async def test_what_was_not_indexed_when_it_stopped_is_indexed_when_it_opens(tmp_path: Path) -> None:
    words_only = Archive.open(tmp_path, run="r")
    await words_only.archive(PAGES)
    await words_only.close()
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.flush()
    assert await best(archive, "car") == 1
    await archive.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from research_agent.memory import Archive, Segment
from research_agent.memory.vectors import Vectors
from research_agent.testing.embedder import HashingEmbedder

when = sys.argv[2]
upsert = Vectors.upsert

def dying(self, keys, vectors):
    if when == "before":
        os._exit(9)
    upsert(self, keys, vectors)
    os._exit(9)

Vectors.upsert = dying

async def main():
    archive = Archive.open(Path(sys.argv[1]), run="r", embedder=HashingEmbedder(same={"automobile": "car"}))
    await archive.archive([Segment(run="r", step=n, kind="observation", text=f"automobile {n}", trust="untrusted") for n in range(100)])
    await archive.flush()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_between_ledger_and_index_is_made_up_for(tmp_path: Path, when: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], capture_output=True, timeout=60)
    assert killed.returncode == 9, killed.stderr.decode()
    embedder = HashingEmbedder(same={"automobile": "car"})
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.flush()
    stats = archive.stats()
    assert (stats.segments, stats.indexed, stats.failure) == (100, 100, "")
    assert embedder.texts == (100 if when == "before" else 36)  # 64 had come through, written together
    last = await archive.recall("car", budget_tokens=2000, since_step=60)  # what was never written, and what was
    assert len(last) == 40
    await archive.close()


def break_nothing(vectors: Path) -> None: ...


def break_all(vectors: Path) -> None:
    shutil.rmtree(vectors)


def break_database(vectors: Path) -> None:
    (vectors / "chroma.sqlite3").write_bytes(b"garbage" * 1000)


def break_graph(vectors: Path) -> None:
    for path in vectors.rglob("*.bin"):
        path.write_bytes(b"x" * 100)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that is copied: making its index takes seconds."""
    folder = tmp_path_factory.mktemp("indexed")

    async def make() -> None:
        pages = [page(n, f"automobile {n}") for n in range(1100)]  # over Chroma's 1,000, so that its graph is on disk
        archive = Archive.open(folder, run="r", embedder=HashingEmbedder(dimensions=16))
        await archive.archive(pages)
        await archive.close()

    asyncio.run(make())
    return folder


@pytest.mark.parametrize("broken", [break_nothing, break_all, break_database, break_graph])
async def test_a_broken_index_is_made_anew_from_the_ledger(tmp_path: Path, indexed: Path, broken) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(indexed, folder)
    broken(folder / "vectors")
    embedder = HashingEmbedder(dimensions=16)
    archive = Archive.open(folder, run="r", embedder=embedder)
    await archive.flush()
    assert (archive.stats().indexed, archive.stats().failure) == (1100, "")
    assert embedder.texts == (0 if broken is break_nothing else 1100)
    assert await archive.recall("automobile", budget_tokens=50)
    await archive.close()


async def test_another_embedder_is_noticed_and_its_vectors_never_mixed(tmp_path: Path) -> None:
    first = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(name="one", dimensions=64))
    await first.archive(PAGES)
    await first.close()
    for embedder in (HashingEmbedder(name="two", dimensions=64, same=SAME), HashingEmbedder(name="two", dimensions=32, same=SAME)):
        archive = Archive.open(tmp_path, run="r", embedder=embedder)
        await archive.flush()
        assert embedder.texts == 4
        assert await best(archive, "car") == 1
        await archive.close()


@pytest.mark.parametrize("layout", [None, 0])
async def test_vectors_of_an_older_layout_are_made_anew_and_those_without_a_number_are_the_first(
    tmp_path: Path, layout: int | None
) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(PAGES)
    await archive.close()
    relabel(tmp_path / "vectors", layout=layout)
    embedder = HashingEmbedder(same=SAME)
    archive = Archive.open(tmp_path, run="r", embedder=embedder, changed="refuse")  # a layout is no other embedder
    await archive.flush()
    assert embedder.texts == (0 if layout is None else 4)
    assert await best(archive, "car") == 1
    await archive.close()


async def test_vectors_of_a_newer_layout_are_left_alone_and_recall_goes_by_words(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(PAGES)
    await archive.close()
    relabel(tmp_path / "vectors", layout=7)
    told = "the vectors of r have layout 7, written by a newer research-agent; this one reads up to 1: update it, or remove them"
    for read_only in (True, False):
        archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME), read_only=read_only)
        await archive.flush()
        assert archive.stats().failure.startswith(told)
        assert await best(archive, "automobile") == 1
        if not read_only:
            await archive.rebuild()
            assert archive.stats().failure == ""
            assert await best(archive, "car") == 1
        await archive.close()


async def test_rebuild_makes_both_indexes_anew(tmp_path: Path) -> None:
    embedder = HashingEmbedder(same=SAME)
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.archive(PAGES)
    await archive.flush()
    await archive.rebuild()
    assert embedder.texts == 8
    assert archive.stats().indexed == archive.stats().chunks == 4
    assert await best(archive, "car") == 1
    assert await best(archive, "bread") == 4
    await archive.close()


async def test_forget_takes_the_vectors_too(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(PAGES)
    await archive.flush()
    await archive.forget()
    assert await archive.recall("car", budget_tokens=100) == []
    await archive.close()
    assert not (tmp_path / "vectors").exists()


async def test_what_is_archived_after_all_was_forgotten_is_found_by_meaning(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(same=SAME))
    await archive.archive(PAGES)
    await archive.flush()
    await archive.forget()
    await archive.archive(PAGES)
    await archive.flush()
    assert (archive.stats().indexed, archive.stats().failure) == (4, "")
    assert await best(archive, "car") == 1
    await archive.close()


async def test_an_embedder_that_is_down_costs_only_the_meaning(tmp_path: Path) -> None:
    embedder = HashingEmbedder(same=SAME)
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    embedder.up = False
    await archive.archive(PAGES)
    await archive.flush()
    assert archive.stats().failure == "hashing is down"
    assert await best(archive, "automobile") == 1
    embedder.up = True
    await archive.archive([page(5, "And one more.")])
    await archive.flush()
    assert (archive.stats().failure, archive.stats().indexed) == ("", 5)
    assert await best(archive, "car") == 1
    await archive.close()


async def test_a_memory_is_opened_once(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    with pytest.raises(ArchiveInUse, match="open already"):
        Archive.open(tmp_path, run="r")
    await archive.close()
    await Archive.open(tmp_path, run="r").close()


def test_an_exact_comparison_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    vectors = Vectors.open(tmp_path / "v", run="r", identity="x", dimensions=3)
    rows = np.eye(3, dtype=np.float32)
    vectors.upsert(["a:0", "b:0", "b:1"], rows)
    assert vectors.among(["b:1", "a:0", "nobody:0"], rows[2]) == [("b:1", 1.0), ("a:0", 0.0)]
    assert vectors.query(rows[1], 2)[0] == ("b:0", 1.0)
    vectors.delete(["b:0"])
    assert vectors.keys() == {"a:0", "b:1"}
    vectors.close()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("word2vec", "none of: auto, none"),
        ("onnx:x", "none of: auto, none"),
        ("openai", "none of: auto, none"),
        ("openai:x", "openai:x needs a key: set OPENAI_API_KEY"),
        ("openai:x@https://api.openai.com/v1/", "needs a key"),
        ("openai:x@nonsense", "openai:x@nonsense is none of: openai:NAME, openai:NAME@http://"),
        ("openai:x@http://h:port/v1", "is none of: openai:NAME"),
        ("openai:@http://h/v1", "is none of: openai:NAME"),
        ("onnx", "its files are not in"),
        ("sentence-transformers:no/such-model", "sentence-transformers:no/such-model"),
    ],
)
def test_a_named_embedder_that_cannot_be_had_is_one_line(spec: str, reason: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(EmbedderUnavailable, match=reason) as caught:
        choose(spec)
    assert "\n" not in str(caught.value)
    if "sentence" not in spec:
        assert time.perf_counter() - begun < 3.5


def test_none_and_auto_always_answer() -> None:
    assert choose("none").embedder is None
    begun = time.perf_counter()
    choice = choose("auto")
    assert time.perf_counter() - begun < 3.5
    assert bool(choice.embedder) != bool(choice.reason)


def test_chroma_keeps_its_onnx_model_where_we_look() -> None:
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    from research_agent.memory.embedders import _onnx_folder

    assert _onnx_folder() == Path(ONNXMiniLM_L6_V2.DOWNLOAD_PATH) / ONNXMiniLM_L6_V2.EXTRACTED_FOLDER_NAME


class FailsOnce(HashingEmbedder):
    """On one text, until it is mended."""

    broken = "page 41"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self.broken in texts:
            raise EmbeddingFailed("it is down")
        return super().embed(texts)


async def test_an_embedder_that_fails_on_the_way_is_not_asked_again_for_what_it_gave(tmp_path: Path) -> None:
    embedder = FailsOnce()
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.flush()
    await archive.archive([page(n, f"page {n}") for n in range(60)])
    await archive.flush()
    assert (archive.stats().indexed, embedder.texts, archive.stats().failure) == (40, 40, "it is down")
    embedder.broken = ""
    await archive.archive([page(60, "page 60")])
    await archive.flush()
    assert (archive.stats().indexed, embedder.texts, archive.stats().failure) == (61, 61, "")
    await archive.close()
