"""`recall` as a tool: by topic, by handle and page, without what the prompt holds already."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, ToolException
from memory_double import Memory, read
from pydantic import ValidationError

from research_agent.graphs import observation
from research_agent.graphs.ports import Observation
from research_agent.memory.tokens import estimate_tokens
from research_agent.tools.recall import recall_tool

PAGE = read(3, "tide mills ground grain", ordinal=1, url="https://a.org/", title="Mills", retrieved_at="2026-01-01T00:00:00+00:00")
OTHER = read(7, "tide power at sea", url="https://b.org/", title="Power")
THOUGHT = read(8, "the tide matters most", kind="reasoning")
FINDING = read(9, "tide mills were common", kind="finding", quote="mills ground grain", source=PAGE.id)
LONG = read(20, "\n".join(f"line {n} of a long table, with some words in it" for n in range(600)), url="https://c.org/")


@pytest.fixture
def memory() -> Memory:
    return Memory(PAGE, OTHER, THOUGHT, FINDING, LONG)


async def run(tool: BaseTool, live: tuple[str, ...] = (), **args: Any) -> tuple[str, Observation]:
    call = {"type": "tool_call", "id": "1", "name": "recall", "args": args}
    message = await tool.ainvoke(call, {"configurable": {"live_segments": live}} if live else None)
    return message.content, message.artifact


async def test_a_topic_brings_its_segments_with_their_origin(memory: Memory) -> None:
    content, artifact = await run(recall_tool(memory, budget_tokens=700), query="tide")
    assert [document.origin for document in artifact.documents] == [PAGE.id, OTHER.id, THOUGHT.id, FINDING.id]
    assert artifact.documents[0].title == "Mills (step 3)"
    assert artifact.documents[0].retrieved_at == PAGE.retrieved_at
    assert artifact.summary == "4 recalled"
    blocks = observation.parse(content)
    assert [(block.handle, block.step, block.trust) for block in blocks[:3]] == [
        ("S301", 3, "untrusted"),
        ("S700", 7, "untrusted"),
        ("", 8, "own"),
    ]
    assert memory.budgets == [700]


async def test_a_finding_comes_with_its_quote_and_the_handle_to_cite(memory: Memory) -> None:
    _, artifact = await run(recall_tool(memory), query="tide", kind="finding")
    (document,) = artifact.documents
    assert document.text == "tide mills were common\nquote: mills ground grain\nsource: S301"


async def test_a_recall_is_narrowed_by_kind_source_and_step(memory: Memory) -> None:
    tool = recall_tool(memory)
    assert [d.origin for d in (await run(tool, query="tide", kind="reasoning"))[1].documents] == [THOUGHT.id]
    assert [d.origin for d in (await run(tool, query="tide", source="b.org"))[1].documents] == [OTHER.id]
    assert [d.origin for d in (await run(tool, query="tide", since_step=9))[1].documents] == [FINDING.id]


async def test_what_is_live_in_the_prompt_is_left_out(memory: Memory) -> None:
    _, artifact = await run(recall_tool(memory), live=(PAGE.id, THOUGHT.id), query="tide")
    assert [document.origin for document in artifact.documents] == [OTHER.id, FINDING.id]


async def test_finding_nothing_is_said_and_is_no_failure(memory: Memory) -> None:
    content, artifact = await run(recall_tool(memory), query="zebra")
    assert content.startswith("Nothing in memory about 'zebra'")
    assert artifact.documents == ()


async def test_a_handle_brings_the_text_itself_even_if_it_is_live(memory: Memory) -> None:
    _, artifact = await run(recall_tool(memory), live=(PAGE.id,), query=" [S301] ")
    assert artifact.documents[0].text == PAGE.text


async def test_the_pages_of_a_handle_are_within_the_budget_and_together_the_text(memory: Memory) -> None:
    tool, text, page = recall_tool(memory, budget_tokens=500), "", 1
    while True:
        _, artifact = await run(tool, query="S2000", page=page)
        body, _, told = artifact.documents[0].text.rpartition("\n[page ")
        assert estimate_tokens(body) <= 500
        text += body
        page += 1
        if "is the next" not in told:
            break
        assert f"page={page} is the next" in told
    assert text == LONG.text
    assert page > 10
    with pytest.raises(ToolException, match=f"S2000 has {page - 1} pages, there is no page {page}"):
        await run(tool, query="S2000", page=page)


async def test_a_text_without_spaces_has_pages_too() -> None:
    tool = recall_tool(Memory(read(1, "汉字" * 2_000)), budget_tokens=300)
    _, artifact = await run(tool, query="S100", page=2)
    assert artifact.documents[0].text.startswith(("汉", "字"))


@pytest.mark.parametrize("args", [{"query": ""}, {"query": "x", "kind": "dream"}, {"query": "x", "page": 0}, {"query": "x", "budget": 5}])
async def test_arguments_that_do_not_fit_are_refused(memory: Memory, args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await run(recall_tool(memory), **args)


@pytest.mark.parametrize(
    "query", ["S301", "[S301]", "s301", "S301.", "handle S301", "the text of [S301]", '"S301"', "recall S301", "S301 S301"]
)
async def test_a_handle_is_known_however_it_is_written(memory: Memory, query: str) -> None:
    content, artifact = await run(recall_tool(memory), query=query)
    assert [document.origin for document in artifact.documents] == [PAGE.id]
    assert "tide mills ground grain" in content


async def test_several_handles_bring_the_opening_of_each(memory: Memory) -> None:
    content, artifact = await run(recall_tool(memory, budget_tokens=400), query="S301, S2000 and S9900")
    assert [document.origin for document in artifact.documents] == [PAGE.id, LONG.id]
    assert "recall S2000 alone for all of it" in content
    assert "there is no S9900" in artifact.summary
    assert estimate_tokens(content) < 600


async def test_a_handle_that_is_none_is_said_to_be_none(memory: Memory) -> None:
    content, artifact = await run(recall_tool(memory), query="[S9900]")
    assert content.startswith("There is no S9900 in this investigation.")
    assert not artifact.documents


async def test_a_word_that_looks_like_a_handle_beside_others_is_a_word(memory: Memory) -> None:
    memory.segments.append(read(30, "the galaxy S301 has a tide app"))
    _, artifact = await run(recall_tool(memory), query="galaxy S301 tide")
    assert len(artifact.documents) > 1


@pytest.mark.parametrize(
    ("narrowing", "origins"),
    [
        ({"kind": None, "source": None, "since_step": None, "page": None}, [PAGE.id, OTHER.id, THOUGHT.id, FINDING.id]),
        ({"kind": "all"}, [PAGE.id, OTHER.id, THOUGHT.id, FINDING.id]),
        ({"kind": "Findings"}, [FINDING.id]),
        ({"kind": "thoughts"}, [THOUGHT.id]),
        ({"kind": "observations"}, [PAGE.id, OTHER.id]),
        ({"since_step": "9"}, [FINDING.id]),
        ({"since_step": "step 9"}, [FINDING.id]),
        ({"source": "https://b.org/#part"}, [OTHER.id]),
        ({"source": "<https://b.org/>"}, [OTHER.id]),
        ({"source": "any"}, [PAGE.id, OTHER.id, THOUGHT.id, FINDING.id]),
    ],
)
async def test_what_a_model_writes_for_an_argument_is_taken_as_it_is_meant(
    memory: Memory, narrowing: dict[str, Any], origins: list[str]
) -> None:
    _, artifact = await run(recall_tool(memory), query="tide", **narrowing)
    assert [document.origin for document in artifact.documents] == origins


async def test_what_narrowed_a_recall_to_nothing_is_named(memory: Memory) -> None:
    content, _ = await run(recall_tool(memory), query="tide", kind="finding", source="nowhere.org", since_step=5)
    assert "of kind finding from 'nowhere.org' since step 5" in content


@pytest.mark.parametrize("wrong", [{"kind": "dreams"}, {"since_step": "soon"}, {"page": "last"}, {"since_step": -3}])
async def test_what_cannot_be_meant_is_refused(memory: Memory, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await run(recall_tool(memory), query="tide", **wrong)
