"""What all tools have in common: a schema that strict hosts take, and a place in any LangChain application."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from tools_of_ours import TOOLS

from research_agent.graphs.ports import Observation

each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


@each_tool
def test_each_argument_has_a_type_and_a_description(tool: BaseTool) -> None:
    function = convert_to_openai_tool(tool, strict=True)["function"]
    assert function["description"]
    assert function["parameters"]["additionalProperties"] is False
    for name, schema in function["parameters"]["properties"].items():
        assert schema.get("type") in {"string", "integer", "boolean"}, name
        assert schema.get("description"), name


@each_tool
def test_what_the_contract_names_comes_first_and_the_rest_is_optional(tool: BaseTool) -> None:
    named = {"web_search": ["query"], "scrape": ["url"], "python": ["code"], "recall": ["query"], "note": ["claim", "quote", "source"]}
    assert convert_to_openai_tool(tool)["function"]["parameters"]["required"] == named[tool.name]


async def test_they_run_in_a_tool_node() -> None:
    calls = [
        {"name": "web_search", "args": {"query": "tides"}, "id": "1"},
        {"name": "recall", "args": {"query": "tide"}, "id": "2"},
        {"name": "note", "args": {"claim": "c", "quote": "turns twice a day", "source": "S300"}, "id": "3"},
        {"name": "note", "args": {"claim": "c", "quote": "turns thrice a day", "source": "S300"}, "id": "4"},
        {"name": "scrape", "args": {"url": "http://127.0.0.1/"}, "id": "5"},
    ]
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(TOOLS, handle_tool_errors=True))
    graph.set_entry_point("tools")
    state = await graph.compile().ainvoke({"messages": [AIMessage("", tool_calls=calls)]})
    found, recalled, noted, refused, closed = state["messages"][1:]
    assert "about tides" in found.content
    assert isinstance(found.artifact, Observation)
    assert 'handle="S300"' in recalled.content
    assert noted.artifact.finding.quote == "turns twice a day"
    assert (refused.status, closed.status) == ("error", "error")
    assert "The closest passage there is: «the tide turns twice a day»" in refused.content
    assert "loopback" in closed.content
