"""`recall`: what the run thought and read earlier, by topic or by handle."""

from __future__ import annotations

import asyncio
from typing import Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Archive, Document, Observation
from research_agent.memory.segment import Kind, Segment
from research_agent.memory.tokens import estimate_tokens

BUDGET_TOKENS = 2_000
LIVE_SEGMENTS = "live_segments"
"""`config["configurable"]["live_segments"]`: ids of the segments that stand in the prompt already; a topic's recall leaves them out."""


class RecallArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description="A topic, in the words you expect in the text; or a handle such as S1203, for the text itself.")
    kind: Literal["any", "reasoning", "call", "observation", "finding", "plan", "answer"] = Field(
        default="any", description="Only what was thought (reasoning), read (observation), noted (finding), called, planned or answered."
    )
    source: str = Field(default="", description="Only from this source: a handle, or a part of a URL or title.")
    since_step: int = Field(default=0, ge=0, description="Only from this step on.")
    page: int = Field(default=1, ge=1, description="Of a handle's text: which part of it, from 1.")


def recall_tool(archive: Archive, *, budget_tokens: int = BUDGET_TOKENS) -> BaseTool:
    """What `archive` holds, as much as `budget_tokens` allow. A document's `origin` is the segment it comes from."""

    async def recall(
        query: str,
        config: RunnableConfig,
        kind: Literal["any", "reasoning", "call", "observation", "finding", "plan", "answer"] = "any",
        source: str = "",
        since_step: int = 0,
        page: int = 1,
    ) -> tuple[str, Observation]:
        named = await asyncio.to_thread(archive.get, query.strip())
        if named:
            return _page(named, page, budget_tokens)
        kinds: tuple[Kind, ...] = () if kind == "any" else (kind,)
        live = frozenset(config.get("configurable", {}).get(LIVE_SEGMENTS, ()))
        passages = await archive.recall(query, budget_tokens=budget_tokens, kinds=kinds, source=source, since_step=since_step, exclude=live)
        if not passages:
            besides = " besides what you see already" if live else ""
            return f"Nothing in memory about {query!r}{besides}. Try other words, or search for it.", Observation(summary="nothing recalled")
        return _observation([(passage.segment, passage.text, 0) for passage in passages], f"{len(passages)} recalled")

    return StructuredTool.from_function(
        coroutine=recall,
        name="recall",
        description=(
            "Bring back what you thought and read earlier in this investigation, by topic or by handle. Earlier steps leave the "
            "conversation but are kept here; look here before you search for something again."
        ),
        args_schema=RecallArgs,
        response_format="content_and_artifact",
    )


def _page(segment: Segment, page: int, budget_tokens: int) -> tuple[str, Observation]:
    """One part of a text. The parts are cut at line or word ends, so that together they are the text."""
    parts = _parts(segment.text, budget_tokens)
    if page > len(parts):
        raise ToolException(f"{segment.handle} has {len(parts)} page{'s' if len(parts) > 1 else ''}, there is no page {page}")
    text = parts[page - 1]
    more_tokens = sum(estimate_tokens(part) for part in parts[page:])
    return _observation([(segment, text, more_tokens)], f"{segment.handle}, page {page} of {len(parts)}")


def _parts(text: str, budget_tokens: int) -> list[str]:
    parts: list[str] = []
    start = 0
    while start < len(text) or not parts:
        end = min(len(text), start + budget_tokens * 4)
        while estimate_tokens(text[start:end]) > budget_tokens and end - start > 1:
            end = start + (end - start) * 4 // 5
        if end < len(text):
            cut = max(text.rfind("\n", start + (end - start) // 2, end), text.rfind(" ", start + (end - start) * 9 // 10, end))
            end = cut + 1 if cut > start else end
        parts.append(text[start:end])
        start = end
    return parts


def _observation(found: list[tuple[Segment, str, int]], summary: str) -> tuple[str, Observation]:
    """From segments, what of each is shown, and how many of its tokens follow."""
    documents: list[Document] = []
    blocks: list[Shown] = []
    for segment, text, more_tokens in found:
        words = segment.quote if segment.kind == "finding" else ""
        body = f"{text}\nquote: {words}" if words else text
        title = segment.title if segment.kind == "observation" else " ".join(filter(None, (segment.kind, segment.title)))
        documents.append(
            Document(text=body, url=segment.url, title=f"{title} (step {segment.step})", retrieved_at=segment.retrieved_at, origin=segment.id)
        )
        blocks.append(Shown(handle=segment.handle, text=body, title=title, url=segment.url, step=segment.step, more_tokens=more_tokens))
    return render(blocks), Observation(documents=tuple(documents), summary=summary)
