"""How far a run is that has not ended, as its events tell it: its record says so only at an end."""

from __future__ import annotations

from typing import Any

from research_agent.event_log import by_role, events
from research_agent.runs import Run


def progress(run: Run) -> dict[str, Any]:
    """As `run.json` has them: `steps`, `usd`, `tokens`, `model_calls`, `sub_questions`."""
    plan: dict[str, dict[str, Any]] = {}
    step = 0
    for event in events(run.events):
        if event["type"] == "plan":
            plan = {str(item["id"]): dict(item) for item in event["plan"]}
        elif event["type"] == "sub_question":
            plan[str(event["id"])] = {key: event[key] for key in ("id", "question", "status", "answer")}
        elif event["type"] == "result":
            step = max(step, int(event["step"]))
    roles = by_role(run.events).values()
    return {
        "steps": max(0, step - run.steps_before()),
        "usd": round(sum(role["usd"] for role in roles), 6),
        "tokens": {kind: int(sum(role[kind] for role in roles)) for kind in ("input", "cached", "output", "reasoning")},
        "model_calls": int(sum(role["calls"] for role in roles)),
        "sub_questions": list(plan.values()),
    }
