"""`recall`: what the run thought and read earlier, by topic or by handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.memory.segment import Kind, Segment
from research_agent.memory.tokens import estimate_tokens

from .observation import Shown, render
from .ports import Archive, Document, Observation

BUDGET_TOKENS = 2_000
LIVE_SEGMENTS = "live_segments"
"""`config["configurable"]["live_segments"]`: ids of the segments that stand in the prompt already; a topic's recall leaves them out."""


class RecallArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        min_length=1, description="A topic, in the words you expect in the text; or a handle such as S1203, for the text itself."
    )
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
        named = archive.get(query.strip())
        if named:
            return _page(named, page, budget_tokens)
        kinds: tuple[Kind, ...] = () if kind == "any" else (kind,)
        live = frozenset(config.get("configurable", {}).get(LIVE_SEGMENTS, ()))
        passages = await archive.recall(query, budget_tokens=budget_tokens, kinds=kinds, source=source, since_step=since_step, exclude=live)
        if not passages:
            besides = " besides what you see already" if live else ""
            return f"Nothing in memory about {query!r}{besides}. Try other words, or search for it.", Observation(
                summary="nothing recalled"
            )
        found = [(passage.segment, _with_quote(archive, passage.segment, passage.text)) for passage in passages]
        return _observation(found, f"{len(found)} recalled")

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
    if len(parts) > 1:
        after = f"; page={page + 1} is the next" if page < len(parts) else ""
        text += f"\n[page {page} of {len(parts)}{after}]"
    return _observation([(segment, text)], f"{segment.handle}, page {page} of {len(parts)}")


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


def _with_quote(archive: Archive, segment: Segment, text: str) -> str:
    """A finding's claim comes with the words it rests on, and the handle to cite."""
    if segment.kind != "finding":
        return text
    source = archive.get(segment.source)
    return f"{text}\nquote: {segment.quote}" + (f"\nsource: {source.handle}" if source else "")


def _observation(found: Sequence[tuple[Segment, str]], summary: str) -> tuple[str, Observation]:
    """From segments, and what of each is shown."""
    documents: list[Document] = []
    blocks: list[Shown] = []
    for segment, text in found:
        read = segment.kind == "observation"  # only what was read has a handle, and can be cited
        title = (segment.title or segment.tool) if read else f"your {segment.kind}"
        documents.append(
            Document(
                text=text,
                url=segment.url,
                title=f"{title} (step {segment.step})",
                retrieved_at=segment.retrieved_at,
                origin=segment.id,
            )
        )
        blocks.append(
            Shown(
                handle=segment.handle if read else "",
                text=text,
                title=title,
                url=segment.url,
                step=segment.step,
                trust=segment.trust,
            )
        )
    return render(blocks), Observation(documents=tuple(documents), summary=summary)
