"""Places of observations that nobody has yet: several conversations archive under the same steps."""

from __future__ import annotations

import threading
from dataclasses import replace

from .ledger import Ledger
from .segment import MAX_ORDINALS, Segment, content_hash

_PROMISES = 1_000


class Places:
    """Of one run, each promised once. Thread-safe."""

    def __init__(self, ledger: Ledger, run: str) -> None:
        self._ledger, self._run = ledger, run
        self._promised: dict[tuple[int, int], tuple[str, str]] = {}
        self._lock = threading.Lock()

    def free(self, step: int, thread: str, text: str) -> tuple[int, int]:
        with self._lock:
            while (ordinal := self._free_ordinal(step, thread, text)) is None:
                step += 1
            if len(self._promised) > _PROMISES:
                waiting = [place for place in self._promised if self._ledger.by_handle(self._run, *place) is None]
                self._promised = {place: self._promised[place] for place in waiting[-_PROMISES // 2 :]}
            return step, ordinal

    def _free_ordinal(self, step: int, thread: str, text: str) -> int | None:
        mine, base = (
            (thread, content_hash(text)),
            Segment(run=self._run, thread=thread, step=step, kind="observation", text="", trust="own"),
        )
        promised = [self._promised.get((step, ordinal)) for ordinal in range(MAX_ORDINALS)]
        if mine in promised:
            return promised.index(mine)
        unsaid = [ordinal for ordinal, who in enumerate(promised) if who is None]
        if unsaid and self._ledger.by_handle(self._run, step, MAX_ORDINALS - 1):  # full: its own is found by id, without reading the others
            own = ((ordinal, self._ledger.get(replace(base, ordinal=ordinal).id)) for ordinal in unsaid)
            return next((ordinal for ordinal, known in own if known and known.text == text), None)
        for ordinal in unsaid:
            known = self._ledger.by_handle(self._run, step, ordinal)
            if known is None:
                self._promised[step, ordinal] = mine
            if known is None or (known.thread, known.text) == (thread, text):
                return ordinal
        return None
