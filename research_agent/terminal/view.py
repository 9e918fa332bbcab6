"""What the terminal shows of a run that is going on, and how: a frame of lines that fits the window."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import set_cell_size
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from research_agent.events import Event
from research_agent.terminal.drafts import readable
from research_agent.terminal.lines import call, counts, outcome
from research_agent.visible import one_line, visible

THOUGHT_CHARS = 4000
MARKS = {"done": "✓", "open": "·", "failed": "✗", "current": "▸"}
ASCII_MARKS = {"done": "x", "open": "-", "failed": "!", "current": ">"}
DRAFTED = {"planner": "planning", "reviewer": "reviewing", "writer": "writing"}
"""Roles that answer with JSON, and what they do."""
NO_TOKENS = {"input": 0, "output": 0}


@dataclass
class Step:
    """A tool call on the screen."""

    step: int
    text: str
    ok: bool | None = None
    outcome: str = ""


@dataclass
class View:
    """A run as far as its events told it."""

    clock: Callable[[], float]
    question: str = ""
    model: str = ""
    plan: list[dict[str, Any]] = field(default_factory=list)
    current: str = ""
    activity: str = "starting"
    thought: str = ""
    streaming: bool = False
    drafted: str = ""
    """Of a structured answer that is being written: read when it is shown, which is less often than it grows."""
    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=20))
    found: deque[str] = field(default_factory=lambda: deque(maxlen=10))
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=2))
    index: tuple[int, int, str] | None = None
    tokens: dict[str, int] = field(default_factory=lambda: dict(NO_TOKENS))
    usd: float = 0.0
    step: int = 0
    steps_before: int = 0
    """Of a fork: those of the run that it began in."""
    rewritten: bool = False
    """Only its report is."""
    started: float | None = None
    """When the run would have begun, had it gone on without a pause; None until that is known: loading is none of its time."""

    def update(self, event: Event) -> None:
        match event["type"]:
            case "start":
                self.question, self.model = event["question"], event["model"]
            case "run":
                self.question, self.model = event["question"], event["model"]
                self.started = None if event["resumed"] or event.get("parent") else self.clock()
                self.rewritten = event.get("rewritten", False)
                self.activity = f"{DRAFTED['writer']} again" if self.rewritten else "resuming" if event["resumed"] else "planning"
                self.index = None
            case "so_far":
                self.started = self.clock() - event["seconds"]
                self.step, self.steps_before = event["step"], event["step"] - event["steps"]
                self.tokens, self.usd = {**self.tokens, **event["tokens"]}, event["usd"]
            case "index":
                self.index = None if event["done"] >= event["total"] else (event["done"], event["total"], event["path"])
            case "warning":
                self.warnings.append(event["text"])
            case "plan" | "approval":
                self.plan = list(event["plan"])
            case "sub_question":
                self._sub_question(event)
            case "thought" | "text":
                self._streamed(event)
            case "turn":
                self._turn(event)
            case "call":
                self.step, self.activity = max(self.step, event["step"]), "working"
                self.steps.append(Step(event["step"], call(event)))
            case "result":
                self._result(event)
            case "finding":
                self.found.append(f"[{event['handle']}] {event['claim']}")
            case "retry":
                self.activity, self.streaming = f"waiting {event['wait_s']} s: {event['reason']}", False
            case "review":
                self.activity = "reviewing"

    def _sub_question(self, event: Event) -> None:
        self.plan = [{**item, "status": event["status"]} if item["id"] == event["id"] else item for item in self.plan]
        self.current = event["id"] if event["status"] == "open" else ""

    def _streamed(self, event: Event) -> None:
        if not self.streaming:
            self.thought, self.streaming, self.drafted = "", True, ""
        if event["type"] == "text" and event["role"] in DRAFTED:
            self.activity, self.drafted = DRAFTED[event["role"]], self.drafted + event["text"]
            return
        self.activity = DRAFTED.get(event["role"], "thinking")
        self.thought = (self.thought + event["text"])[-THOUGHT_CHARS:]

    @property
    def said(self) -> str:
        """What the model says just now, or said last."""
        return readable(self.drafted)[-THOUGHT_CHARS:] if self.drafted else self.thought

    def _turn(self, event: Event) -> None:
        usage = event.get("usage") or {}
        self.tokens, self.usd, self.streaming = {**self.tokens, **usage}, float(usage.get("usd", self.usd)), False
        self.drafted = ""
        if thought := event.get("reasoning") or event.get("content"):
            self.thought = thought[-THOUGHT_CHARS:]

    def _result(self, event: Event) -> None:
        for step in self.steps:
            if step.step == event["step"] and step.ok is None:
                step.ok, step.outcome = event["ok"], outcome(event).removeprefix("ok: ").removeprefix("failed: ")
        for source in event.get("sources") or ():
            text = f"[{source['handle']}] {source['title'] or source['url']}"
            if text not in self.found:
                self.found.append(text)

    @property
    def waits_for(self) -> str:
        """What runs just now."""
        if calls := [step.text for step in self.steps if step.ok is None]:
            return f"{calls[0]}{f' and {len(calls) - 1} more' if calls[1:] else ''}"
        if self.activity.startswith("waiting "):
            return f"a pause of {self.activity.removeprefix('waiting ')}"
        return f"an answer of {self.model}"

    def counts(self) -> str:
        """As the end will tell them: none goes back. Empty until they are known."""
        if self.started is None:
            return ""
        return counts(self.step - self.steps_before, self.tokens, self.usd, self.clock() - self.started)


@dataclass(frozen=True, slots=True)
class _Room:
    """Lines for each part."""

    plan: int
    thought: int
    steps: int
    found: int


def _room(height: int) -> _Room:
    if height < 14:
        return _Room(plan=2, thought=1, steps=2, found=1)
    return _Room(plan=4, thought=2, steps=4, found=2) if height < 24 else _Room(plan=7, thought=3, steps=6, found=4)


def frame(view: View, *, width: int, height: int, ascii_only: bool = False) -> Group:
    """The run in at most `height` lines; each is cut, none is wrapped."""
    marks, room = ASCII_MARKS if ascii_only else MARKS, _room(height)
    dot = " | " if ascii_only else " · "
    parts: list[list[RenderableType]] = [[_line(view.question, "bold")]]
    parts.append([_planned(item, view.current, marks) for item in _around(view.plan, view.current, room.plan)])
    parts.append([_line(text, "dim italic", "  ") for text in _tail(view.said, width - 4, room.thought)])
    parts.append([_stepped(step, marks, width) for step in list(view.steps)[-room.steps :]])
    parts.append([_line(text, "cyan", "  ") for text in list(view.found)[-room.found :]])
    parts.append([_line(text, "yellow", "! ") for text in view.warnings])
    if view.index:
        parts.append([_bar(*view.index, width=width)])
    counted = view.counts().replace(", ", dot) or "." * (1 + int(2 * view.clock()) % 3)  # something moves while it loads
    foot = _line(f"{one_line(view.activity)}{dot}{counted}{dot}{view.model}", "reverse")
    spaced = height >= 24
    lines: list[RenderableType] = []
    for part in parts:
        if part:
            lines += [*part, Text("")] if spaced else part
    return Group(*lines[: max(0, height - 1)], foot)


def _line(text: str, style: str = "", before: str = "") -> Text:
    return Text(before + one_line(text), style=style, no_wrap=True, overflow="ellipsis", end="\n")


def _planned(item: dict[str, Any], current: str, marks: dict[str, str]) -> Text:
    status = "current" if item["id"] == current else item["status"]
    style = {"done": "green", "failed": "red", "current": "bold"}.get(status, "dim")
    return _line(f"{item['id']}. {item['question']}", style, f"{marks[status]} ")


def _stepped(step: Step, marks: dict[str, str], width: int) -> Text:
    mark, style = ("…", "") if step.ok is None else (marks["done"], "green") if step.ok else (marks["failed"], "red")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{step.step:>4} ", "dim")
    room = max(16, min(64, width * 3 // 5))
    text.append(set_cell_size(one_line(step.text, room), room))
    text.append(f"  {mark if mark != '…' or marks is MARKS else '..'} ", style)
    text.append(one_line(step.outcome), "dim" if step.ok else style)
    return text


def _bar(done: int, total: int, path: str, *, width: int) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True)
    row.add_column(no_wrap=True, overflow="ellipsis")
    bar_width = max(10, min(30, width // 3))
    row.add_row(
        Text("reading the folder"),
        ProgressBar(total=total, completed=done, width=bar_width),
        Text(f"{done:,}/{total:,} {one_line(path)}", "dim"),
    )
    return row


def _around(plan: Sequence[dict[str, Any]], current: str, room: int) -> Sequence[dict[str, Any]]:
    """As much of the plan as there is room for, the current sub-question in it."""
    at = next((n for n, item in enumerate(plan) if item["id"] == current), len(plan) - 1)
    first = max(0, min(at - room // 2, len(plan) - room))
    return plan[first : first + room]


def _tail(text: str, width: int, room: int) -> list[str]:
    """The last lines of a text as it would be wrapped."""
    shown = visible(text).split("\n")[-room * 2 :]
    wrapped = [piece for part in shown for piece in textwrap.wrap(part[-THOUGHT_CHARS:], max(20, width))]
    return wrapped[-room:]
