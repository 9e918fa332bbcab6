"""The nearest vectors, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from research_agent.memory import scan
from research_agent.memory.embedders import unit
from research_agent.memory.scan import Scan
from research_agent.memory.vectors import Vectors


def made(count: int) -> tuple[list[str], np.ndarray]:
    """A crowd of vectors that are nearly one, and the last, which stands alone."""
    rng = np.random.default_rng(3)
    crowd = np.ones((count, 16)) + rng.normal(scale=0.05, size=(count, 16))
    crowd[-1] = [1.0] + [-1.0] * 15
    return [f"k{n}" for n in range(count)], unit(crowd)


def test_what_stands_alone_is_found() -> None:
    keys, vectors = made(3000)
    found = Scan(16)
    for start in range(0, 3000, 7):
        found.put(keys[start : start + 7], vectors[start : start + 7])
    assert found.nearest(vectors[-1], 5)[0] == ("k2999", pytest.approx(1.0, abs=1e-5))
    expected = [keys[n] for n in np.argsort(-(vectors @ vectors[4]), kind="stable")[:20]]
    assert [key for key, _ in found.nearest(vectors[4], 20)] == expected


def test_a_vector_written_again_is_the_new_one_and_a_removed_one_is_gone() -> None:
    keys, vectors = made(10)
    found = Scan(16)
    found.put(keys, vectors)
    found.put(["k2"], vectors[-1:])
    found.remove(["k9", "k0"])
    assert found.nearest(vectors[-1], 1)[0][0] == "k2"
    assert {key for key, _ in found.nearest(vectors[-1], 100)} == {f"k{n}" for n in range(1, 9)}
    assert found.among(["k9", "k3"], vectors[3]) == [("k3", pytest.approx(1.0, abs=1e-5))]


@pytest.mark.parametrize("room", [0, 256_000_000])
def test_a_folder_answers_alike_with_room_in_memory_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(scan, "MOST_BYTES", room)
    keys, vectors = made(40)
    where = {"run": "r", "identity": "e", "dimensions": 16}
    first = Vectors.open(tmp_path / "vectors", **where)
    first.upsert(keys, vectors)
    first.delete(["k1"])
    before = [key for key, _ in first.query(vectors[-1], 40)]
    first.close()
    again = Vectors.open(tmp_path / "vectors", **where)
    assert [key for key, _ in again.query(vectors[-1], 40)] == before
    assert before[0] == "k39"
    assert set(before) == set(keys) - {"k1"}
    assert [key for key, _ in again.among(["k1", "k2"], vectors[2])] == ["k2"]
    again.close()


def test_of_very_many_the_nearest_are_found_by_a_sketch_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "EXACT", 4_000)
    rng = np.random.default_rng(5)
    lengths = 1 / np.arange(1, 129) ** 0.5  # as in embeddings of texts: most of what they differ in lies in few directions
    vectors = unit(rng.normal(size=(12_000, 128)) * lengths)
    keys = [f"k{n}" for n in range(12_000)]
    found = Scan(128)
    for start in range(0, 12_000, 500):
        found.put(keys[start : start + 500], vectors[start : start + 500])
    found.remove(keys[:1_000])
    found.put(["k2000"], vectors[:1])  # written again, as another

    held = np.vstack([vectors[1_000:2_000], vectors[:1], vectors[2_001:]])
    kept = 0
    for asked in held[::110]:
        nearest = {keys[n + 1_000] for n in np.argsort(-(held @ asked), kind="stable")[:10]}
        kept += len(nearest & {key for key, _ in found.nearest(asked, 10)})
    assert kept >= 0.99 * 1_000
    assert found.nearest(vectors[0], 1) == [("k2000", pytest.approx(1.0, abs=2e-3))]
    assert found.among(["k0", "k5000"], vectors[5_000]) == [("k5000", pytest.approx(1.0, abs=2e-3))]
