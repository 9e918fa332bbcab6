"""Claude and GPT through whole investigations on hosts that want every signed block and every encrypted item back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage, messages_from_dict
from pydantic import SecretStr
from scripted_runs import config, scripted

from research_agent import Agent
from research_agent.graphs.ports import ModelCallError
from research_agent.graphs.window import body_of
from research_agent.models.load import Settings, load
from research_agent.testing.host import Call, Reply, Request
from research_agent.testing.vendors import VendorHost

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude-sonnet-4-5' is deprecated:DeprecationWarning")  # the SDK's own

TURNS = 18
VENDORS: list[tuple[Literal["anthropic", "openai"], str, dict[str, Any]]] = [
    ("anthropic", "claude-sonnet-4-5", {"thinking": {"type": "enabled", "budget_tokens": 2_000}}),
    ("anthropic", "claude-sonnet-5-5", {}),
    ("openai", "gpt-5", {"use_responses_api": True}),
]
LOOK = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
}
THOUGHT = Reply(reasoning="First, I think about it.", content="Nine moons.", chunk_chars=5)


def rules_of(request: Request) -> str:
    said = request.get("system") or request["input"][0]["content"]
    return said if isinstance(said, str) else str(said[0]["text"])


@pytest.mark.parametrize(("maker", "name", "params"), VENDORS, ids=[name for _, name, _ in VENDORS])
async def test_an_investigation_with_compactions_and_a_resume_is_never_refused(
    tmp_path: Path, maker: Literal["anthropic", "openai"], name: str, params: dict[str, Any]
) -> None:
    asked = 0

    def investigate(_: list[dict[str, Any]]) -> Reply:
        nonlocal asked
        asked += 1
        if asked > TURNS:
            return Reply(reasoning="Enough.", content="Nine.")
        if asked == 2:
            return Reply(calls=[Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})])
        calls = [Call("web_search", {"query": f"Vulpa moons {asked}.{n} é月"}) for n in range(1 + asked % 3)]
        return Reply(reasoning=f"Thought {asked}. " * 150, content="I look." if asked % 5 == 0 else "", calls=calls, chunk_chars=300)

    play = scripted(investigate)

    def script(request: Request) -> Reply:
        return play({"messages": [{"role": "system", "content": rules_of(request)}]})

    with VendorHost(script, maker=maker) as host:
        model = {"provider": maker, "name": name, "base_url": host.base_url, "window_tokens": 16_000, "max_output_tokens": 5_000}
        prices = {"miss": 0.6, "hit": 0.15, "output": 2.5}
        given: dict[str, Any] = {"model": {**model, "prices": prices, "params": params}, "guards": {"loops": False}}
        events: list[dict[str, Any]] = []
        first = await Agent(config(tmp_path, host, **given, limits={"steps": TURNS})).arun(on_event=events.append)  # type: ignore[arg-type]
        second = await Agent(config(tmp_path, host, **given, limits={"steps": 10 * TURNS})).aresume(first.id, on_event=events.append)  # type: ignore[arg-type]
    assert host.refusals == []
    assert (first.status, second.status) == ("incomplete", "complete"), (first.reason, second.reason)
    assert "compaction" in [event["type"] for event in events]
    sent = json.dumps(host.requests[-3])
    assert "signed" in sent or "encrypted" in sent


@pytest.mark.parametrize(("maker", "name", "params"), VENDORS, ids=[name for _, name, _ in VENDORS])
async def test_a_thought_signed_at_one_host_is_kept_from_another_of_the_same_maker(
    maker: Literal["anthropic", "openai"], name: str, params: dict[str, Any]
) -> None:
    """Each refuses what the other signed or encrypted, and wants its own back."""
    thinks = Reply(reasoning="A private thought.", calls=[Call("look", {"place": "x"})])

    def loaded(host: VendorHost) -> Any:
        chat = load(Settings(provider=maker, name=name, base_url=host.base_url, api_key=SecretStr("sk-1234567890"), params=params)).chat
        return chat.bind_tools([LOOK])

    with VendorHost(lambda _: thinks, maker=maker) as one, VendorHost(lambda _: THOUGHT, maker=maker) as other:
        first, history = loaded(one), [HumanMessage("Q")]
        said = load_body(body_of(await first.ainvoke(history)))
        history += [said, ToolMessage("found", tool_call_id=said.tool_calls[0]["id"])]
        await loaded(other).ainvoke(history)
        await first.ainvoke(history)
    assert (one.refusals, other.refusals) == ([], [])
    assert "private" not in json.dumps(other.requests)
    assert ("A private thought." in json.dumps(one.requests[-1])) or "encrypted_content" in json.dumps(one.requests[-1]["input"])


def load_body(body: str) -> AIMessage:
    """As a checkpoint has it."""
    [message] = messages_from_dict([json.loads(body)])
    assert isinstance(message, AIMessage)
    return message


@pytest.mark.parametrize("usage_at_end", [True, False], ids=["at its end", "at its start"])
async def test_claudes_prompt_is_counted_where_the_host_counts_it(usage_at_end: bool) -> None:
    usage = {"prompt_tokens": 5_000, "cached_tokens": 3_000, "completion_tokens": 70}
    reply = Reply(reasoning=THOUGHT.reasoning, content=THOUGHT.content, usage=usage)
    with VendorHost(lambda _: reply, maker="anthropic", usage_at_end=usage_at_end) as host:
        chat = load(Settings(provider="anthropic", name="claude-sonnet-4-5", base_url=host.base_url)).chat
        streamed: Any = None
        async for chunk in chat.astream("Q"):
            streamed = chunk if streamed is None else streamed + chunk
    counted = streamed.usage_metadata
    assert (counted["input_tokens"], counted["output_tokens"], counted["total_tokens"]) == (5_000, 70, 5_070)
    assert counted["input_token_details"]["cache_read"] == 3_000
    assert "usage_at_start" not in streamed.response_metadata


@pytest.mark.parametrize(("maker", "name", "params"), VENDORS, ids=[name for _, name, _ in VENDORS])
async def test_thought_and_answer_stream_as_standard_blocks(
    maker: Literal["anthropic", "openai"], name: str, params: dict[str, Any]
) -> None:
    with VendorHost(lambda _: THOUGHT, maker=maker) as host:
        chat = load(Settings(provider=maker, name=name, base_url=host.base_url, params=params)).chat
        blocks: list[Any] = []
        async for chunk in chat.astream("Q"):
            assert isinstance(chunk, AIMessageChunk)
            blocks += chunk.content_blocks
    said = {kind: "".join(block.get(kind, "") for block in blocks if block["type"] == kind) for kind in ("reasoning", "text")}
    assert said == {"reasoning": THOUGHT.reasoning, "text": THOUGHT.content}


@pytest.mark.parametrize("maker", ["anthropic", "openai"])
async def test_the_host_refuses_a_thought_that_was_touched(maker: Literal["anthropic", "openai"]) -> None:
    """What the tests above rest on."""
    name, params = next((name, params) for made, name, params in VENDORS if made == maker)
    reply = Reply(reasoning="I search.", calls=[Call("search", {"q": "x"})])
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}
    with VendorHost(lambda _: reply, maker=maker) as host:
        settings = Settings(provider=maker, name=name, base_url=host.base_url, api_key=SecretStr("sk-x"), params=params)
        chat = load(settings).chat.bind_tools([tool])
        first = await chat.ainvoke("Q")
        assert isinstance(first, AIMessage)
        result = ToolMessage("found", tool_call_id=str(first.tool_calls[0]["id"]))
        await chat.ainvoke([HumanMessage("Q"), first, result])
        assert host.refusals == []
        touched = json.loads(json.dumps(first.content).replace("signed 1", "forged").replace("encrypted 1", "forged"))
        with pytest.raises(ModelCallError):
            await chat.ainvoke([HumanMessage("Q"), first.model_copy(update={"content": touched}), result])
    assert len(host.refusals) == 1
