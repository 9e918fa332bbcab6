"""Our chat model in anybody's LangGraph graph: thought and answer arrive as standard content blocks, apart, as they are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from scripted_runs import config, scripted

from research_agent import Agent, build_research_graph
from research_agent.graphs.ports import Context
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


class Ticket(TypedDict, total=False):
    question: str


async def test_the_investigation_inside_another_graph_streams_its_thoughts_apart_from_its_answers(tmp_path: Path) -> None:
    replies = iter([Reply(reasoning="I look for moons.", calls=[Call("web_search", {"query": "moons"})], chunk_chars=4)])

    def investigate(_: list[dict[str, Any]]) -> Reply:
        return next(replies, Reply(reasoning="I have it.", content="Nine moons.", chunk_chars=4))

    outer = StateGraph(Ticket, context_schema=Context)
    outer.add_node("research", build_research_graph())
    outer.add_edge(START, "research")
    outer.add_edge("research", END)
    said: dict[str, str] = {"reasoning": "", "text": "", "thought": "", "answer": ""}
    with ScriptedHost(scripted(investigate), dialect=KIMI) as host:
        model = {**config(tmp_path, host).public()["model"], "provider": "moonshot", "name": "kimi-k2-thinking"}
        async with Agent(config(tmp_path, host, model=model)).embedded("How many moons has Vulpa?") as research:
            streamed = outer.compile().astream(
                {"question": "How many moons has Vulpa?"}, context=research.context, stream_mode=["messages", "custom"], subgraphs=True
            )
            async for _, mode, part in streamed:
                if mode == "custom" and part.get("role") == "investigator" and part["type"] in ("thought", "text"):
                    said["thought" if part["type"] == "thought" else "answer"] += part["text"]
                elif mode == "messages" and part[1]["langgraph_node"] == "investigate":
                    for block in part[0].content_blocks:
                        if block["type"] in ("reasoning", "text"):
                            said[block["type"]] += block[block["type"]]
    assert said["reasoning"] == said["thought"] == "I look for moons.I have it."
    assert said["text"] == said["answer"] == "Nine moons."
