"""The texts read last, kept unpacked: a prompt is put together from the same ones step after step."""

from __future__ import annotations

from collections import OrderedDict

MAX_CHARS = 4_000_000


class RecentTexts:
    """By content hash, so that nothing in it can be out of date. Not thread-safe."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._chars = 0

    def get(self, ref: str) -> str | None:
        if ref in self._texts:
            self._texts.move_to_end(ref)
        return self._texts.get(ref)

    def put(self, ref: str, text: str) -> None:
        if ref in self._texts or len(text) > self._max_chars:
            return
        self._texts[ref] = text
        self._chars += len(text)
        while self._chars > self._max_chars:
            self._chars -= len(self._texts.popitem(last=False)[1])
