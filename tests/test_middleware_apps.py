"""The memory in applications as people write them: parallel calls, kills, other models, other middleware, streams, shared archives."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call, wrap_tool_call
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from middleware_agents import ASKED, FILLER, OUTPUT, PRICES, WINDOW, agent_of, check_prompts, fact, is_block, look, script, size

from research_agent.graphs import TraceMemoryMiddleware
from research_agent.graphs.ports import ModelCallError
from research_agent.memory import Archive
from research_agent.testing.scripted import ScriptedModel

WIDE = 3
CONFIG: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 500}


def wide(turns: int) -> Any:
    """Looks at three places a turn, and then answers."""

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        done = max((int(m.tool_call_id.rpartition("-")[2]) for m in messages if isinstance(m, ToolMessage)), default=0)
        if done >= turns * WIDE:
            return AIMessage("Done.")
        calls = [{"name": "look", "args": {"place": n}, "id": f"call-{n}"} for n in range(done + 1, done + 1 + WIDE)]
        return AIMessage("", additional_kwargs={"reasoning_content": f"Three more, after {done}."}, tool_calls=calls)

    return reply


@pytest.mark.parametrize("edge", ["sync", "async"])
async def test_parallel_calls_are_archived_each_under_its_step_and_leave_together(tmp_path: Path, edge: str) -> None:
    chat = ScriptedModel(script=wide(14))
    agent, middleware = agent_of(tmp_path, chat, checkpointer=InMemorySaver())
    result = await agent.ainvoke(ASKED, CONFIG) if edge == "async" else await asyncio.to_thread(agent.invoke, ASKED, CONFIG)
    assert result["messages"][-1].content == "Done."
    assert check_prompts(chat.prompts) >= 2
    read = middleware.archive("t").find(kind="observation")
    assert [(s.step, s.text) for s in read] == [(n, look.invoke({"place": n})) for n in range(1, 14 * WIDE + 1)]
    await middleware.aclose()


@pytest.mark.parametrize("dies_at", [5, 32])
def test_a_kill_between_parallel_results_repeats_none_that_were_kept(tmp_path: Path, dies_at: int) -> None:
    looked: list[int] = []
    dead = True

    @tool("look")
    def dying(place: int) -> str:
        """Look at a place."""
        if dead and place == dies_at:
            time.sleep(0.2)  # the others of its turn are done by then
            raise KeyboardInterrupt
        looked.append(place)
        return str(look.invoke({"place": place}))

    def opened(saver: SqliteSaver) -> tuple[Any, TraceMemoryMiddleware, ScriptedModel]:
        chat = ScriptedModel(script=wide(14))
        middleware = TraceMemoryMiddleware(tmp_path / "memory", window_tokens=WINDOW, max_output_tokens=OUTPUT, prices=PRICES)
        return create_agent(chat, [dying], system_prompt="x", middleware=[middleware], checkpointer=saver), middleware, chat

    with SqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
        agent, middleware, first = opened(saver)
        with pytest.raises(KeyboardInterrupt):
            agent.invoke(ASKED, CONFIG)
        middleware.close()
    dead = False
    with SqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
        agent, middleware, second = opened(saver)
        assert agent.invoke(None, CONFIG)["messages"][-1].content == "Done."
        check_prompts([*first.prompts, *second.prompts])
        read = middleware.archive("t").find(kind="observation")
        assert [(s.step, s.text) for s in read] == [(n, look.invoke({"place": n})) for n in range(1, 14 * WIDE + 1)]
        middleware.close()


@pytest.mark.parametrize("dies", ["before it is archived", "after it is archived"])
def test_a_call_cut_before_its_checkpoint_runs_again_under_its_id_and_is_archived_once(tmp_path: Path, dies: str) -> None:
    acted: list[str] = []
    dead = True

    @tool
    def act(tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Act."""
        acted.append(tool_call_id)
        return f"{FILLER}It is done."

    @wrap_tool_call
    def cut(request: Any, handler: Any) -> Any:
        result = handler(request)
        if dead:
            raise KeyboardInterrupt
        return result

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        call = {"name": "act", "args": {}, "id": "call-1"}
        return AIMessage("Done.") if isinstance(messages[-1], ToolMessage) else AIMessage("", tool_calls=[call])

    def opened(saver: SqliteSaver) -> tuple[Any, TraceMemoryMiddleware]:
        middleware = TraceMemoryMiddleware(tmp_path / "memory")
        both: list[Any] = [middleware, cut] if dies.startswith("before") else [cut, middleware]
        return create_agent(ScriptedModel(script=reply), [act], middleware=both, checkpointer=saver), middleware

    with SqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
        agent, middleware = opened(saver)
        with pytest.raises(KeyboardInterrupt):
            agent.invoke(ASKED, CONFIG)
        middleware.close()
        dead = False
        agent, middleware = opened(saver)
        assert agent.invoke(None, CONFIG)["messages"][-1].content == "Done."
        assert acted == ["call-1", "call-1"]
        assert len(middleware.archive("t").find(kind="observation")) == 1  # type: ignore[union-attr]
        middleware.close()


