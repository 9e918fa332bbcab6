"""The memory as LangChain middleware, over sixty turns of create_agent: what each prompt is, and what can be brought back."""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from middleware_agents import ASKED, FILLER, TURNS, agent_of, check_prompts, fact, is_block, look, script, size

from research_agent.graphs import TraceMemoryMiddleware
from research_agent.graphs.ports import ModelCallError
from research_agent.memory import Archive, estimate_tokens
from research_agent.testing.scripted import ScriptedModel


@pytest.mark.parametrize("edge", ["sync", "async", "sync in a loop"])
async def test_sixty_turns(tmp_path: Path, edge: str) -> None:
    chat = ScriptedModel(script=script())
    agent, middleware = agent_of(tmp_path, chat, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}, "recursion_limit": 500}
    if edge == "async":
        result = await agent.ainvoke(ASKED, config)
    elif edge == "sync":
        import asyncio

        result = await asyncio.to_thread(agent.invoke, ASKED, config)
    else:
        result = agent.invoke(ASKED, config)
    assert result["messages"][-1].content == "True"
    assert len(chat.prompts) == TURNS + 3
    assert 3 <= check_prompts(chat.prompts) <= TURNS // 4
    assert len(result["messages"]) < 40  # the state is as small as the prompt
    archive = middleware.archive("t")
    read = archive.find(kind="observation")
    assert [segment.step for segment in read] == list(range(1, TURNS + 1))
    assert all(segment.text == look.invoke({"place": segment.step}) and segment.trust == "untrusted" for segment in read)
    assert len(archive.find(kind="reasoning")) == TURNS
    assert len(archive.find(kind="call")) == TURNS + 2
    await middleware.aclose()


async def test_a_result_is_shown_as_the_passages_that_serve(tmp_path: Path) -> None:
    chat = ScriptedModel(script=script(3))
    agent, middleware = agent_of(tmp_path, chat)
    result = await agent.ainvoke(ASKED)
    [first, *_] = [m for m in result["messages"] if isinstance(m, ToolMessage)]
    assert fact(1) in first.content
    assert re.match(r'<document handle="S100" title="look [^>]*more_tokens="\d+" trust="untrusted">', first.content)
    assert estimate_tokens(first.content) < 1_400
    await middleware.aclose()
    chat = ScriptedModel(script=script(3))
    agent, middleware = agent_of(tmp_path / "whole", chat, settings={"clip_tokens": None})
    result = await agent.ainvoke(ASKED)
    assert next(m for m in result["messages"] if isinstance(m, ToolMessage)).content == look.invoke({"place": 1})
    await middleware.aclose()


