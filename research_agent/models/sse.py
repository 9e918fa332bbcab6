"""Server-sent events from bytes. Lines end at line feeds only: text splitting would cut JSON at U+2028."""

from __future__ import annotations


class Events:
    """Feed it bytes in any cut; it hands back the data of whole events."""

    def __init__(self) -> None:
        self._held = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[str]:
        *lines, self._held = (self._held + piece).split(b"\n")
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]

    def flush(self) -> list[str]:
        """What a stream without a last empty line still held."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes) -> str | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return None
        if line or not self._data:
            return None  # comments keep the connection alive; other fields say nothing here
        data, self._data = b"\n".join(self._data), []
        return data.decode("utf-8", "replace")
