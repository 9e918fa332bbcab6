"""What a run has spent, as its log tells it beside its checkpoints: what turns have cost whose checkpoints are lost stays on its bill."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import cast

from research_agent.event_log import task_of
from research_agent.events import Event
from research_agent.graphs.calls import add_usage
from research_agent.graphs.state import NO_USAGE, Usage


def spent(told: Iterable[Event]) -> Usage:
    """By all calls of models that a log tells of."""
    return reduce(add_usage, (_usage(event) for event in told if event["type"] == "usage"), NO_USAGE)


@dataclass(frozen=True, slots=True)
class Unbilled:
    """What the newest checkpoint does not know of, for checkpoints after it are lost."""

    usage: Usage
    """Of the whole run, that with it."""
    again: frozenset[str]
    """The tasks whose calls it tells of, and which wait all the same: they are made once more, and cost once more."""


def unbilled(billed: Usage, told: Iterable[Event], *, waiting: Collection[str], kept: Collection[str]) -> Unbilled | None:
    """None where the newest checkpoint bills all that a log tells of.

    `waiting`: the tasks that the checkpoint waits for. `kept`: those of them whose replies are kept elsewhere, and are billed from there.
    """
    events = [event for event in told if event["type"] == "usage" and task_of(event) not in kept]
    usage = spent(events)
    if usage["calls"] <= billed["calls"]:
        return None
    return Unbilled(usage, frozenset(waiting) & {task_of(event) for event in events})


def _usage(event: Event) -> Usage:
    return cast(Usage, {key: 1 if key == "calls" else event[key] for key in NO_USAGE})
