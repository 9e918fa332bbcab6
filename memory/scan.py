"""Nearest vectors, exactly: every vector of a run in memory, compared one by one.

A graph of neighbours loses what stands alone: among thousands of pages on other things the one passage that is sought has few links to
it, and Chroma's index passed over a tenth of the true ten nearest. A long run's 15,000 vectors are 23 MB and a comparison 5 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 256_000_000
"""Of vectors in memory; with more, it is the index that is asked."""


class Scan:
    """Keys and their vectors, each of length 1. Thread-safe."""

    def __init__(self, dimensions: int) -> None:
        self._lock = threading.Lock()
        self._rows: NDArray[np.float32] = np.empty((1024, dimensions), dtype=np.float32)
        self._keys: list[str] = []
        self._place: dict[str, int] = {}

    @staticmethod
    def holds(vectors: int, dimensions: int) -> bool:
        return vectors * dimensions * 4 <= MOST_BYTES

    def put(self, keys: Sequence[str], vectors: NDArray[np.float32]) -> None:
        with self._lock:
            new = [key for key in dict.fromkeys(keys) if key not in self._place]
            need = len(self._keys) + len(new)
            if need > len(self._rows):
                rows = np.empty((max(need, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.float32)
                rows[: len(self._keys)] = self._rows[: len(self._keys)]
                self._rows = rows
            for key in new:
                self._place[key] = len(self._keys)
                self._keys.append(key)
            self._rows[[self._place[key] for key in keys]] = vectors

    def remove(self, keys: Iterable[str]) -> None:
        with self._lock:
            gone = set(keys)
            kept = [place for place, key in enumerate(self._keys) if key not in gone]
            self._rows = self._rows[kept]
            self._keys = [self._keys[place] for place in kept]
            self._place = {key: place for place, key in enumerate(self._keys)}

    def nearest(self, vector: NDArray[np.float32], limit: int) -> list[tuple[str, float]]:
        """Keys with their cosine, best first."""
        with self._lock:
            cosines = self._rows[: len(self._keys)] @ vector
            best = np.argpartition(-cosines, limit)[:limit] if limit < len(cosines) else range(len(cosines))
            pairs = [(self._keys[place], float(cosines[place])) for place in best]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    def among(self, keys: Sequence[str], vector: NDArray[np.float32]) -> list[tuple[str, float]]:
        """These, as far as they are there."""
        with self._lock:
            known = [key for key in keys if key in self._place]
            cosines = (self._rows[[self._place[key] for key in known]] @ vector).tolist() if known else []
        return sorted(zip(known, cosines, strict=True), key=lambda pair: (-pair[1], pair[0]))

    def __len__(self) -> int:
        return len(self._keys)
