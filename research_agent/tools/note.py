"""`note`: a claim, and the words in a source that carry it. Words that are not there are not evidence."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.ports import Archive, Finding, Observation
from research_agent.memory.quotes import MIN_WORDS, closest, locate
from research_agent.memory.segment import Segment


class NoteArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    claim: str = Field(min_length=1, description="What the source tells us, in one sentence of your own.")
    quote: str = Field(min_length=1, description="The exact words of the source that say so, copied; ' ... ' may join two stretches of it.")
    source: str = Field(min_length=1, description="Where the words stand: the source's handle, such as S1203, or its URL.")


def note_tool(archive: Archive) -> BaseTool:
    """Findings about what `archive` holds."""

    async def note(claim: str, quote: str, source: str) -> tuple[str, Observation]:
        candidates = _sources(archive, source.strip().strip("[]"))
        for segment in candidates:
            words = locate(quote, segment.text)
            if words:
                finding = Finding(claim=claim.strip(), quote=words, source=segment.id)
                return f"Noted, from {segment.handle}: {words}", Observation(finding=finding, summary=f"noted from {segment.handle}")
        raise ToolException(_not_there(quote, candidates))

    return StructuredTool.from_function(
        coroutine=note,
        name="note",
        description="Keep a piece of evidence for the report: a claim with the exact words that support it, copied from a source you read.",
        args_schema=NoteArgs,
        response_format="content_and_artifact",
    )


def _sources(archive: Archive, source: str) -> Sequence[Segment]:
    """What was read there, the latest first: a snippet and its page have one URL. A bare number is a handle without its S."""
    named = archive.get(f"S{source}" if source.isdecimal() else source)
    if named:
        if named.kind != "observation":
            raise ToolException(f"{source} is not something read; give the handle of a document, such as S1203")
        return [named]
    bare = source.partition("#")[0]
    for url in dict.fromkeys((source, bare, bare.rstrip("/"), f"{bare.rstrip('/')}/")):
        found = archive.find(kind="observation", url=url) if url else ()
        if found:
            return list(reversed(found))
    raise ToolException(f"nothing was read from {source}; give the handle of a document you were shown, such as S1203, or scrape it first")


def _not_there(quote: str, sources: Sequence[Segment]) -> str:
    if len(quote.split()) < MIN_WORDS:
        return f"the quote is too short to be evidence, or not in the source: copy at least {MIN_WORDS} words that stand together"
    where = sources[0].handle
    passage = max((closest(quote, segment.text) for segment in sources), key=len)
    if not passage:
        return f"these words are not in {where}, nor any of them: check the source, or look for one that says so"
    return f"these words are not in {where}. The closest passage there is: «{' '.join(passage.split())}». Copy from it, or drop the claim"
