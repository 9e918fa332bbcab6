"""A call already made is answered from the archive with a note, however it is written, and whatever happened since."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graph_runs import calls, context, model, prompts
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver

from research_agent.graphs.build import build_research_graph
from research_agent.graphs.ports import Document, Limits, Observation
from research_agent.memory import Archive

NOTE = "You made this call at step"


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    opened = Archive.open(tmp_path, run="r")
    yield opened
    await opened.close()


def counted(answer: Callable[[int, str], str]) -> tuple[StructuredTool, list[str]]:
    """A search that says how often it was really made."""
    made: list[str] = []

    async def run(query: str, max_results: int = 5, site: str | None = None, fresh: bool = False) -> tuple[str, Observation]:
        made.append(query)
        text = answer(len(made), query)
        return text, Observation(documents=(Document(text=text, url=f"https://e.org/{len(made)}", title="A"),))

    name = "web_search"
    return StructuredTool.from_function(coroutine=run, name=name, description=name, response_format="content_and_artifact"), made


async def results(archive: Archive, search: StructuredTool, asked: list[dict[str, Any]], **facts: Any) -> list[str]:
    """What each call brought."""
    said: list[str] = []

    def investigate(messages: list[BaseMessage]) -> AIMessage:
        if isinstance(messages[-1], ToolMessage):
            said.append(str(messages[-1].content))
        return AIMessage("done") if len(said) == len(asked) else calls(("web_search", asked[len(said)]), at=len(said))

    given = model(investigate, **facts)
    await build_research_graph().ainvoke({"question": "What?"}, context=context(archive, given, search, loop_guard=False))
    assert prompts(given)
    return said


@pytest.mark.parametrize(
    "again",
    [
        {"max_results": 3, "query": "blue lamp"},
        {"query": "  blue   lamp\n", "max_results": 3},
        {"query": "blue lamp", "max_results": "3"},
        {"query": "blue lamp", "max_results": 3, "fresh": False},
        {"query": "blue lamp", "max_results": 3, "site": None},
    ],
    ids=["order", "spaces", "a number as text", "fresh: false", "a null"],
)
async def test_the_same_call_written_otherwise_is_not_made_again(archive: Archive, again: dict[str, Any]) -> None:
    search, made = counted(lambda n, query: f"Reading {n}.")
    first, second = await results(archive, search, [{"query": "blue lamp", "max_results": 3}, again])
    assert made == ["blue lamp"]
    assert f"{NOTE} 1" in second
    assert "Reading 1." in first
    assert "Reading 1." in second


async def test_a_default_may_be_given_or_left_out(archive: Archive) -> None:
    search, made = counted(lambda n, query: f"Reading {n}.")
    await results(archive, search, [{"query": "lamp"}, {"query": "lamp", "max_results": 5}])
    assert made == ["lamp"]


async def test_another_call_is_another_call(archive: Archive) -> None:
    search, made = counted(lambda n, query: f"Reading {n}.")
    asked = [{"query": "lamp"}, {"query": "lamp", "max_results": 9}, {"query": "lamps"}, {"query": "lamp", "site": "e.org"}]
    await results(archive, search, [*asked, {"query": "lamp", "fresh": True}])
    assert made == ["lamp", "lamp", "lamps", "lamp", "lamp"]


async def test_it_is_known_after_a_compaction(archive: Archive) -> None:
    search, made = counted(lambda n, query: f"Reading {n}. " + "Words of some length follow here. " * 400)
    asked = [{"query": f"topic {n}"} for n in range(20)]
    said = await results(archive, search, [*asked, {"query": "topic 0"}], window_tokens=12_000, max_output_tokens=2_000)
    assert made == [f"topic {n}" for n in range(20)]
    assert f"{NOTE} 1" in said[-1]
    assert "Reading 1." in said[-1]


async def test_it_is_known_when_a_stopped_run_goes_on(tmp_path: Path) -> None:
    search, made = counted(lambda n, query: f"Reading {n}.")
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph = build_research_graph(checkpointer=InMemorySaver())
    said: list[str] = []

    def investigate(messages: list[BaseMessage]) -> AIMessage:
        said.append(str(messages[-1].content))
        return (
            AIMessage("done")
            if len(said) == 4
            else calls(("web_search", {"query": ["lamp", "other", "lamp"][len(said) - 1]}), at=len(said))
        )

    given = model(investigate)
    for steps, start in ((2, {"question": "What?"}), (9, None)):
        archive = Archive.open(tmp_path, run="r")
        if start is None:
            await graph.aupdate_state(thread, {"stopped": "", "report": {}}, as_node="open")
        state = await graph.ainvoke(start, thread, context=context(archive, given, search, limits=Limits(steps=steps)))
        await archive.close()
    assert state["step"] == 3
    assert made == ["lamp", "other"]
    assert f"{NOTE} 1" in said[-1]
    assert "Reading 1." in said[-1]


async def test_a_failure_is_no_answer(archive: Archive) -> None:
    def answer(n: int, query: str) -> str:
        if n == 1:
            raise ToolException("the host is busy")
        return f"Reading {n}."

    search, made = counted(answer)
    first, second, third = await results(archive, search, [{"query": "lamp"}] * 3)
    assert first == "Error: the host is busy"
    assert NOTE not in second
    assert made == ["lamp", "lamp"]
    assert f"{NOTE} 2" in third
