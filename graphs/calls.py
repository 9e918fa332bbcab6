"""One way to call a model: streamed, counted, retried here and nowhere else, and never silent about a failure."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, InvalidToolCall, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from research_agent.memory import estimate_tokens

from .budget import NO_LIMIT, Purse, output_limit, prompt_tokens
from .failures import passes, told, wait_s
from .flight import Cut, Flight, Kept, cut_usage
from .ports import Asked, Model, ModelCallError, Prices, Role
from .state import DRAFTS, NO_USAGE, Usage

Emit = Callable[[dict[str, Any]], None]
Draft = TypeVar("Draft", bound=BaseModel)

_ECHOED_TOKENS = 8_000
"""Of an invalid answer, which is sent back to be corrected."""
ESTIMATED = "usage_estimated"
"""In a message's `response_metadata`: its host did not report its usage."""
_WRITTEN = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n```\s*$", re.DOTALL)


class InvalidOutput(Exception):
    """A model's structured answer that stayed invalid after one correction. Carries what the attempts cost."""

    def __init__(self, reason: str, spent: Usage) -> None:
        super().__init__(reason)
        self.spent = spent


@dataclass(frozen=True, slots=True)
class Reply:
    message: AIMessage
    usage: Usage
    """Of all attempts."""
    reported_tokens: int = 0
    """Of the prompt, by the host; 0 if it does not say."""

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


def usage_of(meta: UsageMetadata | None, prices: Prices) -> Usage:
    """What an answer cost, as its host counted it."""
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
    purse: Purse = NO_LIMIT,
    prompt: int | None = None,
    flight: Flight | None = None,
) -> Reply:
    """One finished reply. `prompt`: its estimated tokens, if they are known.

    Raises ModelCallError once waiting will not help, or has not; its `reason` says what to do.
    """
    flight = flight or Flight()
    known = flight.begin()
    asked = Asked(
        model=model.name,
        role=role,
        messages=messages,
        tools=tools,
        response_format=response_format,
        output_tokens=None,
        number=flight.number,
    )
    if isinstance(known, Kept):
        model.tape.kept(asked)
        _told(known.last, model, role, emit, flight.id({**known.spent, "calls": known.spent["calls"] - 1}))
        return Reply(known.message, known.spent, known.reported_tokens)
    prompt = prompt_tokens(messages, tools, response_format) if prompt is None else prompt
    spent, attempt = NO_USAGE, 0
    if isinstance(known, Cut):
        spent = _counted(known, model, role, emit, flight)
    while True:
        attempt += 1
        try:
            limit = output_limit(model, prompt, purse.after(spent))
            runnable = _bind(model, tools, response_format, limit)
            flight.sent(prompt, spent)
            message = await model.tape.ask(replace(asked, output_tokens=limit), partial(_stream, runnable, messages, prompt, role, emit))
            last = _told(usage_of(message.usage_metadata, model.prices), model, role, emit, flight.id(spent))
            spent = add_usage(spent, last)
            if not message.text.strip() and not message.tool_calls and not message.invalid_tool_calls:
                message = _from_reasoning(message)
            reported = message.usage_metadata["input_tokens"] if message.usage_metadata else 0
            reported = 0 if message.response_metadata.get(ESTIMATED) else reported
            flight.came(message, reported, spent, last)
            return Reply(message, spent, reported)
        except ModelCallError as error:
            if error.usage is not None:
                spent = add_usage(spent, _told(usage_of(error.usage, model.prices), model, role, emit, flight.id(spent)))
            flight.failed(spent)
            if not passes(error, attempt, met=purse.met):
                error.reason, error.spent = told(model, error, attempt), spent
                raise
            pause_s = wait_s(error, attempt)
            emit({"type": "retry", "reason": error.reason, "wait_s": round(pause_s, 1), "attempt": attempt})
            await asyncio.sleep(pause_s)


def _told(usage: Usage, model: Model, role: Role, emit: Emit, id: str) -> Usage:
    """Under an id that is the same when it is told again, by the process that goes on."""
    counted = {key: value for key, value in usage.items() if key != "calls"}
    emit({"type": "usage", "id": id, "role": role, "model": model.name, **counted})
    return usage


def _counted(cut: Cut, model: Model, role: Role, emit: Emit, flight: Flight) -> Usage:
    """What a call has cost before its process was killed, the request in flight with it."""
    if not cut.prompt_tokens:
        return cut.spent
    usage = _told(cut_usage(cut, model.prices.miss / 1e6), model, role, emit, flight.id(cut.spent))
    cost = f"about ${usage['usd']:.4f} is counted for its prompt" if model.priced else "its prompt is counted"
    emit({"type": "warning", "text": f"a call of the {role} was cut and is made again; {cost}, and its host may bill what it answered"})
    return add_usage(cut.spent, usage)


def _bind(model: Model, tools: Sequence[BaseTool], response_format: dict[str, Any] | None, output_tokens: int | None) -> Runnable[Any, Any]:
    more: dict[str, Any] = {} if output_tokens is None else {"max_tokens": output_tokens}
    if tools:
        bound = model.with_tools(tools)
        return bound.bind(**more) if more else bound
    if response_format:
        more["response_format"] = response_format
    return model.chat.bind(**more) if more else model.chat


async def _stream(runnable: Runnable[Any, Any], messages: Sequence[BaseMessage], prompt: int, role: Role, emit: Emit) -> AIMessage:
    whole: AIMessageChunk | None = None
    try:
        async for chunk in runnable.astream(list(messages)):
            if not isinstance(chunk, AIMessageChunk):
                continue
            if thought := reasoning_of(chunk):
                emit({"type": "thought", "text": thought, "role": role})
            if chunk.text:
                emit({"type": "text", "text": str(chunk.text), "role": role})
            whole = chunk if whole is None else whole + chunk
    except ModelCallError as error:
        if whole is not None and error.usage is None:
            error.usage = _estimated(whole, prompt)
        raise
    if whole is None:
        raise ModelCallError("the model's stream held nothing", "empty")
    message = _strict(whole)
    counted = message.usage_metadata
    if counted is not None and counted["input_tokens"] > 0:
        return message
    usage = _estimated(whole, prompt)
    if counted is not None:  # of the answer only
        usage = {**counted, "input_tokens": prompt, "total_tokens": prompt + counted["output_tokens"]}
    facts = {**message.response_metadata, ESTIMATED: True}
    return message.model_copy(update={"usage_metadata": usage, "response_metadata": facts})


def _estimated(answer: AIMessage, prompt: int) -> UsageMetadata:
    """Of an answer whose host did not say, or could not before its stream broke: it is billed all the same."""
    calls = "".join(str(chunk["args"]) for chunk in getattr(answer, "tool_call_chunks", ()))
    output = estimate_tokens(f"{answer.text}{reasoning_of(answer)}{calls}")
    return UsageMetadata(input_tokens=prompt, output_tokens=output, total_tokens=prompt + output)


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
    except (ValueError, RecursionError):
        return False


def _from_reasoning(message: AIMessage) -> AIMessage:
    """An answer that came in the reasoning channel is an answer; nothing at all is a failure worth another try."""
    reasoning = reasoning_of(message).strip()
    if not reasoning:
        raise ModelCallError("the model answered with nothing", "empty")
    return message.model_copy(update={"content": reasoning})


async def ask(
    model: Model,
    messages: Sequence[BaseMessage],
    schema: type[Draft],
    *,
    role: Role,
    emit: Emit,
    purse: Purse = NO_LIMIT,
    flight: Flight | None = None,
) -> tuple[Draft, Reply]:
    """A structured answer, without a forced tool: thinking models refuse those. One correction, then InvalidOutput."""
    wire = wire_format(schema)
    name = wire["json_schema"]["name"]
    flight = flight or Flight()
    reply = await call(model, messages, role=role, emit=emit, response_format=wire, purse=purse, flight=flight)
    try:
        return _parse(schema, reply.text), reply
    except ValueError as error:
        correction = HumanMessage(f"That is not a valid {name}: {_one_line(error)}. Answer again, with the JSON object only.")
        said = AIMessage(_echoed(reply.text))  # its text only: calls it made here will never have results
        corrected = [*messages, said, correction]
        try:
            left = purse.after(reply.usage)
            again = await call(model, corrected, role=role, emit=emit, response_format=wire, purse=left, flight=flight)
        except ModelCallError as failed:
            failed.spent = add_usage(reply.usage, failed.spent)
            raise
        spent = add_usage(reply.usage, again.usage)
        try:
            return _parse(schema, again.text), Reply(again.message, spent)
        except ValueError as last:
            raise InvalidOutput(f"the model's {name} stayed invalid: {_one_line(last)}", spent) from last


def _echoed(text: str) -> str:
    """One that went round in circles to its limit is not paid for again."""
    tokens = estimate_tokens(text)
    return f"(an answer of {tokens} tokens)" if tokens > _ECHOED_TOKENS else text or "(no answer)"


def wire_format(schema: type[BaseModel]) -> dict[str, Any]:
    name = next(name for name, draft in DRAFTS.items() if draft is schema)
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema.model_json_schema(), "strict": True}}


def _parse(schema: type[Draft], text: str) -> Draft:
    text = text.strip()
    if fence := _FENCE.match(text):
        text = fence[1]
    if not text.startswith("{"):
        start, end = text.find("{"), text.rfind("}")
        if start < 0 or end < start:
            raise ValueError("no JSON object in it")
        text = text[start : end + 1]
    try:
        return schema.model_validate(json.loads(text))
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors()[:3])
    return str(error).splitlines()[0]
