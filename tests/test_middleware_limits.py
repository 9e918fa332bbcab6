"""The middleware where much comes at once: turns larger than the window, many conversations in one archive, addresses that are none."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from middleware_agents import ASKED, FILLER, agent_of, check_prompts, fact, look, size

from research_agent.graphs import TraceMemoryMiddleware
from research_agent.graphs.ports import ModelCallError
from research_agent.memory import Archive, Segment
from research_agent.testing.scripted import ScriptedModel

CONFIG: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 500}


def turns_of(*calls: int) -> Any:
    """So many places looked at in each turn, and then an answer."""

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        places = [int(m.tool_call_id.rpartition("-")[2]) for m in messages if isinstance(m, ToolMessage)]
        done = max(places, default=0)
        ends = [sum(calls[: n + 1]) for n in range(len(calls))]
        end = next((end for end in ends if end > done), None)
        if end is None:
            return AIMessage("Done.")
        asked = [{"name": "look", "args": {"place": n}, "id": f"call-{n}"} for n in range(done + 1, end + 1)]
        return AIMessage("", additional_kwargs={"reasoning_content": f"The lamps after {done}."}, tool_calls=asked)

    return reply


def handle_of(message: BaseMessage) -> str:
    found = re.search(r'handle="(S\d+)"', str(message.content))
    assert found
    return found[1]


@pytest.mark.parametrize(("calls", "window", "clip_tokens"), [(16, 16_000, 1_200), (5, 8_000, None)])
def test_a_turn_larger_than_the_window_is_cut_and_the_thread_goes_on(
    tmp_path: Path, calls: int, window: int, clip_tokens: int | None
) -> None:
    settings = {"window_tokens": window, "max_output_tokens": 1_000, "clip_tokens": clip_tokens}
    with SqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
        chat = ScriptedModel(script=turns_of(calls))
        agent, middleware = agent_of(tmp_path / "memory", chat, settings=settings, checkpointer=saver)
        shown = [m for m in agent.invoke(ASKED, CONFIG)["messages"] if isinstance(m, ToolMessage)]
        archive = middleware.archive("t")
        assert len(shown) == calls
        for n, message in enumerate(shown, 1):
            assert message.content == next(m for m in chat.prompts[-1] if m.id == message.id).content  # what was sent is what is kept
            assert archive.get(handle_of(message)).text == look.invoke({"place": n})
        assert sum(fact(n) in m.content for n, m in enumerate(shown, 1)) == calls
        middleware.close()
        chat.script = turns_of(calls, 1)
        agent, middleware = agent_of(tmp_path / "memory", chat, settings={**settings, "clip_tokens": 300}, checkpointer=saver)
        result = agent.invoke({"messages": [("user", "Go on.")]}, CONFIG)
        assert result["messages"][-1].content == "Done."
        check_sizes(chat.prompts, window - 1_000)
        middleware.close()


def check_sizes(prompts: list[list[BaseMessage]], most: int) -> None:
    for prompt in prompts:
        check_prompts([prompt], most, 0)


async def test_a_turn_that_was_cut_stays_as_it_is_until_the_next_compaction(tmp_path: Path) -> None:
    settings = {"window_tokens": 8_000, "max_output_tokens": 1_000, "clip_tokens": None}
    few = ScriptedModel(script=turns_of(5, 1, 1))

    @tool("look")
    async def looking(place: int) -> str:
        """Look at a place."""
        return str(look.invoke({"place": place})) if place <= 5 else fact(place)

    middleware = TraceMemoryMiddleware(tmp_path, **settings)  # type: ignore[arg-type]
    agent = create_agent(few, [looking], middleware=[middleware], system_prompt="x", checkpointer=InMemorySaver())
    await agent.ainvoke(ASKED, CONFIG)
    assert all(after[: len(before)] == before for before, after in pairwise(few.prompts[1:]))
    assert len(few.prompts) == 4
    await middleware.aclose()


async def test_a_turn_too_large_for_the_window_that_an_overflow_taught_is_cut(tmp_path: Path) -> None:
    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if size(messages) > 5_000:
            raise ModelCallError("too long", "overflow", window_tokens=6_000)
        return turns_of(4)(messages, kwargs)  # type: ignore[no-any-return]

    chat = ScriptedModel(script=reply)
    agent, middleware = agent_of(tmp_path, chat, settings={"clip_tokens": None, "max_output_tokens": 500})
    result = await agent.ainvoke(ASKED, CONFIG)
    assert [m.type for m in result["messages"]] == ["human", "ai", *["tool"] * 4, "ai"]
    await middleware.aclose()


async def test_a_turn_that_cannot_be_cut_leaves_and_the_thread_goes_on(tmp_path: Path) -> None:
    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        return AIMessage("Done.") if len(chat.prompts) > 1 else turns_of(60)(messages, kwargs)

    chat = ScriptedModel(script=reply)
    settings = {"window_tokens": 4_000, "max_output_tokens": 500}
    agent, middleware = agent_of(tmp_path, chat, settings=settings, checkpointer=InMemorySaver())
    result = await agent.ainvoke(ASKED, CONFIG)
    assert [m.type for m in result["messages"]] == ["human", "human", "ai"]
    check_sizes(chat.prompts, 3_500)
    assert len(middleware.archive("t").find(kind="observation")) == 60
    await middleware.aclose()


async def test_blocks_in_a_turn_that_is_too_large_are_cut_to_their_text(tmp_path: Path) -> None:
    @tool("look")
    async def looking(place: int) -> list[dict[str, Any]]:
        """Look at a place."""
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 30_000}}
        return [{"type": "text", "text": f"{FILLER}{fact(place)}"}, picture]

    chat = ScriptedModel(script=turns_of(5))
    middleware = TraceMemoryMiddleware(tmp_path, window_tokens=8_000, max_output_tokens=1_000)
    agent = create_agent(chat, [looking], system_prompt="x", middleware=[middleware])
    result = await agent.ainvoke(ASKED, CONFIG)
    shown = [m for m in result["messages"] if isinstance(m, ToolMessage)]
    assert [fact(n) in str(m.content) and "AAAA" not in str(m.content) for n, m in enumerate(shown, 1)] == [True] * 5
    await middleware.aclose()


async def test_a_picture_counts_what_it_costs_and_not_its_bytes(tmp_path: Path) -> None:
    picture = {"type": "image", "base64": "iVBORw0K" * 40_000, "mime_type": "image/png"}

    @tool("look")
    async def looking(place: int) -> list[dict[str, Any]]:
        """Look at a place."""
        return [{"type": "text", "text": fact(place)}, picture]

    chat = ScriptedModel(script=turns_of(1, 1, 1))
    middleware = TraceMemoryMiddleware(tmp_path, window_tokens=16_000, max_output_tokens=1_000)
    agent = create_agent(chat, [looking], middleware=[middleware])
    await agent.ainvoke({"messages": [HumanMessage([{"type": "text", "text": "Which lighthouse is this?"}, picture])]}, CONFIG)
    assert [sum(str(m.content).count("'image'") for m in prompt) for prompt in chat.prompts] == [1, 2, 3, 4]
    await middleware.aclose()


async def test_more_conversations_than_a_step_has_handles_share_an_archive(tmp_path: Path) -> None:
    @tool
    async def fetch(q: str) -> str:
        """Fetch."""
        await asyncio.sleep(0.01)
        return f"page of {q}"

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("Done.")
        return AIMessage("", tool_calls=[{"name": "fetch", "args": {"q": str(messages[-1].content)}, "id": "c"}])

    archive = Archive.open(tmp_path, run="app")
    agent = create_agent(ScriptedModel(script=reply), [fetch], middleware=[TraceMemoryMiddleware(archive)])
    asked = (agent.ainvoke({"messages": [HumanMessage(f"q{n}")]}, {"configurable": {"thread_id": f"t{n}"}}) for n in range(120))
    results = await asyncio.gather(*asked)
    assert all(result["messages"][-1].content == "Done." for result in results)
    read = archive.find(kind="observation")
    assert {segment.text for segment in read} == {f"page of q{n}" for n in range(120)}
    assert len({segment.handle for segment in read}) == 120
    assert all(archive.get(segment.handle) == segment for segment in read)
    for segment in read:  # asked again, as after a kill, it is where it was
        assert archive.free_place(1, segment.thread, segment.text) == (segment.step, segment.ordinal)
    await archive.close()


@pytest.mark.parametrize("at_once", [1, 50])
async def test_conversations_with_a_folder_each_do_not_all_stay_open(tmp_path: Path, at_once: int) -> None:
    there = asyncio.Barrier(at_once)

    @tool
    async def fetch(q: str) -> str:
        """Fetch."""
        await there.wait()
        return f"page of {q}"

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("Done.")
        return AIMessage("", tool_calls=[{"name": "fetch", "args": {"q": str(messages[-1].content)}, "id": f"c{len(messages)}"}])

    middleware = TraceMemoryMiddleware(tmp_path)
    agent = create_agent(ScriptedModel(script=reply), [fetch], middleware=[middleware], checkpointer=InMemorySaver())
    threads: list[Any] = [{"configurable": {"thread_id": f"t{n}"}} for n in range(50)]
    for first in range(0, 50, at_once):
        some = range(first, first + at_once)
        results = await asyncio.gather(*(agent.ainvoke({"messages": [HumanMessage(f"q{n}")]}, threads[n]) for n in some))
        assert all(result["messages"][-1].content == "Done." for result in results)
    there = asyncio.Barrier(1)
    assert sum(middleware.archive(f"t{n}") is not None for n in range(50)) <= 32
    for n in (0, 49):
        await agent.ainvoke({"messages": [HumanMessage("more")]}, threads[n])
        archive = middleware.archive(f"t{n}")
        assert archive
        assert [segment.text for segment in archive.find(kind="observation")] == [f"page of q{n}", "page of more"]
    await middleware.aclose()


async def test_a_place_is_kept_for_who_asked_but_not_for_ever(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="app")
    assert archive.free_place(1, "waiting", "text") == (1, 0)
    for some in range(11):
        made = []
        for n in range(100 * some, 100 * some + 100):
            step, ordinal = archive.free_place(2, "busy", f"text {n}")
            told = Segment(run="app", thread="busy", step=step, kind="observation", ordinal=ordinal, text=f"text {n}", trust="untrusted")
            made.append(told)
        await archive.archive(made)
    assert archive.free_place(1, "another", "text") == (1, 1)  # whatever the others archived meanwhile
    for n in range(1_100):
        archive.free_place(50, f"never archived {n}", "text")
    assert archive.free_place(1, "another", "other text") == (1, 0)
    await archive.close()


async def test_recall_leaves_out_what_stands_in_its_own_conversation_and_not_in_anothers(tmp_path: Path) -> None:
    @tool
    async def fetch(q: str) -> str:
        """Fetch."""
        return f"the harbour secret of {q} is {q * 3}"

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        name = next(str(m.content) for m in messages if isinstance(m, HumanMessage))
        brought = sum(isinstance(m, ToolMessage) for m in messages)
        calls: list[dict[str, Any]] = [
            {"name": "fetch", "args": {"q": name}, "id": "c"},
            {"name": "recall", "args": {"query": "harbour secret", "kind": "observation"}, "id": "d"},
        ]
        return AIMessage("", tool_calls=[calls[brought]]) if brought < 2 else AIMessage("Done.")

    archive = Archive.open(tmp_path, run="app")
    agent = create_agent(
        ScriptedModel(script=reply),
        [fetch],
        middleware=[TraceMemoryMiddleware(archive)],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    threads: dict[str, Any] = {name: {"configurable": {"thread_id": name}} for name in ("alice", "bob")}
    for name, config in threads.items():
        await agent.ainvoke({"messages": [HumanMessage(name)]}, config)
        await agent.ainvoke(None, config)  # it fetched, and is about to recall
    for name, other in (("alice", "bob"), ("bob", "alice")):
        result = await agent.ainvoke(None, threads[name])
        brought = next(m.content for m in result["messages"] if isinstance(m, ToolMessage) and m.name == "recall")
        assert other * 3 in brought
        assert name * 3 not in brought
    await archive.close()


async def test_runs_without_a_thread_leave_out_each_what_stands_in_its_own_prompt(tmp_path: Path) -> None:
    both, archive = asyncio.Barrier(2), Archive.open(tmp_path, run="app")

    @tool
    async def fetch(q: str) -> str:
        """Fetch."""
        return f"the harbour secret of {q} is {q * 3}"

    @wrap_tool_call
    async def together(request: Any, handler: Any) -> Any:
        if request.tool_call["name"] == "recall":
            await both.wait()
        return await handler(request)

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        name, brought = str(messages[0].content), sum(isinstance(m, ToolMessage) for m in messages)
        calls: list[dict[str, Any]] = [
            {"name": "fetch", "args": {"q": name}, "id": "c"},
            {"name": "recall", "args": {"query": "harbour secret", "kind": "observation"}, "id": "d"},
        ]
        return AIMessage("", tool_calls=[calls[brought]]) if brought < 2 else AIMessage("Done.")

    agent = create_agent(ScriptedModel(script=reply), [fetch], middleware=[together, TraceMemoryMiddleware(archive)])
    names = ("alice", "bob")
    results = await asyncio.gather(*(agent.ainvoke({"messages": [HumanMessage(name)]}) for name in names))
    for name, other, result in zip(names, reversed(names), results, strict=True):
        brought = next(m.content for m in result["messages"] if isinstance(m, ToolMessage) and m.name == "recall")
        assert other * 3 in brought
        assert name * 3 not in brought
    await archive.close()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://[docs", ""),
        ("https://key@wiki.example/x", ""),
        ("https://wiki.example/x", "https://wiki.example/x"),
    ],
)
async def test_an_address_that_cannot_be_taken_apart_is_not_kept(tmp_path: Path, given: str, kept: str) -> None:
    @tool
    async def fetch(url: str) -> str:
        """Fetch."""
        return "The harbour of the wiki has four piers."

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("Done.")
        return AIMessage("", tool_calls=[{"name": "fetch", "args": {"url": given}, "id": "c"}])

    middleware = TraceMemoryMiddleware(tmp_path, redact=lambda text: text.replace("key@", "[redacted]@"))
    agent = create_agent(ScriptedModel(script=reply), [fetch], middleware=[middleware])
    await agent.ainvoke({"messages": [("user", "Piers?")]}, CONFIG)
    archive = middleware.archive("t")
    assert archive is not None
    [read] = archive.find(kind="observation")
    assert read.url == kept
    assert await archive.recall("piers in wiki.example", budget_tokens=500, kinds=("observation",))
    await middleware.aclose()


@pytest.mark.parametrize(("window", "output"), [(0, 100), (-5, 100), (8_000, 8_000), (None, 0)])
def test_a_window_that_its_output_fills_is_refused_at_once(tmp_path: Path, window: int | None, output: int) -> None:
    with pytest.raises(ValueError, match=rf"window_tokens={window}, max_output_tokens={output}: allowed are"):
        TraceMemoryMiddleware(tmp_path, window_tokens=window, max_output_tokens=output)
    assert list(tmp_path.iterdir()) == []
