"""Tool schemas on each wire: closed everywhere, enforced by the host where that can be said, and never what it would refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pydantic import SecretStr
from tools_of_ours import TOOLS

from research_agent.graphs.ports import ModelCallError
from research_agent.models.load import Settings, load
from research_agent.models.schemas import closed, strict, tool_schema, typed
from research_agent.testing.host import Reply, ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object schema in a schema, however deep."""
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if isinstance(schema.get("properties"), dict) else []
    return own + [found for value in schema.values() for found in objects(value)]


@pytest.mark.parametrize(
    ("provider", "name", "dialect"),
    [
        ("moonshot", "kimi-k2-thinking", KIMI),
        ("deepseek", "deepseek-flash", DEEPSEEK),
        ("vllm", "kimi-k2-thinking", VLLM),
        ("openai", "any", Dialect()),
        ("ollama", "any", Dialect(reasoning_field="reasoning")),
    ],
)
async def test_every_tools_schema_is_closed_on_the_wire(provider: str, name: str, dialect: Dialect) -> None:
    with ScriptedHost([Reply(content="A")], dialect=dialect) as host:
        await load(Settings(provider=provider, name=name, base_url=host.base_url)).chat.bind_tools(TOOLS).ainvoke("Q")
    assert host.refusals == []
    for tool in host.requests[0]["tools"]:
        found = objects(tool["function"]["parameters"])
        assert found
        assert all(schema["additionalProperties"] is False for schema in found)
        assert "strict" not in tool["function"]  # a field that not every host knows


async def test_gpt_enforces_them_and_claude_gets_them_closed() -> None:
    with ScriptedHost([]) as host:
        for provider, name in (("openai", "gpt-5"), ("anthropic", "claude-sonnet-5-5")):
            params = {"use_responses_api": True} if provider == "openai" else {}
            given = load(Settings(provider=provider, name=name, base_url=host.base_url, api_key=SecretStr("sk-x"), params=params))
            with pytest.raises(ModelCallError):
                await given.chat.bind_tools(TOOLS).ainvoke([HumanMessage("Q")])
    gpt, claude = (body for _, body in host.others)
    for tool in gpt["tools"]:
        assert tool["strict"] is True
        assert tool["parameters"]["additionalProperties"] is False
        assert tool["parameters"]["required"] == list(tool["parameters"]["properties"])
        assert not {"default", "minLength", "title"} & set(json.dumps(tool["parameters"]).replace('"', " ").split())
    for tool in claude["tools"]:
        assert tool["input_schema"]["additionalProperties"] is False
    recall = next(tool for tool in gpt["tools"] if tool["name"] == "recall")["parameters"]["properties"]
    assert recall["since_step"]["description"].endswith("Usually 0.")
    assert recall["kind"]["enum"][0] == "any"


def test_what_cannot_be_enforced_is_closed_only() -> None:
    free = {"type": "object", "properties": {"filters": {"type": "object"}}, "required": ["filters"]}
    optional = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}
    open_ = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    for schema in (free, optional, open_, {"type": "object", "properties": {"x": {"oneOf": [{"type": "string"}]}}, "required": ["x"]}):
        assert strict(schema) is None
        formed = tool_schema({"type": "function", "function": {"name": "f", "parameters": schema}}, strict_=True)["function"]
        assert "strict" not in formed
        assert formed["parameters"] == closed(schema)
    assert closed(open_)["additionalProperties"] == {"type": "string"}  # as its maker says


def test_references_and_alternatives_are_closed_and_typed_to_their_ground() -> None:
    inner = {"type": "object", "properties": {"x": {"enum": [1, 2]}}}
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"type": "array", "items": inner}, "c": {"type": "object", "anyOf": [inner]}},
        "$defs": {"A": inner},
    }
    found = typed(closed(schema))
    assert all(part["additionalProperties"] is False for part in objects(found))
    assert found["$defs"]["A"]["properties"]["x"]["type"] == "integer"
    assert "type" not in found["properties"]["c"]
