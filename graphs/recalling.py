"""`recall`: what the run thought and read earlier, by topic or by handle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from research_agent.memory.segment import Kind, Segment
from research_agent.memory.tokens import estimate_tokens

from .earlier import from_earlier
from .observation import Shown, render
from .ports import Archive, Document, Observation

BUDGET_TOKENS = 2_000
OF_EARLIER = " It also brings what earlier runs read, told apart by run=; that has a handle, and can be noted and cited like the rest."
LIVE_SEGMENTS = "live_segments"
"""`config["configurable"]["live_segments"]`: ids of the segments that stand in the prompt already; a topic's recall leaves them out."""


_TOLD: tuple[Kind, ...] = ("reasoning", "observation", "finding", "plan", "answer")
"""Without what was called: an earlier question in the same words is no answer, and leaves answers less room."""
_ANY = ("", "any", "all", "none", "null", "*")
_KINDS_MEANT = {
    **dict.fromkeys(_ANY, "any"),
    **dict.fromkeys(("thought", "thoughts", "thinking", "reasoning"), "reasoning"),
    **dict.fromkeys(("document", "documents", "page", "pages", "source", "sources", "read"), "observation"),
    **dict.fromkeys(("note", "notes", "noted"), "finding"),
}
_AROUND_HANDLES = re.compile(r"\b(?:handles?|documents?|sources?|recall|text|show|of|the|and)\b|[\s,;:.'\"`\[\]()<>]+", re.IGNORECASE)
_ONE_HANDLE = re.compile(r"[Ss]\d{3,9}")
MOST_HANDLES = 8
"""Texts that one call may ask for by handle."""


class RecallArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        min_length=1, description="A topic, in the words you expect in the text; or a handle such as S1203, for the text itself."
    )
    kind: Literal["any", "reasoning", "call", "observation", "finding", "plan", "answer"] = Field(
        default="any",
        description="Only what was thought (reasoning), read (observation), noted (finding), called, planned, answered; any: not calls.",
    )
    source: str = Field(default="", description="Only from this source: a handle, or a part of a URL or title.")
    since_step: int = Field(default=0, ge=0, description="Only from this step on.")
    page: int = Field(default=1, ge=1, description="Of a handle's text: which part of it, from 1.")

    @field_validator("kind", "source", "since_step", "page", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """What models write for these: null for nothing, `findings`, `[S143]`, `step 12`."""
        name = str(info.field_name)
        if value is None:
            return cls.model_fields[name].default
        text = " ".join(str(value).split()).strip("'\"`<>[]").lower()
        if name == "kind":
            return _KINDS_MEANT.get(text, text.removesuffix("s"))
        if name == "source":
            return "" if text in _ANY else str(value).strip().strip("'\"`<>[]").partition("#")[0].rstrip("/")
        number = re.fullmatch(r"(?:step |page )?(-?\d+)(?:\.0)?", text)
        return int(number[1]) if number else value


def recall_tool(archive: Archive, *, budget_tokens: int = BUDGET_TOKENS, earlier: Sequence[Archive] = ()) -> BaseTool:
    """What `archive` holds, as much as `budget_tokens` allow. A document's `origin` is the segment it comes from.

    One without is what one of the `earlier` runs read, to be archived here: a recall by topic leaves a third of its budget to these.
    """

    async def recall(
        query: str,
        config: RunnableConfig,
        kind: Literal["any", "reasoning", "call", "observation", "finding", "plan", "answer"] = "any",
        source: str = "",
        since_step: int = 0,
        page: int = 1,
    ) -> tuple[str, Observation]:
        handles = _handles(query)
        named = [segment for handle in handles[:MOST_HANDLES] if (segment := archive.get(handle))]
        if len(named) == 1 and len(handles) == 1:
            return _page(named[0], page, budget_tokens)
        if named:
            return _openings(named, [handle for handle in handles if archive.get(handle) is None], budget_tokens)
        kinds: tuple[Kind, ...] = _TOLD if kind == "any" else (kind,)
        live = frozenset(config.get("configurable", {}).get(LIVE_SEGMENTS, ()))
        own_tokens = budget_tokens * 2 // 3 if earlier else budget_tokens
        passages = await archive.recall(query, budget_tokens=own_tokens, kinds=kinds, source=source, since_step=since_step, exclude=live)
        others = (
            []
            if since_step
            else await from_earlier(archive, earlier, query, kinds=kinds, source=source, budget_tokens=budget_tokens - own_tokens)
        )
        if not passages and not others:
            narrowed = _narrowed(kind, source, since_step)
            besides = " besides what you see already" if live else ""
            if handles:
                said = f"There is no {' nor '.join(handles)} in this investigation. Use the handles as they were shown to you, or a topic."
            else:
                said = f"Nothing in memory about {query!r}{narrowed}{besides}. Try other words, or search for it."
            return said, Observation(summary="nothing recalled")
        found = [(passage.segment, _with_quote(archive, passage.segment, passage.text)) for passage in passages]
        return _with(others, *_observation(found, f"{len(found)} recalled"))

    return StructuredTool.from_function(
        coroutine=recall,
        name="recall",
        description=(
            "Bring back what you thought and read earlier in this investigation, by topic or by handle. Earlier steps leave the "
            "conversation but are kept here; look here before you search for something again." + (OF_EARLIER if earlier else "")
        ),
        args_schema=RecallArgs,
        response_format="content_and_artifact",
    )


def _with(others: Sequence[tuple[Document, str]], text: str, own: Observation) -> tuple[str, Observation]:
    """Beside what this run knows, what earlier ones read."""
    if not others:
        return text, own
    blocks = [Shown(handle="", text=passage, title=document.title, url=document.url, run=document.run) for document, passage in others]
    summary = f"{own.summary}, {len(others)} of earlier runs" if own.documents else f"{len(others)} recalled of earlier runs"
    documents = (*own.documents, *(document for document, _ in others))
    return "\n".join(filter(None, (text, render(blocks)))), Observation(documents=documents, summary=summary)


def _handles(query: str) -> list[str]:
    """The handles in a query that holds nothing else; as for a topic, `Galaxy S100` is one."""
    rest = [part for part in _AROUND_HANDLES.sub(" ", query).split() if part]
    return [part.upper() for part in dict.fromkeys(rest)] if rest and all(map(_ONE_HANDLE.fullmatch, rest)) else []


def _narrowed(kind: str, source: str, since_step: int) -> str:
    kinds = "" if kind == "any" else f" of kind {kind}"
    return kinds + (f" from {source!r}" if source else "") + (f" since step {since_step}" if since_step else "")


def _openings(named: Sequence[Segment], missing: Sequence[str], budget_tokens: int) -> tuple[str, Observation]:
    """The first part of each of several texts."""
    found = []
    for segment in named:
        parts = _parts(segment.text, budget_tokens // len(named))
        more = f"\n[page 1 of {len(parts)}; recall {segment.handle} alone for all of it]" if len(parts) > 1 else ""
        found.append((segment, parts[0] + more))
    return _observation(found, f"{len(found)} recalled" + (f"; there is no {', '.join(missing)}" if missing else ""))


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
        title = segment.title or (segment.tool if read else f"your {segment.kind}")
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
                run=segment.earlier_run,
                step=segment.step,
                trust=segment.trust,
            )
        )
    return render(blocks), Observation(documents=tuple(documents), summary=summary)
