"""Calls made before: one that can be answered from what it brought then is, and a model that keeps making one is told."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.tools import BaseTool

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


def args_hash(name: str, args: dict[str, Any]) -> str:
    """The same for every call that asks for the same."""
    return content_hash(call_text(name, {key: value for key, value in args.items() if key != FRESH}))


def brought(archive: Archive, step: int) -> list[Segment]:
    """The observations of one step."""
    found: list[Segment] = []
    while len(found) < MAX_ORDINALS and (segment := archive.get(handle(step, len(found)))):
        found.append(segment)
    return found


def made_before(archive: Archive, call: Call, tool: BaseTool) -> list[Segment]:
    """What the newest call of the same arguments brought, if this one need not run again."""
    if FRESH not in tool.args or call["args"].get(FRESH):
        return []
    earlier = [s.step for s in archive.find(kind="call", args_hash=args_hash(call["name"], call["args"])) if s.step < call["step"]]
    return next((found for step in reversed(earlier) if (found := brought(archive, step))), [])


def reminder(context: Context, call: Call) -> str:
    if not context.loop_guard or call["error"]:
        return ""
    same = context.archive.find(kind="call", args_hash=args_hash(call["name"], call["args"]))
    count = sum(segment.step <= call["step"] for segment in same)
    if count not in REPEATS:
        return ""
    return f"\n\nYou have made this call {count} times with the same arguments. Its result will not change: try another way, or go on."
