"""How far a run is that has not ended, as its events tell it: its record says so only at an end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from research_agent.event_log import by_role, events, warnings
from research_agent.events import Event
from research_agent.runs import Run


def progress(run: Run) -> dict[str, Any]:
    """What `run.json` has at an end: `reason`, `steps`, `usd`, `tokens`, `seconds`, `model_calls`, `roles`, `sub_questions`, ..."""
    told = list(events(run.events))
    plan: dict[str, dict[str, Any]] = {}
    step, failed, reason = 0, list[dict[str, Any]](), ""
    for event in told:
        if event["type"] == "plan":
            plan = {str(item["id"]): dict(item) for item in event["plan"]}
        elif event["type"] == "sub_question":
            plan[str(event["id"])] = {key: event[key] for key in ("id", "question", "status", "answer")}
        elif event["type"] in ("run", "error"):  # an error that could be told still, and no more be recorded
            reason = event.get("reason", "")
        elif event["type"] == "result":
            step = max(step, int(event["step"]))
            if not event["ok"]:
                failed.append({"step": event["step"], "what": event["name"], "reason": event["summary"].removeprefix("Error: ")})
    roles, earlier = by_role(told), run.read().get("failures", [])
    return {
        "reason": reason,
        "steps": max(0, step - run.steps_before()),
        "usd": round(sum(role["usd"] for role in roles.values()), 6),
        "tokens": {kind: int(sum(role[kind] for role in roles.values())) for kind in ("input", "cached", "output", "reasoning")},
        "seconds": round(_seconds(told, is_going=run.locked), 3),
        "model_calls": int(sum(role["calls"] for role in roles.values())),
        "roles": roles,
        "sub_questions": list(plan.values()),
        "failures": sorted([*(known for known in earlier if known not in failed), *failed], key=lambda failure: failure["step"]),
        "warnings": warnings(told),
    }


def _seconds(told: Sequence[Event], *, is_going: bool) -> float:
    """Of work. What ended says so itself; of what was killed, from its first event to its last."""
    done = 0.0
    began: datetime | None = None
    last: datetime | None = None
    for event in told:
        at = datetime.fromisoformat(event["time"])
        if event["type"] == "run":
            done, began = done + _between(began, last), at
        elif event["type"] == "end":
            done, began = event["seconds"], None
        last = at
    return done + _between(began, datetime.now(UTC) if is_going else last)


def _between(began: datetime | None, ended: datetime | None) -> float:
    return max(0.0, (ended - began).total_seconds()) if began and ended else 0.0
