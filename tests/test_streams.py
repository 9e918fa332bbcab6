"""Our chat model in anybody's LangGraph graph: thought and answer arrive as standard content blocks, apart, as they are said."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from research_agent.models.load import Settings, load
from research_agent.testing.host import Call, Reply, ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect

SEARCH = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}
REPLY = Reply(reasoning="First, I think about it.", content="Nine moons.", calls=[Call("search", {"q": "moons"})], chunk_chars=5)
THINK = Reply(content="<think>First, I think about it.</think>Nine moons.", calls=REPLY.calls, chunk_chars=5)


@pytest.mark.parametrize(
    ("provider", "name", "dialect", "reply"),
    [
        ("moonshot", "kimi-k2-thinking", KIMI, REPLY),
        ("deepseek", "deepseek-flash", DEEPSEEK, REPLY),
        ("vllm", "kimi-k2-thinking", VLLM, REPLY),
        ("llamacpp", "any", Dialect(), THINK),
    ],
    ids=["kimi", "deepseek", "vllm", "think tags"],
)
async def test_messages_stream_reasoning_and_text_as_blocks_of_their_own(provider: str, name: str, dialect: Dialect, reply: Reply) -> None:
    with ScriptedHost([reply], dialect=dialect) as host:
        chat = load(Settings(provider=provider, name=name, base_url=host.base_url)).chat.bind_tools([SEARCH])

        async def answer(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await chat.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("answer", answer)
        graph.add_edge(START, "answer")
        graph.add_edge("answer", END)
        seen: list[Any] = []
        async for message, _ in graph.compile().astream({"messages": [HumanMessage("Q")]}, stream_mode="messages"):
            assert isinstance(message, AIMessageChunk)
            seen += message.content_blocks
    kinds = [block["type"] for block in seen]
    assert set(kinds) == {"reasoning", "text", "tool_call_chunk"} or set(kinds) == {"reasoning", "text", "tool_call"}
    assert "".join(block["reasoning"] for block in seen if block["type"] == "reasoning") == "First, I think about it."
    assert "".join(block["text"] for block in seen if block["type"] == "text").strip() == "Nine moons."
    assert kinds.index("reasoning") < kinds.index("text")
    assert "think" not in "".join(block.get("text", "") for block in seen)
