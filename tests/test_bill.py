"""What was spent stays on the bill, whatever became of the checkpoints; and nothing is on it twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research_agent.event_log import EventLog, events
from research_agent.graphs.state import NO_USAGE, Usage
from research_agent.history.bill import spent, unbilled
from research_agent.history.noted import lost_event

ONE: dict[str, Any] = {
    "type": "usage",
    "role": "investigator",
    "model": "m",
    "input": 10,
    "cached": 4,
    "output": 2,
    "reasoning": 1,
    "usd": 0.5,
}


def told(*ids: str) -> list[dict[str, Any]]:
    return [{**ONE, "id": id} for id in ids]


def of(calls: int) -> Usage:
    return Usage(calls=calls, input=10 * calls, cached=4 * calls, output=2 * calls, reasoning=calls, usd=0.5 * calls)


def test_a_checkpoint_that_knows_of_all_calls_owes_nothing() -> None:
    assert unbilled(of(2), told("a:1:0", "b:1:0"), waiting=["c"], kept=[]) is None


def test_calls_of_a_task_that_waits_and_whose_replies_are_kept_are_billed_from_there() -> None:
    assert unbilled(of(1), told("a:1:0", "b:1:0", "b:2:0"), waiting=["b"], kept=["b"]) is None


def test_calls_after_the_newest_checkpoint_are_owed_and_a_task_that_makes_them_again_is_named() -> None:
    owed = unbilled(of(1), told("a:1:0", "b:1:0", "c:1:0"), waiting=["b"], kept=[])
    assert owed is not None
    assert (owed.usage, owed.again) == (of(3), {"b"})


def test_a_call_that_is_made_again_is_logged_once_more_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for event in (*told("a:1:0", "b:1:0"), lost_event([], ["b"]), *told("a:1:0", "b:1:0", "b:1:0")):
        log.write(event)
    for event in told("b:1:0", "b:1:1"):  # by the process that goes on with it
        EventLog(path).write(event)
    assert spent(events(path)) == of(4)
    assert spent([]) == NO_USAGE
