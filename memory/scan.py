"""Nearest vectors in memory: each compared with the query, one by one.

A graph of neighbours loses what stands alone: among thousands of pages on other things the one passage that is sought has few links to
it, and Chroma's index passed over a tenth of the true ten nearest. A long run's 15,000 vectors are 23 MB and a comparison 5 ms.

Of more than EXACT vectors first a sketch is compared, their share of the directions in which they differ most; then, of the best by that,
the whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import DTypeLike, NDArray

    _Rows: TypeAlias = NDArray[np.float32] | NDArray[np.int16]

EXACT = 50_000
"""Vectors, that many are compared whole: 77 MB of 384 dimensions, 10 ms."""
MOST_BYTES = 1_000_000_000
"""Of vectors in memory; with more, it is the index that is asked."""
_SKETCHED = 96  # dimensions
_LOOKED_AT = 0.03  # of the vectors, those that the sketch puts first, are compared whole (benchmarks/nearest.py: what is found so)
_SAMPLE = 8_192  # vectors that a sketch's directions are taken from
_SHORT = 32_767  # a component of 1, in the whole numbers that many vectors are kept as: exact to 0.00002, and quicker read than halves


class Scan:
    """Keys and their vectors, each of length 1. Thread-safe."""

    def __init__(self, dimensions: int) -> None:
        self._lock = threading.Lock()
        self._rows: _Rows = np.empty((1024, dimensions), dtype=np.float32)
        self._sketch: _Sketch | None = None
        self._keys: list[str] = []
        self._place: dict[str, int] = {}

    @staticmethod
    def holds(vectors: int, dimensions: int) -> bool:
        size = 4 * dimensions if vectors <= EXACT else 2 * dimensions + 4 * _SKETCHED
        return vectors * size <= MOST_BYTES

    def put(self, keys: Sequence[str], vectors: NDArray[np.float32]) -> None:
        with self._lock:
            new = [key for key in dict.fromkeys(keys) if key not in self._place]
            self._make_room(len(self._keys) + len(new))
            for key in new:
                self._place[key] = len(self._keys)
                self._keys.append(key)
            places = [self._place[key] for key in keys]
            self._rows[places] = _kept(vectors, self._rows.dtype)
            if self._sketch is not None and not self._sketch.outgrown(len(self._keys)):
                self._sketch.put(places, vectors)
            elif len(self._keys) > EXACT:
                self._sketch = _Sketch(self._rows, len(self._keys))

    def _make_room(self, need: int) -> None:
        held, kind = len(self._keys), np.dtype(np.float32 if need <= EXACT else np.int16)
        if need > len(self._rows) or kind != self._rows.dtype:
            rows = np.empty((max(need, 2 * held, 1024), self._rows.shape[1]), dtype=kind)
            for start in range(0, held, _SAMPLE):
                end = min(start + _SAMPLE, held)
                rows[start:end] = _kept(_read(self._rows[start:end]), kind)
            self._rows = rows

    def remove(self, keys: Iterable[str]) -> None:
        with self._lock:
            gone = set(keys)
            kept = [place for place, key in enumerate(self._keys) if key not in gone]
            self._rows = self._rows[kept]
            self._keys = [self._keys[place] for place in kept]
            self._place = {key: place for place, key in enumerate(self._keys)}
            self._sketch = _Sketch(self._rows, len(kept)) if len(kept) > EXACT else None

    def nearest(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """Keys with their cosine, best first."""
        with self._lock:
            held = len(self._keys)
            if self._sketch is None:
                places, cosines = np.arange(held), _read(self._rows[:held]) @ vector
            else:
                places = self._sketch.nearest(vector, held, max(int(_LOOKED_AT * held), 4 * limit))
                cosines = _read(self._rows[places]) @ vector
            pairs = [(self._keys[places[at]], float(cosines[at])) for at in _largest(cosines, limit)]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    def among(self, keys: Sequence[str], vector: NDArray[np.float32]) -> list[tuple[str, float]]:
        """These, as far as they are there."""
        with self._lock:
            known = [key for key in keys if key in self._place]
            places = [self._place[key] for key in known]
            cosines = (_read(self._rows[places]) @ vector).tolist() if known else []
        return sorted(zip(known, cosines, strict=True), key=lambda pair: (-pair[1], pair[0]))

    def __len__(self) -> int:
        return len(self._keys)


class _Sketch:
    """Rows in the few directions in which a sample of them is longest: no other few keep their products as well."""

    def __init__(self, rows: _Rows, held: int) -> None:
        self._fitted = held
        sample = _read(rows[np.linspace(0, held - 1, min(held, _SAMPLE), dtype=np.int64)])
        _, directions = np.linalg.eigh(sample.T @ sample)
        self._directions: NDArray[np.float32] = np.ascontiguousarray(directions[:, -_SKETCHED:])
        self._rows = np.empty((len(rows), self._directions.shape[1]), dtype=np.float32)
        for start in range(0, held, _SAMPLE):
            end = min(start + _SAMPLE, held)
            self._rows[start:end] = _read(rows[start:end]) @ self._directions

    def outgrown(self, held: int) -> bool:
        """Whether there are so many more that other directions may tell more of them."""
        return held > 2 * self._fitted or held > len(self._rows)

    def put(self, places: Sequence[int], vectors: NDArray[np.float32]) -> None:
        self._rows[places] = vectors @ self._directions

    def nearest(self, vector: NDArray[np.float32], held: int, count: int) -> NDArray[np.intp]:
        """Where the nearest are, in any order: about `count` of them, as the least that counts is read off a sixteenth of the rows."""
        products = self._rows[:held] @ (vector @ self._directions)
        some = products[::16]
        few = max(count * len(some) // held, 1)
        near = np.flatnonzero(products >= np.partition(some, len(some) - few)[len(some) - few])
        return near if 2 * len(near) >= count else _largest(products, count)


def _kept(vectors: NDArray[np.float32], kind: DTypeLike) -> _Rows:
    return vectors if kind == np.float32 else np.rint(vectors * _SHORT).astype(np.int16)


def _read(rows: _Rows) -> NDArray[np.float32]:
    floats = rows.astype(np.float32, copy=False)
    return floats if rows.dtype == np.float32 else floats * np.float32(1 / _SHORT)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Where the `count` largest are, in any order."""
    return np.argpartition(values, len(values) - count)[len(values) - count :] if count < len(values) else np.arange(len(values))
