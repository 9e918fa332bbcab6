"""A conversation as the memory keeps it: which message is which step, what of it is archived, and what stands for it once it leaves.

For conversations that are not ours: `create_agent`'s state holds the messages themselves, and numbers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from research_agent.memory import Archive, Segment, estimate_tokens
from research_agent.memory.segment import MAX_ORDINALS, handle

from . import prompts
from .calls import reasoning_of
from .compaction import needed
from .observation import Shown, render
from .state import TurnRef
from .window import HANDLES, RECALL_TOKENS, Marks, evict, handles, message_tokens, read_before, shown

MEMORY = "trace_memory"
"""In the `additional_kwargs` of the memory block, and of a tool result that is not shown whole."""
RECALL = "recall"


class Counted(TypedDict):
    """The last prompt: its estimate, uncalibrated, and what its host counted; 0 if it did not."""

    raw: int
    reported: int


class Trace(TypedDict):
    """What the conversation's state knows of its memory. Plain JSON."""

    head: int
    """Messages at its start that were kept by a compaction: what was asked, and the memory block."""
    gone: int
    """Messages that left it, and tool calls among them."""
    steps: int
    calibration: float
    counted: Counted
    window: int | None
    """What an overflow taught."""


def estimated(raw: int, trace: Trace) -> int:
    """Tokens of a prompt as its model counts them. Where it only grew since the last call, only what was added is an estimate."""
    counted = trace["counted"]
    if not 0 < counted["raw"] <= raw:
        return int(raw * trace["calibration"])
    return int(counted["reported"] + (raw - counted["raw"]) * trace["calibration"])


@dataclass(frozen=True, slots=True)
class Placed:
    """A message and where it stands in the run."""

    message: AnyMessage
    number: int
    """Of the conversation's messages, from 0, those that left it counted."""
    step: int
    """A tool result's own; else that of the last call before it."""


def placed(messages: Sequence[AnyMessage], trace: Trace) -> list[Placed]:
    """The messages after the head."""
    found, step, steps = [], trace["steps"], dict[str, int]()
    for number, message in enumerate(messages[trace["head"] :], trace["gone"]):
        own = step
        if isinstance(message, AIMessage):
            for call in message.tool_calls:
                step += 1
                steps[str(call["id"])] = step
        elif isinstance(message, ToolMessage):
            own = steps.get(message.tool_call_id, step)
        found.append(Placed(message, number, own))
    return found


def segments(item: Placed, archive: Archive, now: str) -> list[Segment]:
    """What a message leaves in the archive. What `recall` brought is there already."""
    message, run = item.message, archive.run
    base = Segment(run=run, thread=str(message.id), step=item.step, kind="answer", ordinal=item.number, text="", trust="own")
    text = str(message.text).strip()
    if isinstance(message, ToolMessage):
        return [] if message.name == RECALL else [observation(message, item.step, archive, now)]
    if isinstance(message, AIMessage):
        calls = [
            replace(base, kind="call", step=item.step + n, ordinal=0, tool=call["name"], text=called(call["name"], call["args"]))
            for n, call in enumerate(message.tool_calls, 1)
        ]
        thought = reasoning_of(message)
        own = [replace(base, kind="reasoning", text=thought)] if thought else []
        return [*own, *([replace(base, text=text)] if text else []), *calls]
    return [replace(base, kind="plan", tool="user", title="what the user said", text=text)] if text else []


def observation(message: ToolMessage, step: int, archive: Archive, now: str, asked: str = "", url: str = "") -> Segment:
    """A tool's result, whole, under a handle of its own. Archived before, it is the one that was."""
    for ordinal in range(MAX_ORDINALS):
        known = archive.get(handle(step, ordinal))
        if known is not None and known.thread == message.tool_call_id:
            return known
        if known is None:
            break
    text = str(message.text)
    return Segment(
        run=archive.run,
        thread=message.tool_call_id,
        step=step,
        kind="observation",
        ordinal=ordinal,
        text=text,
        trust="untrusted",
        tool=message.name or "tool",
        title=(asked or message.name or "tool")[:120],
        url=url,
        retrieved_at=now,
        tokens=estimate_tokens(text),
    )


def called(name: str, args: dict[str, object]) -> str:
    return f"{name} {json.dumps(args, ensure_ascii=False, sort_keys=True, default=str)}"


def refs(items: Sequence[Placed], archive: Archive) -> list[TurnRef]:
    """The messages as the window counts them."""
    found = []
    for item in items:
        message = item.message
        held: list[str] = []
        if not isinstance(message, HumanMessage) and MEMORY not in message.additional_kwargs:
            held = [segment.id for segment in segments(item, archive, "")] or [str(message.id)]
        opens = not isinstance(message, ToolMessage)
        found.append(TurnRef(ref=str(message.id), tokens=message_tokens(message), step=item.step, opens=opens, segments=held))
    return found


async def compacted(
    messages: Sequence[AnyMessage], trace: Trace, archive: Archive, *, fixed: int, marks: Marks
) -> tuple[list[AnyMessage], Trace]:
    """(messages, trace) after a compaction. What was asked first and last stays, verbatim; nothing that leaves is lost."""
    items = placed(messages, trace)
    turns = refs(items, archive)
    head = [message for message in messages[: trace["head"]] if MEMORY not in message.additional_kwargs]
    recall_tokens = min(RECALL_TOKENS, marks.cap // 8)
    asked = [message for message in (*head, *messages[trace["head"] :]) if isinstance(message, HumanMessage)]
    pinned = list(dict.fromkeys(str(message.id) for message in (*asked[:1], *asked[-1:])))
    spoken_for = fixed + sum(message_tokens(m) for m in asked if m.id in pinned) + recall_tokens + 20 * HANDLES
    gone, kept = evict(turns, keep_tokens=max(0, marks.low - spoken_for), hard_tokens=max(0, marks.cap - spoken_for))
    if not gone:
        return list(messages), trace
    left = items[len(gone) :]
    live = frozenset(segment for turn in kept for segment in turn["segments"])
    passages = await archive.recall(
        _topic(asked, items), budget_tokens=recall_tokens, kinds=("observation", "finding", "answer"), exclude=live
    )
    recalled = render(shown(passage.segment, passage.text) for passage in passages)
    text = prompts.earlier([handles(read_before(archive, live)), recalled])
    block = HumanMessage(text, id=f"{MEMORY}-{archive.run}-{left[0].number}", additional_kwargs={MEMORY: "block"})
    staying = {str(item.message.id) for item in left}
    first = [message for message in asked if str(message.id) in pinned and str(message.id) not in staying]
    calls = sum(len(item.message.tool_calls) for item in items[: len(gone)] if isinstance(item.message, AIMessage))
    after: Trace = {
        **trace,
        "head": len(first) + 1,
        "gone": left[0].number,
        "steps": trace["steps"] + calls,
        "counted": Counted(raw=0, reported=0),  # it is another prompt now
    }
    return [*first, block, *(item.message for item in left)], after


def clipped(segment: Segment, text: str, left_out_tokens: int) -> str:
    """A tool's result as the passages that serve, and the handle of the whole."""
    block = Shown(handle=segment.handle, title=segment.title, url=segment.url, step=segment.step, more_tokens=left_out_tokens, text=text)
    return render([block])


def _topic(asked: Sequence[AnyMessage], items: Sequence[Placed]) -> str:
    thoughts = [f"{reasoning_of(item.message)} {item.message.text}" for item in items if isinstance(item.message, AIMessage)]
    return needed(str(asked[-1].text)[:1000] if asked else "", thoughts[-1] if thoughts else "")
