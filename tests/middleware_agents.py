"""An agent with the memory in its middleware, and a model that checks every prompt it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from prompts_sent import check_turns

from research_agent.graphs import TraceMemoryMiddleware
from research_agent.graphs.ports import Prices
from research_agent.memory import Archive, estimate_tokens
from research_agent.testing.scripted import ScriptedModel

TURNS = 60


WINDOW, OUTPUT = 16_000, 2_000


PRICES = Prices(miss=0.6, hit=0.15, output=2.5)


FILLER = "The committee met again and adjourned without a decision on the matter before it. "


def fact(n: int) -> str:
    return f"The lighthouse number {n} has a lamp of {n * 37} candles."


@tool
def look(place: int) -> str:
    """Look at a place."""
    return f"{FILLER * 50}\n\n{fact(place)}\n\n{FILLER * 50}"


def script(turns: int = TURNS) -> Callable[[list[BaseMessage], dict[str, Any]], AIMessage]:
    """Looks at place after place; then asks its memory for the third; then answers with what that brought."""

    def reply(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        looked = [m for m in messages if isinstance(m, ToolMessage)]
        done = max((int(m.tool_call_id.rpartition("-")[2]) for m in looked), default=0)
        if done < turns:
            number = done + 1
            thought = f"I wonder about place {number}. " + "It may matter, or it may not. " * 20
            call = {"name": "look", "args": {"place": number}, "id": f"call-{number}"}
            return AIMessage("", additional_kwargs={"reasoning_content": thought}, tool_calls=[call])
        if done == turns:
            call = {"name": "recall", "args": {"query": "lamp of lighthouse number 3"}, "id": f"call-{done + 1}"}
            return AIMessage("", tool_calls=[call])
        if done == turns + 1:
            assert turns <= 3 or fact(3) in looked[-1].content  # what stands in the prompt whole is not recalled
            handle = re.search(r'handle="(S\d+)"[^>]*step="3"', str(looked[-1].content))
            call = {"name": "recall", "args": {"query": handle[1] if handle else "?"}, "id": f"call-{done + 1}"}
            return AIMessage("", tool_calls=[call])
        return AIMessage(f"{fact(3) in looked[-1].content}")

    return reply


def size(prompt: list[BaseMessage]) -> int:
    return sum(estimate_tokens(str(m.content) + str(m.additional_kwargs.get("reasoning_content", ""))) for m in prompt)


def is_block(message: BaseMessage) -> bool:
    return message.additional_kwargs.get("trace_memory") == "block"


def check_prompts(prompts: list[list[BaseMessage]], window: int = WINDOW, output: int = OUTPUT) -> int:
    """Whole, within the window, and append-only between compactions; how many compactions there were."""
    compactions = 0
    for prompt in prompts:
        assert size(prompt) <= window - output
        check_turns(prompt)
        assert sum(map(is_block, prompt)) <= 1
        assert not any(is_block(message) for message in prompt if not isinstance(message, HumanMessage))
        assert prompt[1].content == "What of the lighthouses?"
    for before, after in pairwise(prompts):
        if after[: len(before)] != before:
            compactions += 1
            assert [m.content for m in before if is_block(m)] != [m.content for m in after if is_block(m)]
    return compactions


ASKED = {"messages": [("user", "What of the lighthouses?")]}


def agent_of(memory: Path | Archive, chat: ScriptedModel, **more: Any) -> tuple[Any, TraceMemoryMiddleware]:
    settings = {"window_tokens": WINDOW, "max_output_tokens": OUTPUT, "prices": PRICES, **more.pop("settings", {})}
    middleware = TraceMemoryMiddleware(memory, **settings)
    return create_agent(chat, [look], system_prompt="You look at things.", middleware=[middleware], **more), middleware
