"""The model call in flight, written down while it is: a checkpoint knows only of nodes that have ended.

A reply that has come, but whose node was cut, is kept and not paid for again. A request that was cut before its reply came is counted,
for its host may bill it all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict
from langgraph.runtime import Runtime

from .ports import Context, Slot
from .state import NO_USAGE, Usage


@dataclass(frozen=True, slots=True)
class Cut:
    """A call whose reply never came, for its process was killed."""

    spent: Usage
    """By the tries before the last."""
    prompt_tokens: int
    """Of the request that was in flight; 0 if none was."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply whose node was cut."""

    message: AIMessage
    reported_tokens: int
    spent: Usage
    """By all tries."""
    last: Usage
    """By the one that was answered."""


@dataclass(slots=True)
class Flight:
    """The calls of one task of the graph, in their order: a task that runs again makes them again in the same order."""

    slot: Slot | None = None
    task: str = ""
    redact: Callable[[str], str] = str
    _before: list[dict[str, Any]] = field(default_factory=list)
    """What a killed process left of this task's calls."""
    _calls: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, runtime: Runtime[Context]) -> Flight:
        slot, info = runtime.context.slot, runtime.execution_info
        if slot is None or info is None:
            return cls()
        return cls(slot, info.task_id, runtime.context.redact, left_by(slot, [info.task_id]))

    @property
    def number(self) -> int:
        """Of the call that was begun last."""
        return len(self._calls) - 1

    def begin(self) -> Cut | Kept | None:
        """What is known of the next call from a process that was killed."""
        n = len(self._calls)
        left = self._before[n] if n < len(self._before) else {}
        self._calls.append(left)
        if "message" in left:
            [message] = messages_from_dict([left["message"]])
            return Kept(cast(AIMessage, message), left["reported_tokens"], left["spent"], left["last"])
        return Cut(left["spent"], left["prompt_tokens"]) if left else None

    def id(self, spent: Usage) -> str:
        """Of the next try of this call: the same when its task runs again."""
        return f"{self.task}:{len(self._calls)}:{spent['calls']}" if self.task else ""

    def sent(self, prompt_tokens: int, spent: Usage) -> None:
        """A request goes out."""
        self._write({"prompt_tokens": prompt_tokens, "spent": spent})

    def failed(self, spent: Usage) -> None:
        """It is in flight no more, and what it cost is known."""
        self._write({"prompt_tokens": 0, "spent": spent})

    def came(self, message: AIMessage, reported_tokens: int, spent: Usage, last: Usage) -> None:
        """Its reply has come, whole."""
        kept = redacted(message_to_dict(message), self.redact)
        self._write({"message": kept, "reported_tokens": reported_tokens, "spent": spent, "last": last})

    def _write(self, known: dict[str, Any]) -> None:
        self._calls[-1] = known
        if self.slot is not None:
            self.slot.write(json.dumps({"task": self.task, "calls": self._calls}, ensure_ascii=False, default=str))


def left_by(slot: Slot, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """What a killed process left of the calls of one of these tasks."""
    text = slot.read()
    if not any(task in text for task in tasks):
        return []
    try:
        left = json.loads(text)
    except ValueError:  # cut in its writing by a loss of power: as if there were none
        return []
    calls: list[dict[str, Any]] = left["calls"] if left.get("task") in tasks else []
    return calls


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Every string in a JSON value redacted; signed blocks of a provider stay as they are, or it refuses them."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return dict(value) if "signature" in value else {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return value


def cut_usage(cut: Cut, usd_per_token: float) -> Usage:
    """Of its prompt, which was sent; what its host wrote in answer nobody knows."""
    return Usage(**{**NO_USAGE, "calls": 1, "input": cut.prompt_tokens, "usd": cut.prompt_tokens * usd_per_token})