def test_it_goes_on_in_another_process_where_the_checkpoint_is(tmp_path: Path) -> None:
    config = {"configurable": {"thread_id": "t"}, "recursion_limit": 500}

    def dies(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if any(getattr(m, "tool_call_id", "") == "call-30" for m in messages):
            raise RuntimeError("the process dies here")
        return script()(messages, kwargs)

    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.sqlite")) as saver:
        first = ScriptedModel(script=dies)
        agent, middleware = agent_of(tmp_path / "memory", first, checkpointer=saver)
        with pytest.raises(RuntimeError, match="dies here"):
            agent.invoke(ASKED, config)
        middleware.close()
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.sqlite")) as saver:
        second = ScriptedModel(script=script())
        agent, middleware = agent_of(tmp_path / "memory", second, checkpointer=saver)
        result = agent.invoke(None, config)
        assert result["messages"][-1].content == "True"
        assert second.prompts[0] == first.prompts[-1]  # the very prompt that was not answered
        check_prompts([*first.prompts[:-1], *second.prompts])
        assert len(middleware.archive("t").find(kind="observation")) == TURNS
        middleware.close()


async def test_a_conversation_keeps_its_first_and_its_last_question(tmp_path: Path) -> None:
    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage(f"I looked: {len(messages)}.")
        number = int(re.findall(r"\d+", [m for m in messages if isinstance(m, HumanMessage) and not is_block(m)][-1].content)[-1])
        return AIMessage("", tool_calls=[{"name": "look", "args": {"place": number}, "id": f"call-{number}"}])

    chat = ScriptedModel(script=reply)
    agent, middleware = agent_of(tmp_path, chat, checkpointer=InMemorySaver())
    for number in range(1, 31):
        question = "What of the lighthouses?" if number == 1 else f"And place {number}?"
        chat.script = reply if number > 1 else lambda messages, kwargs: AIMessage("Which of them?")
        await agent.ainvoke({"messages": [("user", question)]}, {"configurable": {"thread_id": "t"}})
        said = [m.content for m in chat.prompts[-1] if isinstance(m, HumanMessage) and not is_block(m)]
        assert (said[0], said[-1]) == ("What of the lighthouses?", question)
    assert check_prompts(chat.prompts) >= 2
    said = {segment.text for segment in middleware.archive("t").find(kind="plan")}
    assert {f"And place {number}?" for number in range(2, 31)} <= said
    await middleware.aclose()


async def test_threads_have_memories_of_their_own_and_an_archive_given_is_shared(tmp_path: Path) -> None:
    async def runs(memory: Path | Archive) -> list[int]:
        agent, middleware = agent_of(memory, ScriptedModel(script=script(3)), checkpointer=InMemorySaver())
        for thread in ("a", "b"):
            await agent.ainvoke(ASKED, {"configurable": {"thread_id": thread}})
        counts = [len(middleware.archive(thread).find(kind="observation")) for thread in ("a", "b")]
        await middleware.aclose()
        return counts

    assert await runs(tmp_path / "each") == [3, 3]
    archive = Archive.open(tmp_path / "one", run="app")
    assert await runs(archive) == [6, 6]
    assert len({segment.handle for segment in archive.find(kind="observation")}) == 6
    await archive.close()


class Refused(Exception):
    """As the SDKs of OpenAI and Anthropic raise it."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


@pytest.mark.parametrize(
    "error",
    [
        ModelCallError("too long", "overflow", window_tokens=9_000),
        ModelCallError("too long", "overflow"),
        ContextOverflowError("x"),
        Refused("Error code: 400 - This model's maximum context length is 9000 tokens. Your messages resulted in 10000 tokens.", 400),
        Refused("Error code: 400 - Prompt exceeds max length", 400),
    ],
)
async def test_an_overflow_teaches_the_window(tmp_path: Path, error: Exception) -> None:
    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if size(messages) > 7_500:
            raise error
        return script(30)(messages, kwargs)

    chat = ScriptedModel(script=reply)
    agent, middleware = agent_of(tmp_path, chat)
    result = await agent.ainvoke(ASKED, {"recursion_limit": 500})
    assert result["messages"][-1].content == "True"
    assert sum(size(prompt) > 7_500 for prompt in chat.prompts) <= 3
    await middleware.aclose()


@pytest.mark.parametrize(
    "error",
    [
        ModelCallError("the key was refused", "auth"),
        Refused("the key was refused", 401),
        Refused("the key was refused: Token limit exceeded: 20000 tokens per minute", 400),
        ValueError("the key was refused in a context window"),
    ],
)
async def test_another_failure_of_the_model_is_the_applications(tmp_path: Path, error: Exception) -> None:
    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        raise error

    agent, middleware = agent_of(tmp_path, ScriptedModel(script=reply))
    with pytest.raises(type(error), match="key was refused"):
        await agent.ainvoke(ASKED)
    with pytest.raises(type(error), match="key was refused"):
        await asyncio.to_thread(agent.invoke, ASKED)
    await middleware.aclose()


async def test_what_cannot_fit_is_told_and_not_sent(tmp_path: Path) -> None:
    chat = ScriptedModel(script=script())
    agent, middleware = agent_of(tmp_path, chat)
    with pytest.raises(ModelCallError, match="over the"):
        await agent.ainvoke({"messages": [("user", FILLER * 3000)]})
    assert chat.prompts == []
    await middleware.aclose()


async def test_no_secret_is_archived_or_shown(tmp_path: Path) -> None:
    @tool
    def peek() -> str:
        """Peek."""
        return "the key is hunter2hunter2, and that is that"

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("done")
        thought = {"reasoning_content": "hunter2hunter2 it is"}
        return AIMessage("", additional_kwargs=thought, tool_calls=[{"name": "peek", "args": {}, "id": "1"}])

    middleware = TraceMemoryMiddleware(tmp_path, redact=lambda text: text.replace("hunter2hunter2", "[redacted]"))
    agent = create_agent(ScriptedModel(script=reply), [peek], middleware=[middleware])
    result = await agent.ainvoke({"messages": [("user", "Peek.")]})
    assert result["messages"][-2].content == "the key is [redacted], and that is that"
    await middleware.aclose()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_without_langchain_one_line_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['langchain'] = None\n"
        "import research_agent.graphs\n"
        "try:\n    from research_agent.graphs import TraceMemoryMiddleware\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "TraceMemoryMiddleware needs the extra: pip install '.[middleware]'"


def test_the_example_recalls_what_left_its_window(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).resolve().parents[1] / "examples" / "agent_with_memory.py"
    runpy.run_path(str(path), run_name="__main__")
    told = capsys.readouterr().out
    assert re.fullmatch(r"62 prompts, \d\d messages in the state at the end: In 1903 the mill at Orrin ground 567 sacks\n", told)
