"""What a session tells: into the run's log, and to whoever looks on."""

from __future__ import annotations

from collections.abc import Callable

from research_agent.event_log import EventLog
from research_agent.events import STREAMED_ONLY, Event
from research_agent.graphs.state import SubQuestion

Emit = Callable[[Event], None]


class Teller:
    """Keeps what was told that an end may need: the plan, the step."""

    def __init__(self, log: EventLog, on_event: Emit, *, step: int) -> None:
        self._log, self._on_event = log, on_event
        self._deaf = False
        self.plan: list[SubQuestion] = []
        self.step = step

    def emit(self, event: Event) -> None:
        match event["type"]:
            case "plan":
                self.plan = event["plan"]
            case "result":
                self.step = max(self.step, event["step"])
        if event["type"] not in STREAMED_ONLY:
            self.log(event)
        self.show(event)

    def warn(self, text: str) -> None:
        self.emit({"type": "warning", "text": text})

    def log(self, event: Event) -> None:
        """Into the log only."""
        self._log.write(event)

    def show(self, event: Event) -> None:
        """To whoever looks on only."""
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - whoever looks on is anyone's code: its fault is no reason to lose a run
            if not self._deaf:
                self._deaf = True
                self.warn(f"on_event failed at {event['type']!r}: {type(error).__name__}: {error}")
