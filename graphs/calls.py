"""One way to call a model: streamed, counted, retried here and nowhere else, and never silent about a failure."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, InvalidToolCall, message_chunk_to_message
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from .ports import RETRYABLE, Model, ModelCallError, Prices, Role
from .state import DRAFTS, Usage

Emit = Callable[[dict[str, Any]], None]
Draft = TypeVar("Draft", bound=BaseModel)

ATTEMPTS = 6
BASE_WAIT_S, MAX_WAIT_S = 1.0, 60.0
NO_USAGE = Usage(calls=0, input=0, cached=0, output=0, reasoning=0, usd=0.0)
_WRITTEN = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n```\s*$", re.DOTALL)


class InvalidOutput(Exception):
    """A model's structured answer that stayed invalid after one correction. Carries what the attempts cost."""

    def __init__(self, reason: str, usage: Usage) -> None:
        super().__init__(reason)
        self.usage = usage


@dataclass(frozen=True, slots=True)
class Reply:
    message: AIMessage
    usage: Usage

    @property
    def text(self) -> str:
        return str(self.message.text)

    @property
    def reasoning(self) -> str:
        return reasoning_of(self.message)


def reasoning_of(message: AIMessage) -> str:
    """The thinking a message carries, wherever its provider put it."""
    kept = message.additional_kwargs.get("reasoning_content")
    if isinstance(kept, str):
        return kept
    blocks = message.content if isinstance(message.content, list) else []
    return "".join(
        str(block.get("thinking") or block.get("reasoning") or "")
        for block in blocks
        if isinstance(block, dict) and block.get("type") in ("thinking", "reasoning")
    )


def add_usage(a: Usage, b: Usage) -> Usage:
    return Usage(
        calls=a["calls"] + b["calls"],
        input=a["input"] + b["input"],
        cached=a["cached"] + b["cached"],
        output=a["output"] + b["output"],
        reasoning=a["reasoning"] + b["reasoning"],
        usd=a["usd"] + b["usd"],
    )


def usage_of(message: AIMessage, prices: Prices) -> Usage:
    """What a reply cost, as its host counted it."""
    meta = message.usage_metadata
    if meta is None:
        return Usage(calls=1, input=0, cached=0, output=0, reasoning=0, usd=0.0)
    details: dict[str, Any] = dict(meta.get("input_token_details", {}))
    cached = details.get("cache_read") or 0
    written = sum(details.get(name) or 0 for name in _WRITTEN)
    dearer = 0.0 if prices.cache_write is None else prices.cache_write - prices.miss
    missed = (meta["input_tokens"] - cached) * prices.miss + written * dearer
    usd = (missed + cached * prices.hit + meta["output_tokens"] * prices.output) / 1e6
    return Usage(
        calls=1,
        input=meta["input_tokens"],
        cached=cached,
        output=meta["output_tokens"],
        reasoning=meta.get("output_token_details", {}).get("reasoning", 0) or 0,
        usd=usd,
    )


