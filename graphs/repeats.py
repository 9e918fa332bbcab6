"""Calls made before: one that can be answered from what it brought then is, and a model that keeps making one is told."""

from __future__ import annotations

import json
from typing import Any

from research_agent.memory import Segment, content_hash, handle
from research_agent.memory.segment import MAX_ORDINALS

from .ports import Archive, Context
from .state import Call

FRESH = "fresh"
"""The argument that asks for a call to be run again. A tool that has it is answered from the archive without it."""
REPEATS = (3, 5, 8)
"""At these counts of one call with the same arguments, the model is reminded (a vendor's own advice)."""


def call_text(name: str, args: dict[str, Any]) -> str:
    return f"{name} {json.dumps(args, ensure_ascii=False, sort_keys=True)}"


def args_hash(context: Context, name: str, args: dict[str, Any]) -> str:
    """The same for every call that asks for the same: however its arguments are ordered and spaced, its defaults given or left out."""
    defaults = {key: schema.get("default") for key, schema in context.arguments(name).items()}
    meant = {key: _plain(value) for key, value in args.items() if key != FRESH and value is not None}
    return content_hash(call_text(name, {key: value for key, value in meant.items() if value != _plain(defaults.get(key))}))


def _plain(value: Any) -> Any:
    """A value as its tool would read it: a number may come as text, and no space at a border means anything."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return value


def brought(archive: Archive, step: int) -> list[Segment]:
    """The observations of one step."""
    found: list[Segment] = []
    while len(found) < MAX_ORDINALS and (segment := archive.get(handle(step, len(found)))):
        found.append(segment)
    return found


def made_before(context: Context, call: Call) -> list[Segment]:
    """What the newest call of the same arguments brought, if this one need not run again. A call that failed brought nothing."""
    if FRESH not in context.arguments(call["name"]) or _plain(call["args"].get(FRESH)) in ("true", "True", "1"):
        return []
    earlier = [segment.step for segment in _same(context, call) if segment.step < call["step"]]
    return next((found for step in reversed(earlier) if (found := brought(context.archive, step))), [])


def reminder(context: Context, call: Call) -> str:
    if not context.loop_guard or call["error"]:
        return ""
    count = sum(segment.step <= call["step"] for segment in _same(context, call))
    if count not in REPEATS:
        return ""
    return f"\n\nYou have made this call {count} times with the same arguments. Its result will not change: try another way, or go on."


def _same(context: Context, call: Call) -> list[Segment]:
    """Calls of the same arguments that were made. One that was not (its title says why) shares its step with another."""
    same = context.archive.find(kind="call", args_hash=args_hash(context, call["name"], call["args"]))
    return [segment for segment in same if not segment.title]
