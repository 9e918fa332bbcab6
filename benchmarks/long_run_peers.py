"""Who runs beside research-agent in the long run, each as its documentation starts it: the same reader, the same pages, the same tools.

Their tools bring the whole page, as theirs do. One that offers a tool which looks into what left the prompt gets it called.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from long_run_reader import Mind, Reader
from long_run_tools import plain_tools_for
from long_run_world import World

RULES = "You are a research agent. You investigate one question over many steps, by calling tools, until you can answer it."
COMPACT_TOKENS = 27_000
"""Where the summarizer starts: what the host's prices say, and far below its documentation's fractions of the window."""


@dataclass(frozen=True)
class Outcome:
    cpu_s: float
    wall_s: float
    disk: Path | None = None
    """The checkpoint database."""
    compactions: int = 0
    note: str = ""


async def _loop(world: World, mind: Mind, window: Callable[[list[BaseMessage]], list[BaseMessage]]) -> Outcome:
    """A bare loop: no framework, no checkpoint."""
    tools = {tool.name: tool for tool in plain_tools_for(world)}
    chat = Reader(mind=mind).bind_tools(list(tools.values()))
    head = [SystemMessage(RULES), HumanMessage(world.question)]
    live: list[BaseMessage] = []
    started, spent = time.monotonic(), time.process_time()
    while True:
        reply = await chat.ainvoke([*head, *window(live)])
        live.append(reply)
        if not reply.tool_calls:
            break
        for call in reply.tool_calls:
            live.append(ToolMessage(await tools[call["name"]].ainvoke(call["args"]), tool_call_id=call["id"], name=call["name"]))
    return Outcome(cpu_s=time.process_time() - spent - mind.cpu_s, wall_s=time.monotonic() - started)


async def full_history(world: World, mind: Mind, folder: Path) -> Outcome:
    return await _loop(world, mind, lambda live: live)


async def sliding_window(world: World, mind: Mind, folder: Path) -> Outcome:
    return await _loop(world, mind, lambda live: live[-6:])


async def _agent(world: World, mind: Mind, folder: Path, make: Callable[[Any, Any], Any]) -> Outcome:
    started, spent = time.monotonic(), time.process_time()
    path = folder / "checkpoints.sqlite"
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        agent = make(Reader(mind=mind), saver)
        thread = {"configurable": {"thread_id": "bench"}, "recursion_limit": 10_000}
        await agent.ainvoke({"messages": [HumanMessage(world.question)]}, thread, durability="sync")
    return Outcome(cpu_s=time.process_time() - spent - mind.cpu_s, wall_s=time.monotonic() - started, disk=path)


async def summarization(world: World, mind: Mind, folder: Path) -> Outcome:
    from langchain.agents import create_agent
    from langchain.agents.middleware import SummarizationMiddleware

    def make(chat: Any, saver: Any) -> Any:
        middleware = SummarizationMiddleware(chat, trigger=("tokens", COMPACT_TOKENS), keep=("messages", 8), token_counter=_counted)
        return create_agent(chat, plain_tools_for(world), system_prompt=RULES, middleware=[middleware], checkpointer=saver)

    return await _agent(world, mind, folder, make)


async def context_editing(world: World, mind: Mind, folder: Path) -> Outcome:
    from langchain.agents import create_agent
    from langchain.agents.middleware import ContextEditingMiddleware

    def make(chat: Any, saver: Any) -> Any:
        middleware = [ContextEditingMiddleware()]
        return create_agent(chat, plain_tools_for(world), system_prompt=RULES, middleware=middleware, checkpointer=saver)

    return await _agent(world, mind, folder, make)


async def deepagents(world: World, mind: Mind, folder: Path) -> Outcome:
    from deepagents import create_deep_agent

    mind.ask = lambda question: {"name": "grep", "args": {"pattern": _telling(question), "output_mode": "content"}}

    def make(chat: Any, saver: Any) -> Any:
        return create_deep_agent(model=chat, tools=plain_tools_for(world), system_prompt=RULES, checkpointer=saver)

    return await _agent(world, mind, folder, make)


def _telling(question: str) -> str:
    """What one would look for a question by: its longest name, or else its longest word."""
    names = re.findall(r"(?<!^)\b[A-Z][\w-]+", question)
    return max(names or re.findall(r"[\w-]+", question), key=len)


def _counted(messages: list[BaseMessage]) -> int:
    from long_run_reader import rendered

    from research_agent.memory import estimate_tokens

    return sum(estimate_tokens(rendered(message)) for message in messages)


PEERS: dict[str, Callable[[World, Mind, Path], Awaitable[Outcome]]] = {
    "full history": full_history,
    "sliding window, 6 messages": sliding_window,
    "SummarizationMiddleware": summarization,
    "ContextEditingMiddleware": context_editing,
    "deepagents": deepagents,
}
