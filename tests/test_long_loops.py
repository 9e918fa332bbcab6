"""Sixty turns of tool calls in each host's dialect, with everything hosts do on the way, and not one refused request."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, message_chunk_to_message
from pydantic import SecretStr
from scripted_runs import config, scripted

from research_agent import Agent
from research_agent.graphs.ports import RETRYABLE, ModelCallError
from research_agent.models.catalog import Row, rows
from research_agent.models.chat import ReasoningChatModel
from research_agent.models.load import Settings, load
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect

TURNS = 60
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The tool {name}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string"},
                    "mode": {"enum": ["fast", "deep"]},
                    "filters": {"type": "array", "items": {"properties": {"field": {"type": "string"}, "value": {}}}},
                },
                "required": ["query"],
            },
        },
    }
    for name in ("web_search", "scrape")
]


class Trouble:
    """A script: every turn is another oddity, each fault once and then the answer."""

    def __init__(self) -> None:
        self.faults = {
            5: Reply(status=429, error={"type": "engine_overloaded_error", "message": "overloaded"}, headers={"Retry-After": "0"}),
            9: Reply(reasoning="Half a thou", stop_after=2, chunk_chars=3),
            13: Reply(status=500, error={"type": "server_error", "message": "oops"}),
            17: Reply(),
            21: Reply(status=503, error="<html><title>503</title></html>"),
            25: Reply(reasoning="A thought that ends in nothing."),
            29: Reply(status=429, error={"type": "rate_limit_reached_error", "message": "try again after 0 seconds"}),
        }

    def __call__(self, request: Request) -> Reply:
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        if fault := self.faults.pop(turn, None):
            return fault
        if turn >= TURNS:
            return Reply(reasoning="Enough.", content="Done.")
        calls = [Call("web_search", {"query": f"query {turn} é 月\u2028"}), Call("scrape", {"query": "x", "mode": "deep"})][: 1 + turn % 2]
        if turn % 7 == 3:
            calls = [Call("web_search", '{"query": "cut o')]
        return Reply(
            reasoning="" if turn % 11 == 6 else f"Thought {turn}.",
            content="I look further." if turn % 5 == 0 else "",
            calls=calls,
            chunk_chars=1 + turn % 9,
            finish_reason="length" if turn % 7 == 3 else "",
        )


async def answered(chat: ReasoningChatModel, messages: list[Any]) -> AIMessage:
    for _ in range(3):
        try:
            whole = None
            async for chunk in chat.astream(messages, tools=TOOLS, tool_choice="auto"):
                whole = chunk if whole is None else whole + chunk
            message = message_chunk_to_message(whole)
            assert isinstance(message, AIMessage)
            return message
        except ModelCallError as error:
            if error.kind not in RETRYABLE:
                raise
    raise AssertionError("three failures in a row")


@pytest.mark.parametrize(
    ("provider", "name", "dialect"),
    [
        ("moonshot", "kimi-k2-thinking", KIMI),
        ("deepseek", "deepseek-flash", DEEPSEEK),
        ("vllm", "moonshotai/Kimi-K2-Thinking", VLLM),
        (
            "vllm",
            "moonshotai/Kimi-K2-Thinking",
            Dialect(reasoning_field="reasoning", call_id="chatcmpl-tool-{n}", call_index=False, repeats_name=True),
        ),
        ("sglang", "moonshotai/Kimi-K2-Thinking", Dialect(call_id="functions.{name}:{n}", known_ids=VLLM.known_ids, usage="both")),
        ("openrouter", "moonshotai/kimi-k2-thinking", Dialect(reasoning_field="reasoning", call_id="{name}:{n}", usage="both")),
        ("cometapi", "kimi-k2-thinking", Dialect(needs_reasoning=KIMI.needs_reasoning, fixed=KIMI.fixed, tool_choice=KIMI.tool_choice)),
        ("ollama", "qwen3:8b", Dialect(reasoning_field="reasoning")),
    ],
    ids=["kimi", "deepseek", "vllm", "older vllm", "sglang", "openrouter", "cometapi", "ollama"],
)
async def test_sixty_turns_without_one_refusal(provider: str, name: str, dialect: Dialect) -> None:
    with ScriptedHost(Trouble(), dialect=dialect) as host:
        settings = Settings(provider=provider, name=name, base_url=host.base_url, api_key=SecretStr("sk-x"), params={"temperature": 0.3})
        chat = load(settings).chat
        assert isinstance(chat, ReasoningChatModel)
        begun = AIMessage(
            "",
            tool_calls=[{"name": "scrape", "args": {"query": "x"}, "id": "toolu_01A"}],
            additional_kwargs={"reasoning_content": "Another model's thought.", "reasoning_field": "reasoning"},
            response_metadata={"model_provider": "anthropic"},
        )
        messages: list[Any] = [SystemMessage("S"), HumanMessage("Q"), begun, ToolMessage("found", tool_call_id="toolu_01A")]
        thoughts = []
        while True:
            message = await answered(chat, messages)
            messages.append(message)
            thoughts.append(message.additional_kwargs.get("reasoning_content", ""))
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            if not calls:
                break
            messages += [ToolMessage("found", tool_call_id=call["id"]) for call in calls]
    assert host.refusals == []
    assert message.content == "Done."
    sent = [m for m in host.requests[-1]["messages"] if m["role"] == "assistant"]
    assert len(sent) == TURNS
    assert [m.get(dialect.reasoning_field) or "" for m in sent] == ["", *thoughts[:-1]]
    assert "Another model's thought." not in json.dumps(host.requests)
    for earlier, later in zip(host.requests, host.requests[1:], strict=False):
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]


HOSTS = {
    "moonshot": KIMI,
    "deepseek": DEEPSEEK,
    "vllm": VLLM,
    "sglang": Dialect(call_id="functions.{name}:{n}", known_ids=VLLM.known_ids, usage="both"),
    "openrouter": Dialect(reasoning_field="reasoning", call_id="{name}:{n}", usage="both"),
    "cometapi": Dialect(needs_reasoning=KIMI.needs_reasoning, fixed=KIMI.fixed, tool_choice=KIMI.tool_choice),
    "ollama": Dialect(reasoning_field="reasoning"),
    "llamacpp": Dialect(),
}
SAMPLED = ("kimi-k2.6", "kimi-k2.7-code", "kimi-k3", "kimi-k3.1-pro")


@pytest.mark.parametrize("row", [row for row in rows() if row.api == "chat"], ids=lambda row: f"{row.provider}-{row.name}")
async def test_every_row_of_the_catalog_in_a_short_loop_on_its_host(row: Row) -> None:
    dialect = HOSTS[row.provider]
    if row.family in SAMPLED and row.provider == "moonshot":
        dialect = replace(dialect, fixed=(("temperature", 1.0), ("top_p", 0.95)), window_tokens=row.window_tokens)

    def script(request: Request) -> Reply:
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        calls = [Call("web_search", {"query": f"{turn}.{n}"}) for n in range(1 + turn % 3)]
        return Reply(reasoning=f"Thought {turn}.", content="Done.") if turn == 6 else Reply(reasoning=f"Thought {turn}.", calls=calls)

    with ScriptedHost(script, dialect=dialect) as host:
        params = {"temperature": 0.3, "top_p": 0.5}
        chat = load(Settings(provider=row.provider, name=row.name, base_url=host.base_url, params=params)).chat
        messages: list[Any] = [SystemMessage("S"), HumanMessage("Q")]
        while not isinstance(messages[-1], AIMessage):
            message = await answered(chat, messages)  # type: ignore[arg-type]
            messages += [message, *(ToolMessage("found", tool_call_id=str(call["id"])) for call in message.tool_calls)]
    assert host.refusals == []
    sent = [m.get(dialect.reasoning_field) for m in host.requests[-1]["messages"] if m["role"] == "assistant"]
    assert sent == [f"Thought {turn}." for turn in range(6)]


@pytest.mark.parametrize(
    ("provider", "name", "dialect", "turns"),
    [
        ("moonshot", "kimi-k2-thinking", KIMI, 60),
        ("deepseek", "deepseek-flash", DEEPSEEK, 24),
        ("vllm", "moonshotai/Kimi-K2-Thinking", VLLM, 24),
    ],
    ids=["kimi", "deepseek", "vllm"],
)
async def test_an_investigation_with_parallel_calls_compactions_and_a_resume_is_never_refused(
    tmp_path: Path, provider: str, name: str, dialect: Dialect, turns: int
) -> None:
    asked = 0

    def investigate(messages: list[dict[str, Any]]) -> Reply:
        nonlocal asked
        asked += 1
        if asked > turns:
            return Reply(reasoning="Enough.", content="Nine.")
        if asked == 2:
            return Reply(calls=[Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})])
        calls = [Call("web_search", {"query": f"Vulpa moons {asked}.{n}"}) for n in range(1 + asked % 3)]
        return Reply(reasoning=f"Thought {asked}. " * 40, content="I look further." if asked % 5 == 0 else "", calls=calls, chunk_chars=400)

    with ScriptedHost(scripted(investigate), dialect=dialect) as host:
        model = {"provider": provider, "name": name, "base_url": host.base_url, "window_tokens": 16_000, "max_output_tokens": 4_000}
        prices = {"miss": 0.6, "hit": 0.15, "output": 2.5}
        given = {"model": {**model, "prices": prices}, "guards": {"loops": False}}
        events: list[dict[str, Any]] = []
        first = await Agent(config(tmp_path, host, **given, limits={"steps": turns})).arun(on_event=events.append)
        result = await Agent(config(tmp_path, host, **given, limits={"steps": 10 * turns})).aresume(first.id, on_event=events.append)
    assert host.refusals == []
    assert first.status == "incomplete"
    assert (result.status, asked) == ("complete", turns + 1)
    assert [event["type"] for event in events].count("compaction") >= turns // 24
    assert not [event for event in events if event["type"] == "retry"]


async def test_a_prompt_over_the_window_says_so() -> None:
    with ScriptedHost([], dialect=KIMI) as host:
        chat = load(Settings(provider="moonshot", name="kimi-k2-thinking", base_url=host.base_url)).chat
        with pytest.raises(ModelCallError) as caught:
            await chat.ainvoke("word " * 220_000)
    assert (caught.value.kind, caught.value.window_tokens) == ("overflow", 262_144)
