"""What goes on the wire: a payload made fit for one host. Pure, and the same for the same messages, so that prefixes stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_openai_messages

from .answer import REASONING, REASONING_DETAILS, REASONING_FIELD, Asked
from .catalog import Row
from .schemas import tool_schema

Wire = dict[str, Any]

_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens")
_KIMI_ID = re.compile(r"^functions\.[\w-]+:\d+$")


def asked(payload: Mapping[str, Any], row: Row) -> Asked:
    names = frozenset(str((tool.get("function") or tool).get("name", "")) for tool in payload.get("tools") or ())
    return Asked(tools=names, structured=bool(payload.get("response_format")), opened=row.opens_in_thought)


def fit(settings: Mapping[str, Any], messages: Sequence[BaseMessage], row: Row, *, origin: str) -> Wire:
    """The body of a request with these settings, as the host of `row` takes it."""
    wires = [_assistant(message, row, origin) if isinstance(message, AIMessage) else _other(message) for message in messages]
    payload = {**settings, "messages": wires}
    _ids(wires, row)
    _choice(payload, row)
    _format(payload, row)
    _limits(payload, row)
    if tools := payload.get("tools"):
        payload["tools"] = [tool_schema(tool, typed_=row.typed_schemas, strict_=row.strict_tools) for tool in tools]
    payload = {name: value for name, value in payload.items() if value is not None}
    return {**row.body, **payload, **row.fixed}


def choice(wanted: Any) -> Any:
    """A tool choice as it is written on the wire, from what LangChain's callers say."""
    if wanted in (True, "any"):
        return "required"
    if not isinstance(wanted, str) or wanted in ("auto", "none", "required"):
        return wanted
    return {"type": "function", "function": {"name": wanted}}


def _other(message: BaseMessage) -> Wire:
    blocks = isinstance(message.content, list)  # they stay blocks: one may carry a mark for the host's cache
    wire = dict(convert_to_openai_messages(message))
    if blocks and all(isinstance(block, str) or block.get("type") == "text" for block in message.content):
        wire["content"] = [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]
    if isinstance(message, ToolMessage):
        wire.pop("name", None)  # its call has it
    return wire


def _assistant(message: AIMessage, row: Row, origin: str) -> Wire:
    wire: Wire = {"role": "assistant", "content": str(message.text)}
    if message.name:
        wire["name"] = message.name
    if calls := (*message.tool_calls, *message.invalid_tool_calls):
        wire["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": _json(call["args"])}} for call in calls
        ]
    own = message.response_metadata.get("model_provider") == origin
    thought = message.additional_kwargs.get(REASONING)
    came_as = message.additional_kwargs.get(REASONING_FIELD) or row.reasoning_field
    if own and (details := message.additional_kwargs.get(REASONING_DETAILS)):
        wire[REASONING_DETAILS] = details
    if own and isinstance(thought, str):
        if came_as == "think":
            wire["content"] = f"<think>{thought}</think>{wire.get('content') or ''}"
        else:
            wire[came_as] = thought
    elif row.needs_reasoning and wire.get("tool_calls"):
        wire[row.reasoning_field] = ""  # another model's thought, or none: the field must be there
    if wire.get("tool_calls") and not wire.get("content"):
        wire.pop("content", None)
    return wire


def _json(arguments: Any) -> str:
    """Arguments of a rejected call are no JSON, and templates parse them: the model is told by the call's result."""
    if isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False)
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except (TypeError, ValueError, RecursionError):
        return "{}"


def _ids(wires: Sequence[Wire], row: Row) -> None:
    """Ids stay verbatim, but for two kinds: one used before (models count from what they see), and one foreign to self-hosted Kimi."""
    used: set[str] = set()
    now: dict[str, str] = {}
    count = 0
    for wire in wires:
        for call in wire.get("tool_calls") or ():
            old = str(call.get("id") or "")
            kept = bool(old) and old not in used and (row.call_ids == "verbatim" or bool(_KIMI_ID.match(old)))
            new = old if kept else _fresh(call["function"]["name"], count, used)
            used.add(new)
            call["id"] = now[old] = new
            count += 1
        if wire.get("role") == "tool":
            wire["tool_call_id"] = now.get(wire["tool_call_id"], wire["tool_call_id"])


def _fresh(name: str, count: int, used: set[str]) -> str:
    while f"functions.{name}:{count}" in used:
        count += 1
    return f"functions.{name}:{count}"


def _choice(payload: Wire, row: Row) -> None:
    choice = payload.get("tool_choice")
    if choice is None:
        return
    asked_for = choice if isinstance(choice, str) else "named"
    if not payload.get("tools"):
        del payload["tool_choice"]
    elif asked_for not in row.tool_choice:
        payload["tool_choice"] = "auto"  # a forced call is a 400 while the model thinks


def _format(payload: Wire, row: Row) -> None:
    wanted = payload.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema" or row.structured == "json_schema":
        return
    schema = json.dumps(wanted["json_schema"]["schema"], ensure_ascii=False)
    _append(payload["messages"], f"Answer with one JSON object that fits this JSON schema, and with nothing else:\n{schema}")
    if row.structured == "json_object":
        payload["response_format"] = {"type": "json_object"}
    else:
        del payload["response_format"]


def _append(wires: list[Wire], text: str) -> None:
    last = wires[-1] if wires else {}
    if last.get("role") != "user":
        wires.append({"role": "user", "content": text})
    elif isinstance(last["content"], list):
        last["content"] = [*last["content"], {"type": "text", "text": text}]
    else:
        last["content"] = f"{last['content']}\n\n{text}"


def _limits(payload: Wire, row: Row) -> None:
    given = [payload.pop(name) for name in _OUTPUT_LIMITS if payload.get(name) is not None]
    payload[row.max_tokens_field] = min(given) if given else row.max_output_tokens
