"""A model and its host, as a run will use them: two short calls that show the key, the tools, the reasoning's way back, and the cache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from research_agent.config import ModelConfig
from research_agent.doctor.row import Row
from research_agent.graphs.calls import reasoning_of
from research_agent.graphs.failures import told
from research_agent.graphs.ports import Model, ModelCallError
from research_agent.models.catalog import Row as Known
from research_agent.models.catalog import lookup

CALL_S = 30.0
PROMPT_TOKENS = 2_000
"""Of a call, about: a shorter prompt is cached by no host."""
CHECKS = ("key", "host", "model", "tools", "reasoning", "cache")
RULES = "You add numbers with the tool `add`, never by yourself.\n" + "\n".join(f"The square of {n} is {n * n}." for n in range(1, 150))
ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two whole numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, slots=True)
class _Failed:
    check: str
    found: str
    remedy: str


def cost(model: Model) -> str:
    """In words, before anything is asked."""
    output = _output_tokens(model)
    tokens = f"about {2 * PROMPT_TOKENS:,} tokens in and at most {2 * output:,} out"
    if not model.priced:
        return f"{tokens}, at prices that are not known"
    usd = 2 * (PROMPT_TOKENS * model.prices.miss + output * model.prices.output) / 1e6
    return f"{tokens}, ${usd:.3f} at most"


async def examine(model: Model, given: ModelConfig, *, has_key: bool, offline: bool) -> AsyncIterator[Row]:
    if given.provider == "extractive":
        yield Row("model", "ok", "extractive: no language model, no host, no key")
        return
    if not model.priced:
        yield Row("prices", "warn", f"the prices of {model.name} are not known, so limits.usd cannot hold", "set model.prices")
    row = lookup(given.provider, given.like or given.name)
    key = f"{model.key} is set" if has_key else "none is sent" if not model.key else f"{model.key} is not set"
    if offline:
        yield Row("key", "ok", f"{key}; not tried")
        for check in CHECKS[1:]:
            yield Row(check, "skip", "offline")
        return
    messages: list[BaseMessage] = [SystemMessage(RULES), HumanMessage("What is 17 + 25? Call the tool.")]
    started = time.monotonic()
    first = await _ask(model, given, messages)
    if isinstance(first, _Failed):
        for check in CHECKS:
            yield _cut(check, first)
        return
    yield Row("key", "ok", f"{key}; {model.host} takes it" if has_key else f"{model.host} wants none")
    yield Row("host", "ok", f"{model.host} answered in {time.monotonic() - started:.1f} s")
    yield Row(
        "model", "ok", f"{model.name}, a window of {model.window_tokens:,} tokens{'' if row.family else ' (unknown: cautious values)'}"
    )
    async for found in _in_a_loop(model, given, row, messages, first):
        yield found


def _cut(check: str, failed: _Failed) -> Row:
    """A row of a first call that failed: what comes before the fault works, what comes after was not tried."""
    at = CHECKS.index(failed.check)
    if check == failed.check:
        return Row(check, "fail", failed.found, failed.remedy)
    if CHECKS.index(check) < at and failed.check == "model":
        return Row(check, "ok", "the host answers")
    return Row(check, "skip", f"not tried: the {failed.check} must work first")


async def _in_a_loop(model: Model, given: ModelConfig, row: Known, messages: list[BaseMessage], first: AIMessage) -> AsyncIterator[Row]:
    thought = _thought(first)
    if not first.tool_calls:
        yield Row("tools", "fail", "the model answered without calling the tool", _tools_remedy(given))
        yield _reasoning(thought, row, given, "")
        yield Row("cache", "skip", "not tried: there was no second call")
        return
    call = first.tool_calls[0]
    right = call["name"] == "add" and call["args"] == {"a": 17, "b": 25}
    result = [ToolMessage("42", tool_call_id=str(item["id"])) for item in first.tool_calls]
    second = await _ask(model, given, [*messages, first, *result])
    if isinstance(second, _Failed):
        yield Row("tools", "ok" if right else "warn", f"called add({call['args']})")
        yield Row("reasoning", "fail", f"the second turn was refused: {second.found}", second.remedy)
        yield Row("cache", "skip", "not tried: there was no second answer")
        return
    found = "called the tool with the right arguments, and took its result" if right else f"called {call['name']} with {call['args']}"
    yield Row("tools", "ok" if right else "warn", found, "" if right else "expect wrong calls: a larger model makes fewer")
    yield _reasoning(thought, row, given, ", and the host took it back in a tool loop")
    yield _cache(second)


def _reasoning(thought: str, row: Known, given: ModelConfig, back: str) -> Row:
    if thought:
        return Row("reasoning", "ok", f"{thought}{back}")
    if row.needs_reasoning or row.api != "chat":
        return Row(
            "reasoning", "warn", f"{given.name} thinks, but no thought came back: each step starts from nothing", _reasoning_remedy(given)
        )
    return Row("reasoning", "ok", "none came: the model does not think, or does not show it")


def _thought(message: AIMessage) -> str:
    blocks = message.content if isinstance(message.content, list) else []
    signed = any(isinstance(block, dict) and (block.get("signature") or block.get("encrypted_content")) for block in blocks)
    text = reasoning_of(message)
    if not text and not signed:
        return ""
    name = message.additional_kwargs.get("reasoning_field") or ("signed blocks" if signed else "blocks")
    return f"{len(text):,} characters came in {name}" if text else f"it came in {name}"


def _cache(message: AIMessage) -> Row:
    usage = message.usage_metadata
    if usage is None:
        return Row(
            "cache", "warn", "the host reports no usage: tokens and dollars will be estimates", "see whether it can report usage in streams"
        )
    cached = usage.get("input_token_details", {}).get("cache_read")
    if cached is None:
        return Row(
            "cache",
            "warn",
            "the host does not report cached tokens: every token counts at the full price",
            "set model.prices.hit to what it bills",
        )
    return Row("cache", "ok", f"reported: {cached:,} of {usage['input_tokens']:,} prompt tokens came from it")


async def _ask(model: Model, given: ModelConfig, messages: list[BaseMessage]) -> AIMessage | _Failed:
    """Asks once; once more where the host's refusal taught how it wants to be asked."""
    bound = model.chat.bind_tools([ADD], max_tokens=_output_tokens(model))
    for attempt in (1, 2):
        try:
            async with asyncio.timeout(CALL_S):
                return await bound.ainvoke(messages)
        except TimeoutError:
            return _Failed("host", f"{model.host} gave no answer in {CALL_S:g} s", "see whether it is loading the model, and try again")
        except ModelCallError as error:
            if error.kind != "empty" or attempt == 2:
                return await _failed(model, given, error)
    raise AssertionError("unreachable")


