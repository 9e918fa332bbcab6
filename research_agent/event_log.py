"""The event log of a run: `events.jsonl`, a JSON object a line, redacted, on disk as soon as it happened."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research_agent.events import STREAMED_ONLY, Event
from research_agent.stores.lines import Lines

_COUNTED = ("input", "cached", "output", "reasoning", "usd")
_LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""JSON lets them stand; a reader that splits lines does not."""


_KEYS: dict[str, tuple[str, ...]] = {
    "usage": ("id",),
    "call": ("id", "step"),
    "result": ("id", "step"),
    "finding": ("handle", "claim", "quote", "sub_question"),
    "turn": ("role", "reasoning", "content", "calls", "usage"),
    "sub_question": ("id", "question", "status", "answer"),
    "compaction": ("turns", "before_tokens", "after_tokens"),
    "review": ("verdict", "follow_ups"),
    "plan": ("brief", "plan"),
}
"""What is logged once, and by what it is known. A task that was killed after it told of something tells it again when it is resumed."""


class EventLog:
    """Appends events; what is only streamed is left out. Several may write to one file."""

    def __init__(self, path: Path, redact: Callable[[str], str] = str) -> None:
        self._path, self._redact = path, redact
        self._lines = Lines(path)
        self._told: dict[str, str] | None = None
        """What is known by a key, and the task whose call it tells of. Read with the first event: by then the run is this process's."""

    def write(self, event: Event) -> None:
        if event["type"] in STREAMED_ONLY:
            return
        if self._told is None:
            self._told = {}
            for told in events(self._path):
                _learn(self._told, told)
        plain = self._plain(event)
        if _key(plain) in self._told:
            return
        _learn(self._told, plain)
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **plain}
        line = json.dumps(stamped, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS) + "\n"
        # A lone surrogate becomes the JSON escape that it is.
        self._lines.append(line.encode("utf-8", "backslashreplace"))

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


def task_of(usage: Event) -> str:
    """The graph's task that made the call (graphs/flight.py); empty where that is not known."""
    return str(usage.get("id") or "").partition(":")[0]


def _learn(told: dict[str, str], event: Event) -> None:
    if key := _key(event):
        told[key] = task_of(event) if event["type"] == "usage" else ""
    elif event["type"] == "lost":
        again = event.get("tasks", ())
        for key in [key for key, task in told.items() if task in again]:
            del told[key]


def _key(event: Event) -> str:
    """Empty for what may happen again."""
    names = _KEYS.get(event["type"], ())
    if not names or (names[0] == "id" and not event.get("id")):
        return ""
    said = json.dumps([event["type"], *(event.get(name) for name in names)], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def events(path: Path) -> Iterator[Event]:
    """Those of a log, in their order. A line that is none, such as one that a kill cut in its middle, is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:  # the cut may be inside a letter
        for line in lines:
            with suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict) and {"type", "time"} <= event.keys():  # damage may leave what is JSON, and no event
                    yield event


def by_role(told: Iterable[Event]) -> dict[str, dict[str, float]]:
    """What each role's calls took, over all sessions of a run: calls, input, cached, output and reasoning tokens, dollars."""
    totals: dict[str, dict[str, float]] = {}
    for event in told:
        if event["type"] == "usage":
            total = totals.setdefault(event["role"], dict.fromkeys(("calls", *_COUNTED), 0))
            total["calls"] += 1
            for name in _COUNTED:
                total[name] += event[name]
    return {role: {**total, "usd": round(total["usd"], 6)} for role, total in totals.items()}


def warnings(told: Iterable[Event]) -> list[str]:
    """Of all sessions of a run, each once."""
    return list(dict.fromkeys(event["text"] for event in told if event["type"] == "warning"))
