"""A step as it stood, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from research_agent.terminal.lines import call as called
from research_agent.visible import one_line, visible


def step_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Whole messages, on as many lines as they have; whatever others wrote commands no terminal."""
    cost = told["cost"]
    model = f", {one_line(told['model'])}" if told["model"] else ""
    turn = f", turn {told['turn']}" if told["turn"] else ""
    yield f"step {told['step']} of {told['last_step']} ({told['role']}{turn}{model})"
    if told["sub_question"]:
        yield f"sub-question {told['sub_question']['id']}: {one_line(told['sub_question']['question'])}"
    yield (
        f"cost: ${cost['usd']:.4f}; {cost['input']:,} tokens in ({cost['cached']:,} cached), "
        f"{cost['output']:,} out ({cost['reasoning']:,} thought)" + (f", in {cost['calls']} calls" if cost["calls"] != 1 else "")
    )
    if compaction := told["compaction"]:
        yield (
            f"compacted before it: {compaction['messages']} messages archived, "
            f"about {compaction['before_tokens']:,} -> {compaction['after_tokens']:,} tokens"
        )
    for recall in told["recalled"]:
        of = f" for {one_line(recall['query'], 80)!r}" if recall["query"] else ""
        yield f"recalled{of}: {', '.join(map(one_line, recall['handles'])) or 'nothing'}"
    if told["tools"]:
        yield f"tools: {', '.join(one_line(tool['function']['name']) for tool in told['tools'])}"
    if not told["prompt"]:
        yield "prompt: not recorded"
    for number, message in enumerate(told["prompt"], 1):
        yield ""
        yield from _message(f"prompt {number}", message)
    if told["reply"]:
        yield ""
        yield from _message("reply", told["reply"])
    if told["call"]:
        yield ""
        yield f"== call of step {told['step']} == {called(told['call'])}"
        yield from _message("observation", told["observation"]) if told["observation"] else ("no result yet",)
    for item in told.get("plan", ()):
        yield f"  {item['id']}. {one_line(item['question'])}"


def _message(label: str, message: Mapping[str, Any]) -> Iterator[str]:
    of = f" of {one_line(message['name'])}" if message.get("name") else ""
    failed = ", failed" if message.get("ok") is False else ""
    yield f"== {label}: {message['role']}{of} == (about {message['tokens']:,} tokens{failed})"
    if message.get("reasoning"):
        yield from (f"| {line}" for line in visible(message["reasoning"]).rstrip().split("\n"))
    if message["content"]:
        yield visible(message["content"]).rstrip()
    for call in message.get("tool_calls") or ():
        args = json.dumps(call["args"], ensure_ascii=False)
        yield f"-> {one_line(call['name'])} {one_line(args)}  ({one_line(str(call['id']))})"