async def test_conversations_at_once_that_share_an_archive_keep_their_results_apart(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="app")

    def of(offset: int) -> Any:
        @tool("look")
        async def looking(place: int) -> str:
            """Look at a place."""
            await asyncio.sleep(0.01)
            return f"{FILLER * 50}\n\n{fact(place + offset)}\n\n{FILLER * 50}"

        chat = ScriptedModel(script=wide(4))
        middleware = TraceMemoryMiddleware(archive, window_tokens=WINDOW, max_output_tokens=OUTPUT, prices=PRICES)
        return create_agent(chat, [looking], middleware=[middleware]), chat

    agents = [of(1000 * n) for n in range(1, 4)]
    results = await asyncio.gather(*(agent.ainvoke(ASKED, CONFIG) for agent, _ in agents))
    for n, result in enumerate(results, 1):
        shown = [m for m in result["messages"] if isinstance(m, ToolMessage)]
        assert shown
        assert all(fact(1000 * n + int(m.tool_call_id.rpartition("-")[2])) in m.content for m in shown)
    read = archive.find(kind="observation")
    assert len(read) == 3 * 4 * WIDE
    assert len({segment.handle for segment in read}) == len(read)
    await archive.close()


async def test_going_back_in_time_with_equal_call_ids_shows_what_was_read_then(tmp_path: Path) -> None:
    offset = 0

    @tool("look")
    async def looking(place: int) -> str:
        """Look at a place."""
        return f"{FILLER * 50}\n\n{fact(place + offset)}\n\n{FILLER * 50}"

    chat = ScriptedModel(script=wide(3))
    middleware = TraceMemoryMiddleware(tmp_path, window_tokens=WINDOW, max_output_tokens=OUTPUT, prices=PRICES)
    agent = create_agent(chat, [looking], middleware=[middleware], checkpointer=InMemorySaver())
    await agent.ainvoke(ASKED, CONFIG)
    past = [state async for state in agent.aget_state_history(CONFIG) if state.next == ("model",)][-2]
    offset = 5000
    result = await agent.ainvoke(None, {**past.config, "recursion_limit": 500})
    shown = [m.content for m in result["messages"] if isinstance(m, ToolMessage)]
    assert [fact(place + (5000 if place > WIDE else 0)) in text for place, text in enumerate(shown, 1)] == [True] * 9
    read = middleware.archive("t").find(kind="observation")
    assert len(read) == 9 + 6
    assert len({segment.handle for segment in read}) == len(read)
    await middleware.aclose()


