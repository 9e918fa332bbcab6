"""The vector of a question, from an embedder that may be slow, down or hung: nobody waits long for it, and it is not asked in vain."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from .embedders import Embedder, query_vector
from .errors import ArchiveError, EmbeddingFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATIENCE_S = 3.0
"""A recall waits so long for its embedder, and then goes by words."""
_LONGEST = 4_000  # characters: hosts refuse a text of over 8,192 tokens, and what is asked stands at an end of a long one
_REST_S = 30.0  # an embedder that just failed is not asked again by the next recall


class Late(EmbeddingFailed):
    """An answer that is not there yet; it may come."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(f"{embedder.identity} has not answered within {PATIENCE_S:.0f} s: recall goes by words until it does")


class Asking:
    """Asks on a thread of its own, which goes on when nobody waits any more."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._overdue: Future[NDArray[np.float32]] | None = None
        self._rests_until = 0.0

    def vector(self, query: str) -> NDArray[np.float32] | None:
        """None where it would be asked in vain: it failed just now, or an earlier answer is overdue. Raises EmbeddingFailed, also Late."""
        if time.monotonic() < self._rests_until or (self._overdue and not self._overdue.done()):
            return None
        answer: Future[NDArray[np.float32]] = Future()
        threading.Thread(target=self._ask, args=(query, answer), name="query vector", daemon=True).start()
        try:
            return answer.result(PATIENCE_S)
        except TimeoutError:
            if answer.done():  # just now; or it is the embedder's own timeout, which is raised again
                return answer.result()
            self._overdue = answer
            raise Late(self._embedder) from None

    def again(self) -> None:
        """It has answered somebody else: it is asked again."""
        self._rests_until = 0.0

    def _ask(self, query: str, answer: Future[NDArray[np.float32]]) -> None:
        try:
            answer.set_result(query_vector(self._embedder, _shortened(query)))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            if isinstance(error, ArchiveError):
                self._rests_until = time.monotonic() + _REST_S
            answer.set_exception(error)


def _shortened(query: str) -> str:
    half = _LONGEST // 2
    return query if len(query) <= _LONGEST else f"{query[:half]} {query[-half:]}"
