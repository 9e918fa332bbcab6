"""A run's events as plain lines: one a line, nothing wrapped, no colour. What a log or a pipe gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from research_agent.events import Event
from research_agent.visible import one_line

THOUGHT_CHARS = 300
ARGS_CHARS = 160


def line(event: Event) -> str | None:
    """What an event says, or None if a log does without it."""
    match event["type"]:
        case "start":
            return f"starting ({one_line(event['model'])}): {one_line(event['question'])}"
        case "run":
            return f"run {event['id']} in {event['folder']}{how(event)}"
        case "so_far" if event["steps"] or any(event["tokens"].values()):
            return f"so far: {counts(event['steps'], event['tokens'], event['usd'], event['seconds'])}"
        case "index" if event["done"] == event["total"]:
            return f"index: {event['total']:,} files"
        case "vectors":
            return f"embedding the last {event['left']:,} pieces of what was read; Ctrl-C leaves them for when the run is opened again"
        case "warning":
            return f"warning: {one_line(event['text'])}"
        case "plan":
            return "plan: " + " ".join(f"{item['id']}. {one_line(item['question'])}" for item in event["plan"])
        case "approval":
            return "the plan waits for approval"
        case "sub_question":
            return f"sub-question {event['id']} {event['status']}: {one_line(event['question'])}"
        case "turn" if thought := one_line(event.get("reasoning") or event.get("content") or "", THOUGHT_CHARS):
            return f"{event['role']}: {thought}"
        case "call":
            return f"step {event['step']}: {call(event)}"
        case "result":
            return f"step {event['step']}: {one_line(event['name'])} {outcome(event)}"
        case "finding":
            return f"finding [{event['handle']}]: {one_line(event['claim'])}"
        case "compaction":
            return f"compaction: {event['turns']} turns archived, {event['before_tokens']:,} -> {event['after_tokens']:,} tokens"
        case "review":
            asked = f"; {len(event['follow_ups'])} to follow up" if event["follow_ups"] else ""
            return f"review: {one_line(event['verdict'])}{asked}"
        case "retry":
            return f"retry {event['attempt']} in {event['wait_s']} s: {one_line(event['reason'])}"
    return None


def how(run: Mapping[str, Any]) -> str:
    """What a session is to a run that was there before it."""
    if parent := run.get("parent"):
        return f", forked from {parent['id']} at step {parent['step']}: its steps and sub-questions are numbered on from there"
    if run.get("rewritten"):
        return f": its report is written again by {one_line(run['model'])}"
    return ", resumed" if run.get("resumed") else ""


def call(event: Mapping[str, Any]) -> str:
    """A tool call as code would write it: `web_search("cold cells")`."""
    args = event.get("args") or {}
    shown = [_value(value) if len(args) == 1 else f"{key}={_value(value)}" for key, value in args.items()]
    return one_line(f"{event['name']}({', '.join(shown)})", ARGS_CHARS)


def _value(value: object) -> str:
    return json.dumps(one_line(value) if isinstance(value, str) else value, ensure_ascii=False)


def outcome(event: Mapping[str, Any]) -> str:
    word = "ok" if event["ok"] else "failed"
    summary = one_line(str(event.get("summary") or "")).removeprefix("Error: ")
    return f"{word}{': ' if summary else ''}{summary} ({event['seconds']:.1f} s)"


def ending(end: Mapping[str, Any]) -> str:
    """`incomplete: 12 steps, 34,567 tokens, $0.12, 42 s: the limit of 12 steps was reached`"""
    reason = f": {one_line(end['reason'])}" if end.get("reason") else ""
    return f"{end['status']}: {counts(end['steps'], end['tokens'], end['usd'], end['seconds'])}{reason}"


def counts(steps: int, tokens: Mapping[str, int], usd: float, seconds: float) -> str:
    """Tokens are those read and written; what was read from a cache is among them."""
    total = tokens.get("input", 0) + tokens.get("output", 0)
    parts = [f"{steps} step{'' if steps == 1 else 's'}", f"{total:,} tokens", f"${usd:.2f}" if usd < 0.005 or usd >= 0.1 else f"${usd:.3f}"]
    return ", ".join([*parts, duration(seconds)])


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def plan_lines(plan: Sequence[Mapping[str, Any]], marks: Mapping[str, str]) -> list[str]:
    return [f"{marks.get(item['status'], '?')} {item['id']}. {one_line(item['question'])}" for item in plan]


def how_to_answer(run: str) -> str:
    """`run`: what a command finds it by."""
    return (
        f"`research-agent resume {run} --answer yes` goes on with it; --answer TEXT says what to change, --plan FILE gives another "
        f"(`research-agent show {run} --plan` prints it as one to edit)"
    )
