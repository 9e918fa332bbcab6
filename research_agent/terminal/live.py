"""The terminal: a run as it goes on, its end, and the questions it asks. Plain lines where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from research_agent.events import Event
from research_agent.memory.remedy import name_of
from research_agent.stores.record import HALF_FORGOTTEN
from research_agent.terminal.lines import counts, ending, how, how_to_answer, line, plan_lines
from research_agent.terminal.view import ASCII_MARKS, MARKS, View, frame
from research_agent.visible import one_line, visible

FRAMES_PER_S = 8


class Terminal:
    """Shows events as they come: call it with each. Between `with` and its end the screen's last lines are its own."""

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        reason_follows: bool = False,
    ) -> None:
        """`reason_follows`: whoever shows the events tells, after the last, why the run is not complete."""
        self._file = file or (sys.stderr if stderr else sys.stdout)
        self._console = Console(file=self._file, force_terminal=live, highlight=False, markup=False, emoji=False)
        # Not rich's own guess: a colour forced by the environment would write a moving screen into a pipe.
        seen = self._file.isatty() and not self._console.is_dumb_terminal
        self._is_live = seen if live is None else live
        self._view, self._lock = View(clock), threading.RLock()
        self._live: Live | None = None
        self._reason_follows = reason_follows
        self._report: Event = {}
        self.folder: Path | None = None
        """The run's, once it has one."""

    @property
    def interactive(self) -> bool:
        """Somebody is there to be asked."""
        return self._is_live and sys.stdin is not None and sys.stdin.isatty()

    @property
    def waits_for(self) -> str:
        """What the run waits for just now."""
        with self._lock:
            return self._view.waits_for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._view.update(event)
        if event["type"] == "run":
            self.folder = Path(event["folder"])
        if event["type"] == "report":
            self._report = event
        elif event["type"] == "end":
            self._end(event)
        elif self._is_live and event["type"] != "vectors":  # which come after the end
            self._start()
            if event["type"] == "run" and self._live:
                self._live.console.print(Text(f"{event['id']} in {event['folder']}{how(event)}", "dim"), soft_wrap=True)
        elif (text := line(event)) is not None:
            self._write(text)

    @contextmanager
    def suspended(self) -> Iterator[Console]:
        """The screen for questions: nothing moves meanwhile."""
        running = self._live is not None
        self._stop()
        try:
            yield self._console
        finally:
            if running:
                self._start()

    def approval(self) -> dict[str, Any]:
        """Asks about the plan that waits: its approval, or what to change. Raises EOFError when nobody answers."""
        with self.suspended() as console:
            console.print(Text("The plan:", style="bold"))
            for text in plan_lines(self._view.plan, self._marks):
                console.print(Text(f"  {text}"))
            reply = console.input(Text("Enter to go on, or what to change: ")).strip()
            if reply.lower() in ("n", "no"):
                while not (reply := console.input(Text("What should change? ")).strip()):
                    pass
        return {"approve": True} if reply.lower() in ("", "y", "yes", "ok") else {"feedback": reply}

    @property
    def _marks(self) -> Mapping[str, str]:
        return ASCII_MARKS if self._console.options.ascii_only else MARKS

    def _start(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._frame,
                console=self._console,
                refresh_per_second=FRAMES_PER_S,
                transient=True,
                vertical_overflow="crop",
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _frame(self) -> RenderableType:
        with self._lock:
            size = self._console.size
            return frame(self._view, width=size.width, height=size.height - 1, ascii_only=self._console.options.ascii_only)

    def _end(self, end: Event) -> None:
        self._stop()
        path, answer = self._report.get("path", ""), self._report.get("answer", "")
        self._report = {}
        end = {**end, "reason": ""} if self._reason_follows else end
        if self._view.rewritten:  # whoever had it written again is given all of it, or told why not
            if path:
                self._write(ending(end))
            return
        if not self._is_live:
            self._write(ending(end))
            if path:
                self._write(f"report: {path}")
                self._write(f"answer: {one_line(answer)}")
            return
        self._console.print(Text(one_line(self._view.question), "bold"))
        style = {"complete": "bold green", "incomplete": "bold yellow"}.get(end["status"], "bold red")
        for text in plan_lines(self._view.plan, self._marks):
            self._console.print(Text(text))
        for warning in self._view.warnings:
            self._console.print(Text(f"! {one_line(warning)}", "yellow"))
        self._console.print(Text(ending(end), style))
        if path:
            self._console.print(Padding(Text(visible(answer).strip()), (1, 2)))
            # Not wrapped: it is there to be copied.
            self._console.print(Text(f"report: {path}", "bold"), soft_wrap=True)

    def _write(self, text: str) -> None:
        _write(self._file, text)


def _write(file: TextIO, text: str) -> None:
    encoding = file.encoding or "utf-8"
    file.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    file.flush()


def show_record(record: Mapping[str, Any]) -> None:
    """A run's record, for people."""
    for text in _told(record):
        _write(sys.stdout, text)


def _told(record: Mapping[str, Any]) -> Iterable[str]:
    yield one_line(str(record["question"]))
    reason = f": {one_line(str(record['reason']))}" if record.get("reason") else ""
    yield f"{record['id']}  {record['status']}{reason}"
    if record["status"] == "interrupted":
        yield f"`research-agent resume {name_of(Path(record['folder']))}` goes on"
    if record["status"] == HALF_FORGOTTEN:
        yield f"`research-agent forget {name_of(Path(record['folder']))}` ends it"
    if record["status"] == "waiting":
        yield how_to_answer(name_of(Path(record["folder"])))
    if isinstance(parent := record.get("parent"), dict):
        yield f"forked from {parent['id']} after its step {parent['step']}"
    if "tokens" in record:
        yield counts(record.get("steps", 0), record["tokens"], record.get("usd", 0.0), record.get("seconds", 0.0))
    for role, spent in (record.get("roles") or {}).items():
        told = f"{spent['input']:,} tokens in ({spent['cached']:,} cached), {spent['output']:,} out ({spent['reasoning']:,} thought)"
        yield f"{role}: {spent['calls']} calls, {told}, ${spent['usd']:.4f}"
    marks = ASCII_MARKS if not (sys.stdout.encoding or "").lower().startswith("utf") else MARKS
    yield from plan_lines(record.get("sub_questions") or (), marks)
    for warning in record.get("warnings") or ():
        yield f"warning: {one_line(str(warning))}"
    for failure in record.get("failures") or ():
        yield f"failed: step {failure['step']}, {one_line(failure['what'])}: {one_line(failure['reason'])}"
    yield f"folder: {record['folder']}"
    if record.get("report"):
        yield f"report: {record['folder']}/{record['report']}"
