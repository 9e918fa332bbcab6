"""What Claude's Messages API and GPT's Responses API refuse. `given`: what the host handed out, by id, to be had back unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .rules import Refusal

Wire = Mapping[str, Any]

MARKS = 4
"""Of the cache, in one request of Claude's."""


def check_claude(request: Wire, given: Mapping[str, Any]) -> None:
    """Raises Refusal for the first rule broken."""
    _thinking(request)
    if json.dumps(request).count('"cache_control"') > MARKS:
        raise Refusal(400, f"A maximum of {MARKS} blocks with cache_control may be provided.")
    waiting: list[str] = []
    seen: set[str] = set()
    for n, message in enumerate(request["messages"]):
        blocks = _blocks(message)
        if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            raise Refusal(400, f"messages.{n}: text content blocks must be non-empty")
        if message["role"] == "user":
            _results(n, blocks, waiting)
            waiting = []
        else:
            waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
            _uses(n, blocks, waiting, seen, given)
    if waiting:
        raise Refusal(400, f"`tool_use` ids were found without `tool_result` blocks: {', '.join(waiting)}")


def _thinking(request: Wire) -> None:
    thinking = request.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    if thinking["budget_tokens"] >= request["max_tokens"]:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`")
    if request.get("temperature", 1) != 1:
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled")
    if (request.get("tool_choice") or {}).get("type", "auto") not in ("auto", "none"):
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _blocks(message: Wire) -> list[Any]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _results(n: int, blocks: Sequence[Wire], waiting: Sequence[str]) -> None:
    got = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if sorted(got) != sorted(waiting) or [block["type"] for block in blocks[: len(got)]] != ["tool_result"] * len(got):
        raise Refusal(400, f"messages.{n}: each `tool_use` must have its `tool_result` at the beginning of the next message")


def _uses(n: int, blocks: Sequence[Wire], ids: Sequence[str], seen: set[str], given: Mapping[str, Any]) -> None:
    if any(id in seen or not re.fullmatch(r"[a-zA-Z0-9_-]+", id) for id in ids) or len({*ids}) != len(ids):
        raise Refusal(400, f"messages.{n}: `tool_use` ids must be unique and match ^[a-zA-Z0-9_-]+$")
    seen.update(ids)
    had = [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]
    if ids and ids[0] in given and had != given[ids[0]]:
        raise Refusal(400, f"messages.{n}: `thinking` or `redacted_thinking` blocks cannot be modified")
    if any(block["type"] in ("thinking", "redacted_thinking") for block in blocks) and not (ids and ids[0] in given):
        signed = [block for block in given.values() if block == had]
        if not signed:
            raise Refusal(400, f"messages.{n}: Invalid `signature` in `thinking` block")


def check_gpt(request: Wire, given: Mapping[str, Any]) -> None:
    """Raises Refusal for the first rule broken. Nothing is stored here: `store` must be false, and reasoning come back encrypted."""
    if request.get("store") is not False or "reasoning.encrypted_content" not in (request.get("include") or ()):
        raise Refusal(400, "this host keeps nothing: store must be false, and reasoning.encrypted_content included")
    for name in ("temperature", "top_p"):
        if name in request:
            raise Refusal(400, f"Unsupported parameter: '{name}' is not supported with this model.")
    calls: list[str] = []
    answered: list[str] = []
    thoughts: set[str] = set()
    for n, item in enumerate(request["input"]):
        kind = item.get("type", "message")
        if kind == "reasoning":
            _reasoning(n, request["input"], given)
            thoughts.add(item["id"])
        elif kind == "function_call":
            calls.append(item["call_id"])
            if (thought := given.get(item["call_id"])) and thought not in thoughts:
                raise Refusal(
                    400, f"Item '{item.get('id')}' of type 'function_call' was provided without its 'reasoning' item: '{thought}'."
                )
        elif kind == "function_call_output":
            answered.append(item["call_id"])
    if sorted(calls) != sorted(answered) or len({*calls}) != len(calls):
        raise Refusal(400, f"No tool output found for function call, or no call for an output: {sorted({*calls} ^ {*answered})}")
    for path in _open_schemas(request):
        raise Refusal(400, f"Invalid schema: 'additionalProperties' must be false and every property required, at {path}")


def _reasoning(n: int, items: Sequence[Wire], given: Mapping[str, Any]) -> None:
    item, after = items[n], items[n + 1] if n + 1 < len(items) else {}
    if item["id"] not in given:
        raise Refusal(404, f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false.")
    if item.get("encrypted_content") != given[item["id"]]:
        raise Refusal(400, f"The encrypted content of '{item['id']}' could not be verified.")
    if after.get("type", "message") not in ("function_call", "message", "reasoning") or after.get("role", "assistant") != "assistant":
        raise Refusal(400, f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.")


def _open_schemas(request: Wire) -> Iterator[str]:
    for tool in request.get("tools") or ():
        if tool.get("strict"):
            yield from _open(tool["parameters"], tool["name"])
    form = (request.get("text") or {}).get("format") or {}
    if form.get("strict"):
        yield from _open(form["schema"], form["name"])


def _open(schema: Wire, path: str) -> Iterator[str]:
    properties = schema.get("properties") or {}
    if "properties" in schema and (schema.get("additionalProperties") is not False or {*schema.get("required", ())} != {*properties}):
        yield path
    for name, part in {**properties, **(schema.get("$defs") or {})}.items():
        yield from _open(part, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _open(schema["items"], f"{path}.items")
