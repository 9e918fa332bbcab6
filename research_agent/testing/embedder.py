"""An embedder without a model: words fall into buckets by their hash, and words said to mean the same fall into one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from research_agent.memory import EmbeddingFailed
from research_agent.memory.words import STOP, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HashingEmbedder:
    """Deterministic. `same` maps a word to the one it means; clear `up` and it fails; clear `gate` and it waits."""

    def __init__(self, *, dimensions: int = 128, same: Mapping[str, str] | None = None, name: str = "hashing") -> None:
        self.identity = name
        self.dimensions = dimensions
        self.up = True
        self.gate = threading.Event()
        self.gate.set()
        self.texts = 0
        """Embedded so far."""
        self._same = {words(word)[0]: words(meant)[0] for word, meant in (same or {}).items()}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        self.gate.wait()
        if not self.up:
            raise EmbeddingFailed(f"{self.identity} is down")
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = 1e-3  # a text without words has a direction too
            for word in words(text):
                if word not in STOP:
                    row[self._bucket(self._same.get(word, word))] += 1.0
        self.texts += len(texts)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def _bucket(self, word: str) -> int:
        return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % self.dimensions
