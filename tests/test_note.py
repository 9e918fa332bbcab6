"""`note`: evidence is kept only if the words stand in the source that was read."""

from __future__ import annotations

import pytest
from langchain_core.tools import BaseTool, ToolException
from memory_double import Memory, read
from pydantic import ValidationError

from research_agent.graphs.ports import Finding, Observation
from research_agent.tools.note import note_tool

PAGE = read(12, "Mills at Saint-Malo ran on the tide.\nThe **tide** rises by “twelve” metres there.", ordinal=3, url="https://a.org/mills")
SNIPPET = read(11, "The tide rises by twelve metres", url="https://a.org/mills")
LATER = read(14, "Nothing of the kind is said here.", url="https://a.org/mills")
THOUGHT = read(12, "the tide rises by a lot", kind="reasoning")


@pytest.fixture
def note() -> BaseTool:
    return note_tool(Memory(SNIPPET, PAGE, THOUGHT, LATER))


async def run(tool: BaseTool, quote: str, source: str, claim: str = "The tide is high.") -> tuple[str, Observation]:
    call = {"type": "tool_call", "id": "1", "name": "note", "args": {"claim": claim, "quote": quote, "source": source}}
    message = await tool.ainvoke(call)
    return message.content, message.artifact


@pytest.mark.parametrize(
    "source", ["S1203", "[S1203]", " S1203 ", "1203", PAGE.id, "https://a.org/mills", "https://a.org/mills#top", "https://a.org/mills/"]
)
async def test_a_source_is_named_by_handle_number_or_url(note: BaseTool, source: str) -> None:
    content, artifact = await run(note, "the tide rises by 'twelve' metres there", source)
    exact = "The **tide** rises by “twelve” metres there"
    assert artifact.finding == Finding(claim="The tide is high.", quote=exact, source=PAGE.id)
    assert artifact.finding.quote in PAGE.text
    assert content == f"Noted, from S1203: {exact}"
    assert artifact.documents == ()


async def test_words_that_are_not_there_are_refused_with_the_closest_passage(note: BaseTool) -> None:
    with pytest.raises(ToolException, match=r"not in S1203.*«.*The \*\*tide\*\* rises by “twelve” metres there\.»") as refused:
        await run(note, "the tide rises by eleven metres", "S1203")
    assert "\n" not in str(refused.value)


async def test_the_refused_passage_can_be_copied(note: BaseTool) -> None:
    with pytest.raises(ToolException) as refused:
        await run(note, "Mills in St. Malo ran on tide", "S1203")
    shown = str(refused.value).partition("«")[2].partition("»")[0]
    _, artifact = await run(note, shown, "S1203")
    assert artifact.finding.quote in PAGE.text


async def test_the_words_of_another_source_are_refused(note: BaseTool) -> None:
    with pytest.raises(ToolException, match="not in S1400"):
        await run(note, "The tide rises by twelve metres", "S1400")


async def test_nothing_in_common_is_said(note: BaseTool) -> None:
    with pytest.raises(ToolException, match="nor any of them"):
        await run(note, "quantum zebras yodel", "S1203")


@pytest.mark.parametrize("quote", ["tide", "the tide", "..."])
async def test_a_word_or_two_are_no_evidence(note: BaseTool, quote: str) -> None:
    with pytest.raises(ToolException, match="too short"):
        await run(note, quote, "S1203")


@pytest.mark.parametrize("source", ["S9900", "https://never.org/", "7", "somewhere", "#"])
async def test_a_source_that_was_never_read_is_refused(note: BaseTool, source: str) -> None:
    with pytest.raises(ToolException, match="nothing was read from"):
        await run(note, "The tide rises by twelve metres", source)


async def test_a_thought_is_no_source(note: BaseTool) -> None:
    with pytest.raises(ToolException, match="not something read"):
        await run(note, "the tide rises by a lot", THOUGHT.id)


@pytest.mark.parametrize("args", [("", "S1203", "c"), ("q", "", "c"), ("q", "S1203", "")])
async def test_an_empty_argument_is_refused(note: BaseTool, args: tuple[str, str, str]) -> None:
    with pytest.raises(ValidationError):
        await run(note, *args)