async def call(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    role: Role,
    emit: Emit,
    tools: Sequence[BaseTool] = (),
    response_format: dict[str, Any] | None = None,
) -> Reply:
    """One finished reply. Raises ModelCallError once waiting will not help, or has not."""
    runnable: Runnable[Any, Any] = _bind(model.chat, tools, response_format)
    spent = NO_USAGE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            message = await _stream(runnable, messages, role, emit)
            spent = add_usage(spent, usage_of(message, model.prices))
            if not message.text.strip() and not message.tool_calls and not message.invalid_tool_calls:
                message = _from_reasoning(message)
            return Reply(message, spent)
        except ModelCallError as error:
            if error.kind not in RETRYABLE or attempt == ATTEMPTS:
                raise
            backoff = min(MAX_WAIT_S, BASE_WAIT_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            wait_s = backoff if error.retry_after_s is None else error.retry_after_s
            emit({"type": "retry", "reason": error.reason, "wait_s": round(wait_s, 1), "attempt": attempt})
            await asyncio.sleep(wait_s)
    raise AssertionError("unreachable")


def _bind(chat: BaseChatModel, tools: Sequence[BaseTool], response_format: dict[str, Any] | None) -> Runnable[Any, Any]:
    if tools:
        return chat.bind_tools(list(tools))
    return chat.bind(response_format=response_format) if response_format else chat


async def _stream(runnable: Runnable[Any, Any], messages: Sequence[BaseMessage], role: Role, emit: Emit) -> AIMessage:
    whole: AIMessageChunk | None = None
    async for chunk in runnable.astream(list(messages)):
        if not isinstance(chunk, AIMessageChunk):
            continue
        if thought := reasoning_of(chunk):
            emit({"type": "thought", "text": thought, "role": role})
        if chunk.text:
            emit({"type": "text", "text": str(chunk.text), "role": role})
        whole = chunk if whole is None else whole + chunk
    if whole is None:
        raise ModelCallError("the model's stream held nothing", "empty")
    return _strict(whole)


def _strict(whole: AIMessageChunk) -> AIMessage:
    """The finished message. Arguments cut off by a length limit parse as a valid, partial call: only whole JSON counts as a call."""
    message = cast(AIMessage, message_chunk_to_message(whole))
    cut = {chunk["id"] for chunk in whole.tool_call_chunks if not _whole_json(chunk["args"] or "{}")}
    if not cut:
        return message
    broken = [call for call in message.tool_calls if call["id"] in cut]
    invalid = [InvalidToolCall(name=call["name"], args=None, id=call["id"], error="cut off", type="invalid_tool_call") for call in broken]
    return message.model_copy(
        update={
            "tool_calls": [call for call in message.tool_calls if call["id"] not in cut],
            "invalid_tool_calls": [*message.invalid_tool_calls, *invalid],
        }
    )


def _whole_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _from_reasoning(message: AIMessage) -> AIMessage:
    """An answer that came in the reasoning channel is an answer; nothing at all is a failure worth another try."""
    reasoning = reasoning_of(message).strip()
    if not reasoning:
        raise ModelCallError("the model answered with nothing", "empty")
    return message.model_copy(update={"content": reasoning})


async def ask(model: Model, messages: Sequence[BaseMessage], schema: type[Draft], *, role: Role, emit: Emit) -> tuple[Draft, Reply]:
    """A structured answer, without a forced tool: thinking models refuse those. One correction, then InvalidOutput."""
    name = next(name for name, draft in DRAFTS.items() if draft is schema)
    wire = {"type": "json_schema", "json_schema": {"name": name, "schema": schema.model_json_schema(), "strict": True}}
    reply = await call(model, messages, role=role, emit=emit, response_format=wire)
    try:
        return _parse(schema, reply.text), reply
    except ValueError as error:
        correction = HumanMessage(f"That is not a valid {name}: {_one_line(error)}. Answer again, with the JSON object only.")
        told = AIMessage(reply.text or "(no answer)")  # its text only: calls it made here will never have results
        again = await call(model, [*messages, told, correction], role=role, emit=emit, response_format=wire)
        spent = add_usage(reply.usage, again.usage)
        try:
            return _parse(schema, again.text), Reply(again.message, spent)
        except ValueError as last:
            raise InvalidOutput(f"the model's {name} stayed invalid: {_one_line(last)}", spent) from last


def _parse(schema: type[Draft], text: str) -> Draft:
    text = text.strip()
    if fence := _FENCE.match(text):
        text = fence[1]
    if not text.startswith("{"):
        start, end = text.find("{"), text.rfind("}")
        if start < 0 or end < start:
            raise ValueError("no JSON object in it")
        text = text[start : end + 1]
    return schema.model_validate(json.loads(text))


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors()[:3])
    return str(error).splitlines()[0]
