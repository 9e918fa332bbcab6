"""Claude and GPT by their own interfaces: what holds without a server of theirs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import SecretStr

from research_agent.graphs.calls import usage_of
from research_agent.graphs.ports import ModelCallError
from research_agent.models.load import CannotLoad, Settings, load
from research_agent.models.vendor import ORIGIN, adopted
from research_agent.testing.host import ScriptedHost

VENDORS = [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5")]


def kimi_turn() -> list[Any]:
    call = {"name": "search", "args": {"query": "x"}, "id": "functions.search:0", "type": "tool_call"}
    thought = {"reasoning_content": "private", "reasoning_field": "reasoning_content"}
    said = AIMessage("I search.", tool_calls=[call], additional_kwargs=thought, response_metadata={"model_provider": "moonshot:host:kimi"})
    return [HumanMessage("Q"), said, ToolMessage("found", tool_call_id="functions.search:0")]


def test_another_models_turn_is_told_without_its_thought_and_with_an_id_that_is_taken() -> None:
    question, said, result = adopted(kimi_turn(), "anthropic")
    assert isinstance(said, AIMessage)
    assert isinstance(result, ToolMessage)
    assert said.text == "I search."
    assert "private" not in json.dumps([m.model_dump(mode="json") for m in (question, said, result)])
    assert said.tool_calls[0]["id"] == result.tool_call_id == "functions_search_0"


def test_an_id_that_another_model_gave_twice_is_told_once() -> None:
    """Kimi counts from what it sees; after a compaction that is less."""
    own = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "functions_search_0", "type": "tool_call"}])
    own.response_metadata["model_provider"] = "anthropic"
    turns = [*kimi_turn(), *kimi_turn(), own, ToolMessage("own", tool_call_id="functions_search_0")]
    told = adopted(turns, "anthropic")
    asked = [call["id"] for message in told if isinstance(message, AIMessage) for call in message.tool_calls]
    assert asked == ["functions_search_0_2", "functions_search_0_3", "functions_search_0"]
    assert [message.tool_call_id for message in told if isinstance(message, ToolMessage)] == asked


def test_calls_of_one_turn_that_have_one_id_are_told_apart_and_their_results_with_them() -> None:
    calls = [{"name": "search", "args": {"query": query}, "id": "x", "type": "tool_call"} for query in ("a", "b")]
    turns = [
        HumanMessage("Q"),
        AIMessage("", tool_calls=calls),
        ToolMessage("of a", tool_call_id="x"),
        ToolMessage("of b", tool_call_id="x"),
    ]
    _, said, first, second = adopted(turns, "anthropic")
    assert isinstance(said, AIMessage)
    assert isinstance(first, ToolMessage)
    assert isinstance(second, ToolMessage)
    assert [call["id"] for call in said.tool_calls] == [first.tool_call_id, second.tool_call_id]
    assert first.tool_call_id != second.tool_call_id


def test_a_models_own_turn_is_left_as_it_is() -> None:
    blocks = [{"type": "thinking", "thinking": "T", "signature": "sig"}, {"type": "text", "text": "A"}]
    own = AIMessage(blocks, response_metadata={"model_provider": "anthropic"})
    assert adopted([own], "anthropic") == [own]


@pytest.mark.parametrize(("provider", "name"), VENDORS)
def test_a_thought_told_under_one_key_is_not_shown_under_anothers(provider: str, name: str) -> None:
    """Of another organization, as far as the variable's name tells."""

    def origin(**more: str) -> Any:
        return load(Settings(provider=provider, name=name, **more)).chat.origin  # type: ignore[arg-type, attr-defined]

    usual = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}[provider]
    assert origin() == origin(key=usual) == ""
    other = origin(key="TEAM_KEY")
    blocks = [{"type": "thinking", "thinking": "private", "signature": "sig"}, {"type": "text", "text": "A"}]
    own = AIMessage(blocks, response_metadata={"model_provider": provider}, additional_kwargs={ORIGIN: other})
    assert adopted([own], provider, other) == [own]
    assert adopted([own], provider, "") == adopted([own], provider, origin(key="THEIR_KEY")) == [AIMessage("A")]


@pytest.mark.parametrize(("provider", "name"), VENDORS)
async def test_a_refusal_is_the_same_error_as_everywhere(provider: str, name: str) -> None:
    secret = "sk-very-secret-1234567890"
    with ScriptedHost([], key="another") as host:  # it serves no such path: 404
        params = {"use_responses_api": True} if provider == "openai" else {}
        model = load(Settings(provider=provider, name=name, base_url=host.base_url, api_key=SecretStr(secret), params=params))
        with pytest.raises(ModelCallError) as caught:
            await model.chat.ainvoke("Q")
    assert caught.value.kind == "bad_request"
    with pytest.raises(ModelCallError) as gone:
        await model.chat.ainvoke("Q")
    assert gone.value.kind == "network"
    assert secret not in caught.value.reason + gone.value.reason + repr(model)


def test_gpt_at_another_host_is_spoken_to_by_chat_completions() -> None:
    own, proxied = (load(Settings(provider="openai", name="gpt-5", base_url=url)).chat for url in (None, "http://127.0.0.1:4000/v1"))
    assert type(own).__name__ == "Gpt"
    assert type(proxied).__name__ == "ReasoningChatModel"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_anthropic", None)
    monkeypatch.delitem(sys.modules, "research_agent.models.claude", raising=False)
    with pytest.raises(CannotLoad, match=r"'\.\[anthropic\]'"):
        load(Settings(provider="anthropic", name="claude-sonnet-5-5"))


def test_tokens_written_to_a_cache_cost_what_the_vendor_asks() -> None:
    usage = {
        "input_tokens": 3_000_000,
        "output_tokens": 1_000_000,
        "total_tokens": 4_000_000,
        "input_token_details": {"cache_read": 1_000_000, "cache_creation": 0, "ephemeral_5m_input_tokens": 1_000_000},
    }
    prices = load(Settings(provider="anthropic", name="claude-sonnet-5-5")).prices
    assert usage_of(usage, prices)["usd"] == pytest.approx(2.00 + 2.50 + 0.20 + 10.00)
