"""What hosts refuse, each in its own words. A request that passes here would pass there, as far as their rules are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a host speaks and what it insists on. The default is any OpenAI-compatible host; calls and results are always paired."""

    name: str = "openai"
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    needs_reasoning: str = ""
    """The words of its 400 where the reasoning of an assistant message with calls is missing; `{n}` is the message's index."""
    call_id: str = "call_{n}"
    known_ids: str = ""
    """A pattern: ids of another form are not understood."""
    call_index: bool = True
    repeats_name: bool = False
    usage: Literal["chunk", "choice", "both"] = "chunk"
    cached_in: Literal["details", "top", "hit_tokens"] = "details"
    tool_choice: tuple[str, ...] = ("auto", "none", "required", "named")
    fixed: tuple[tuple[str, float], ...] = ()
    """Parameters that may have one value only."""
    no_empty_content: bool = False
    typed_schemas: bool = False
    """Every property of a tool's schema, however deep, must have a type."""
    window_tokens: int | None = None
    too_long: str = "This model's maximum context length is {window} tokens. However, your request has {asked} input and output tokens."
    formats: tuple[str, ...] = ("text", "json_object", "json_schema")

    def cached(self, tokens: int) -> dict[str, Any]:
        if self.cached_in == "top":
            return {"cached_tokens": tokens}
        if self.cached_in == "hit_tokens":
            return {"prompt_cache_hit_tokens": tokens}
        return {"prompt_tokens_details": {"cached_tokens": tokens}}


KIMI = Dialect(
    name="kimi",
    needs_reasoning="thinking is enabled but reasoning_content is missing in assistant tool call message at index {n}",
    call_id="{name}:{n}",
    usage="choice",
    cached_in="top",
    tool_choice=("auto", "none"),
    fixed=(("temperature", 1.0),),
    no_empty_content=True,
    typed_schemas=True,
    window_tokens=262_144,
    too_long="Your request exceeded model token limit: {window} (requested: {asked})",
)
"""Moonshot's own API."""
DEEPSEEK = Dialect(
    name="deepseek",
    needs_reasoning="The reasoning_content in the thinking mode must be passed back to the API.",
    call_id="call_00_{n:024d}",
    cached_in="hit_tokens",
    tool_choice=("auto", "none"),
    formats=("text", "json_object"),
)
VLLM = Dialect(
    name="vllm",
    reasoning_field="reasoning",
    call_id="functions.{name}:{n}",
    known_ids=r"functions\.[\w-]+:\d+",
    window_tokens=131_072,
)
"""Kimi's open weights on vLLM: its chat template prints ids as they are, and only its own form keeps the model calling."""


class Refusal(Exception):
    def __init__(self, status: int, message: str, type: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type


def check(request: Mapping[str, Any], dialect: Dialect) -> None:
    """Raises Refusal for the first rule broken."""
    messages = request.get("messages") or []
    if not messages:
        raise Refusal(400, "messages must not be empty")
    _pairs(messages)
    for n, message in enumerate(messages):
        _message(n, message, dialect)
    _parameters(request, dialect)
    if dialect.typed_schemas:
        _schemas(request)
    _length(request, dialect)


def _pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    """Every call has its result right after it, every result its call, and no id stands twice."""
    seen: set[str] = set()
    waiting: list[str] = []
    for n, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refusal(400, f"tool_call_id {message['tool_call_id']} is not found (messages[{n}])")
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise Refusal(400, f"an assistant message with 'tool_calls' must be followed by tool messages: {', '.join(waiting)} have none")
        for call in message.get("tool_calls") or ():
            if call["id"] in seen:
                raise Refusal(400, f"tool_call_id {call['id']} is duplicated (messages[{n}])")
            seen.add(call["id"])
            waiting.append(call["id"])
    if waiting:
        raise Refusal(400, f"an assistant message with 'tool_calls' must be followed by tool messages: {', '.join(waiting)} have none")


def _message(n: int, message: Mapping[str, Any], dialect: Dialect) -> None:
    calls = message.get("tool_calls")
    if calls and dialect.needs_reasoning and not isinstance(message.get(dialect.reasoning_field), str):
        raise Refusal(400, dialect.needs_reasoning.format(n=n))
    if dialect.no_empty_content and "content" in message and not message["content"]:
        raise Refusal(400, "text content is empty")
    if not calls and message.get("content") is None:
        raise Refusal(400, f"messages[{n}] has neither content nor tool_calls")
    for call in calls or ():
        if dialect.known_ids and not re.fullmatch(dialect.known_ids, call["id"]):
            raise Refusal(400, f"tool_call_id {call['id']} is not of the form {dialect.known_ids}")
        _arguments(n, call["function"]["arguments"])


def _arguments(n: int, arguments: str) -> None:
    try:
        json.loads(arguments)
    except json.JSONDecodeError as error:
        raise Refusal(400, f"messages[{n}]: the arguments of a tool call are not JSON: {error}") from None


def _parameters(request: Mapping[str, Any], dialect: Dialect) -> None:
    choice = request.get("tool_choice", "auto")
    if (choice if isinstance(choice, str) else "named") not in dialect.tool_choice:
        raise Refusal(400, "tool_choice 'specified' is incompatible with thinking enabled")
    for name, value in dialect.fixed:
        if request.get(name, value) != value:
            raise Refusal(400, f"invalid {name}: only {value} is allowed for this model")
    form = (request.get("response_format") or {}).get("type", "text")
    if form not in dialect.formats:
        raise Refusal(400, "This response_format type is unavailable now")


def _schemas(request: Mapping[str, Any]) -> None:
    for tool in request.get("tools") or ():
        function = tool["function"]
        for path in _untyped(function.get("parameters") or {}, function["name"]):
            where = f"<At path '{path}': type is not defined>"
            raise Refusal(400, f"tools.function.parameters is not a valid moonshot flavored json schema, details: {where}")


def _untyped(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if not {"type", "anyOf", "$ref"} & set(schema):
        yield path
    if {"type", "anyOf"} <= set(schema):
        yield f"{path} (when using anyOf, type should be defined in anyOf items instead of the parent schema)"
    for name, part in (schema.get("properties") or {}).items():
        yield from _untyped(part, f"{path}.{name}")
    if isinstance(schema.get("items"), Mapping):
        yield from _untyped(schema["items"], f"{path}.items")
    for n, part in enumerate(schema.get("anyOf") or ()):
        yield from _untyped(part, f"{path}.anyOf.{n}")


def _length(request: Mapping[str, Any], dialect: Dialect) -> None:
    prompt = len(json.dumps([request.get("tools"), request["messages"]], ensure_ascii=False)) // 4
    asked = prompt + int(request.get("max_completion_tokens") or request.get("max_tokens") or 0)
    if dialect.window_tokens is not None and asked > dialect.window_tokens:
        raise Refusal(400, dialect.too_long.format(window=dialect.window_tokens, asked=asked))
