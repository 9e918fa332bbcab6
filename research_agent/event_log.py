"""The event log of a run: `events.jsonl`, a JSON object a line, redacted, on disk as soon as it happened."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research_agent.events import STREAMED_ONLY, Event

_COUNTED = ("input", "cached", "output", "reasoning", "usd")
_LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""JSON lets them stand; a reader that splits lines does not."""


class EventLog:
    """Appends events; what is only streamed is left out. Several may write to one file: each line is one write."""

    def __init__(self, path: Path, redact: Callable[[str], str] = str) -> None:
        self._path, self._redact = path, redact
        self._whole = False

    def write(self, event: Event) -> None:
        if event["type"] in STREAMED_ONLY:
            return
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **self._plain(event)}
        line = json.dumps(stamped, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS) + "\n"
        # A lone surrogate becomes the JSON escape that it is.
        self._append(line.encode("utf-8", "backslashreplace"))

    def _append(self, line: bytes) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if not self._whole:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line  # the run was killed in the middle of a line
                self._whole = True
            while line:
                line = line[os.write(file, line) :]
        finally:
            os.close(file)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {self._redact(str(key)): self._plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(item) for item in value]
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return value if value is None or isinstance(value, bool | int) else self._redact(str(value))


def by_role(path: Path) -> dict[str, dict[str, float]]:
    """What each role's calls took, over all sessions of a run: calls, input, cached, output and reasoning tokens, dollars."""
    totals: dict[str, dict[str, float]] = {}
    if not path.is_file():
        return totals
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if '"type": "usage"' not in line:
                continue
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue  # the run was killed in the middle of a line
            total = totals.setdefault(event["role"], dict.fromkeys(("calls", *_COUNTED), 0))
            total["calls"] += 1
            for name in _COUNTED:
                total[name] += event[name]
    return {role: {**total, "usd": round(total["usd"], 6)} for role, total in totals.items()}