async def _failed(model: Model, given: ModelConfig, error: ModelCallError) -> _Failed:
    line = told(model, error, 1)
    remedy = line.rpartition(": ")[2]
    if error.kind in ("auth", "quota"):
        return _Failed("key", error.reason, remedy)
    if error.kind in ("network", "rate_limit", "overloaded"):
        return _Failed("host", error.reason, remedy)
    served = await _served(given)
    known = f"it serves {', '.join(served[:5])}{' and more' if len(served) > 5 else ''}" if served else "most addresses end in /v1"
    return _Failed("model", error.reason, f"check model.name and model.base_url: {known}")


async def _served(given: ModelConfig) -> list[str]:
    """What a host says it serves; a look that costs nothing."""
    import httpx

    from research_agent.config import Config

    key = Config.api_key(given)
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=5.0) as client:
            answer = await client.get(f"{given.url}/models", headers=headers)
        return [str(item["id"]) for item in answer.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def _tools_remedy(given: ModelConfig) -> str:
    if given.provider == "vllm":
        return "start vLLM with --enable-auto-tool-choice and the model's --tool-call-parser (kimi_k2, ...)"
    if given.provider == "sglang":
        return "start SGLang with the model's --tool-call-parser (kimi_k2, ...)"
    if given.provider == "llamacpp":
        return "start llama-server with --jinja"
    return "take a model that calls tools"


def _reasoning_remedy(given: ModelConfig) -> str:
    if given.provider in ("vllm", "sglang"):
        return f"start {given.provider} with the model's --reasoning-parser (kimi_k2, deepseek_r1, ...)"
    if given.provider == "llamacpp":
        return "start llama-server with --jinja --reasoning-format deepseek"
    return "ask the host whether it returns reasoning, or take the maker's own"


def _output_tokens(model: Model) -> int:
    return min(model.max_output_tokens, model.least_output_tokens)