async def test_what_one_model_taught_is_not_believed_of_another(tmp_path: Path) -> None:
    saver = InMemorySaver()

    def small(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if size(messages) > 6_000:
            raise ModelCallError("too long", "overflow", window_tokens=8_000)
        return script(12)(messages, kwargs)

    first = ScriptedModel(script=small)
    agent, middleware = agent_of(tmp_path, first, checkpointer=saver)
    await agent.ainvoke(ASKED, CONFIG)
    await middleware.aclose()
    second = ScriptedModel(script=script(40), name="another")
    agent, middleware = agent_of(tmp_path, second, checkpointer=saver)
    await agent.ainvoke({"messages": [("user", "Go on.")]}, CONFIG)
    assert max(map(size, second.prompts)) > 8_000
    await middleware.aclose()


async def test_a_stream_tells_the_answers_and_no_block_of_memory(tmp_path: Path) -> None:
    chat = ScriptedModel(script=script(30))
    agent, middleware = agent_of(tmp_path, chat, checkpointer=InMemorySaver())
    seen: list[BaseMessage] = []
    async for message, _ in agent.astream(ASKED, CONFIG, stream_mode="messages"):
        seen.append(message)
    assert check_prompts(chat.prompts) >= 1
    assert not [m for m in seen if is_block(m) or isinstance(m, (RemoveMessage, HumanMessage))]
    told = [m.tool_call_id for m in seen if isinstance(m, ToolMessage)]
    assert told == [f"call-{n}" for n in range(1, 33)]
    await middleware.aclose()


async def test_blocks_of_text_are_clipped_and_redacted_as_text_is(tmp_path: Path) -> None:
    @tool("look")
    async def looking(place: int) -> list[dict[str, str]]:
        """As servers of tools answer."""
        return [
            {"type": "text", "text": f"{FILLER * 50}\n\n{fact(place)} hunter2hunter2\n\n{FILLER * 50}"},
            {"type": "text", "text": "End."},
        ]

    chat = ScriptedModel(script=script(20))
    settings: dict[str, Any] = {"window_tokens": WINDOW, "max_output_tokens": OUTPUT, "prices": PRICES}
    middleware = TraceMemoryMiddleware(tmp_path, redact=lambda text: text.replace("hunter2hunter2", "[redacted]"), **settings)
    agent = create_agent(chat, [looking], middleware=[middleware], system_prompt="x")
    result = await agent.ainvoke(ASKED, CONFIG)
    assert result["messages"][-1].content == "True"
    for message in (m for prompt in chat.prompts for m in prompt if isinstance(m, ToolMessage) and m.name == "look"):
        assert size([message]) < 1_600
        assert "hunter2" not in str(message.content)
    await middleware.aclose()


async def test_an_error_without_end_does_not_pass_the_window(tmp_path: Path) -> None:
    @tool("look")
    async def looking(place: int) -> str:
        """Look at a place."""
        from langchain_core.tools import ToolException

        raise ToolException(f"Traceback: {FILLER * 1500}")

    looking.handle_tool_error = True
    chat = ScriptedModel(
        script=lambda messages, kwargs: AIMessage("It failed.") if isinstance(messages[-1], ToolMessage) else script()(messages, kwargs)
    )
    agent = create_agent(chat, [looking], middleware=[TraceMemoryMiddleware(tmp_path, window_tokens=WINDOW, max_output_tokens=OUTPUT)])
    result = await agent.ainvoke(ASKED, CONFIG)
    assert result["messages"][-1].content == "It failed."
    assert result["messages"][-2].status == "error"


async def test_messages_that_other_middleware_adds_to_a_request_do_not_become_the_conversation(tmp_path: Path) -> None:
    """A reminder put in front of, or after, each request is not of the state: it is neither archived again and again nor kept."""

    @wrap_model_call
    async def remind(request: Any, handler: Any) -> Any:
        reminder = HumanMessage("Remember: be brief.", id="reminder")
        return await handler(request.override(messages=[reminder, *request.messages]))

    chat = ScriptedModel(script=script(40))
    middleware = TraceMemoryMiddleware(tmp_path, window_tokens=WINDOW, max_output_tokens=OUTPUT, prices=PRICES)
    agent = create_agent(chat, [look], system_prompt="x", middleware=[remind, middleware], checkpointer=InMemorySaver())
    result = await agent.ainvoke(ASKED, CONFIG)
    assert result["messages"][-1].content == "True"
    for prompt in chat.prompts:
        assert sum(message.content == "Remember: be brief." for message in prompt) == 1
        assert size(prompt) <= WINDOW - OUTPUT
    assert not any(message.content == "Remember: be brief." for message in result["messages"])
    read = middleware.archive("t").find(kind="observation")
    assert [(s.step, s.text) for s in read] == [(n, look.invoke({"place": n})) for n in range(1, 41)]
    await middleware.aclose()


async def test_a_message_that_is_deleted_leaves_the_steps_as_they_were(tmp_path: Path) -> None:
    """An application takes turns out of the state, as `RemoveMessage` does."""
    chat = ScriptedModel(script=script(20))
    agent, middleware = agent_of(tmp_path, chat, checkpointer=InMemorySaver())
    await agent.ainvoke(ASKED, CONFIG)
    state = await agent.aget_state(CONFIG)
    early = [m for m in state.values["messages"] if not isinstance(m, HumanMessage)][:2]
    await agent.aupdate_state(CONFIG, {"messages": [RemoveMessage(id=m.id) for m in early]})
    chat.script = script(30)
    await agent.ainvoke({"messages": [("user", "Go on.")]}, CONFIG)
    read = middleware.archive("t").find(kind="observation")
    assert [(s.step, s.text) for s in read if s.tool == "look"][:20] == [(n, look.invoke({"place": n})) for n in range(1, 21)]
    assert [s.step for s in read] == [*range(1, 21), *range(23, 31)]  # two calls between were recalls
    await middleware.aclose()


async def test_rules_among_the_messages_stay_and_tools_that_change_the_state_are_clipped(tmp_path: Path) -> None:
    @tool("look")
    async def looking(place: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Look at a place."""
        return Command(update={"messages": [ToolMessage(look.invoke({"place": place}), tool_call_id=tool_call_id, name="look")]})

    chat = ScriptedModel(script=script(30))
    middleware = TraceMemoryMiddleware(tmp_path, window_tokens=WINDOW, max_output_tokens=OUTPUT, prices=PRICES)
    agent = create_agent(chat, [looking], middleware=[middleware])
    asked = {"messages": [SystemMessage("Be brief."), *ASKED["messages"]]}
    result = await agent.ainvoke(asked, CONFIG)
    assert result["messages"][-1].content == "True"
    assert check_prompts(chat.prompts) >= 1
    assert all(prompt[0].content == "Be brief." for prompt in chat.prompts)
    read = middleware.archive("t").find(kind="observation")
    assert [(s.step, s.text) for s in read] == [(n, look.invoke({"place": n})) for n in range(1, 31)]
    await middleware.aclose()


async def test_it_goes_on_after_a_kill_under_async_too(tmp_path: Path) -> None:
    def dies(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if any(getattr(m, "tool_call_id", "") == "call-25" for m in messages):
            raise RuntimeError("the process dies here")
        return script(40)(messages, kwargs)

    first, second = ScriptedModel(script=dies), ScriptedModel(script=script(40))
    for chat in (first, second):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
            agent, middleware = agent_of(tmp_path / "memory", chat, checkpointer=saver)
            if chat is first:
                with pytest.raises(RuntimeError, match="dies here"):
                    await agent.ainvoke(ASKED, CONFIG)
            else:
                assert (await agent.ainvoke(None, CONFIG))["messages"][-1].content == "True"
            await middleware.aclose()
    assert second.prompts[0] == first.prompts[-1]
    check_prompts([*first.prompts[:-1], *second.prompts])
