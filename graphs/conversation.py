"""A conversation as the memory keeps it: which message is which step, what of it is archived, and what stands for it once it leaves.

For conversations that are not ours: `create_agent`'s state holds the messages themselves, and numbers nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from research_agent.memory import Archive, Segment, estimate_tokens

from . import prompts
from .calls import reasoning_of
from .compaction import needed, smaller
from .observation import Shown, render
from .state import TurnRef
from .window import (
    HANDLE_TOKENS,
    HANDLES,
    RECALL_TOKENS,
    Marks,
    evict,
    handles,
    live_segments,
    message_tokens,
    newest_tokens,
    read_before,
    shown,
)

MEMORY = "trace_memory"
"""In the `additional_kwargs` of the memory block (`block`), and of a tool's result that was archived: shown `whole`, or `clipped`."""
SEGMENT = "trace_memory_segment"
"""In those of a tool's result: the id that it was archived under."""
RECALL = "recall"


class Measured(TypedDict):
    """What a model's host told of its prompts."""

    calibration: float
    raw: int
    """The last prompt's estimate, uncalibrated; 0 if its host did not count it, or it is another prompt now."""
    reported: int
    window: int | None
    """What an overflow taught."""


class Trace(TypedDict):
    """What the conversation's state knows of its memory. Plain JSON."""

    conversation: str
    """Keeps apart what conversations that share an archive leave in it: their calls may have equal ids."""
    steps: int
    """Tool calls so far."""
    numbered: dict[str, int]
    """Of each message that calls tools, by its id, the step of its first call."""
    models: dict[str, Measured]
    """By name: what one model taught is not believed of another."""


UNMEASURED = Measured(calibration=1.0, raw=0, reported=0, window=None)


def estimated(raw: int, measured: Measured) -> int:
    """Tokens of a prompt as its model counts them. Where it only grew since the last call, only what was added is an estimate."""
    if not 0 < measured["raw"] <= raw:
        return int(raw * measured["calibration"])
    return int(measured["reported"] + (raw - measured["raw"]) * measured["calibration"])


def is_block(message: AnyMessage) -> bool:
    return message.additional_kwargs.get(MEMORY) == "block"


def numbered(messages: Sequence[AnyMessage], trace: Trace) -> Trace:
    """With a step for each call that has none yet, and none for messages that are gone."""
    steps, numbers = trace["steps"], dict[str, int]()
    for message in messages:
        if isinstance(message, AIMessage) and message.tool_calls:
            first = trace["numbered"].get(str(message.id), steps + 1)
            numbers[str(message.id)] = first
            steps = max(steps, first + len(message.tool_calls) - 1)
    return {**trace, "steps": steps, "numbered": numbers}


@dataclass(frozen=True, slots=True)
class Placed:
    """A message and where it stands in the run."""

    message: AnyMessage
    step: int
    """A tool result's own; else that of the last call before it."""


def placed(messages: Sequence[AnyMessage], trace: Trace) -> list[Placed]:
    """The messages without the memory block."""
    step, steps = min(trace["numbered"].values(), default=trace["steps"] + 1) - 1, dict[str, int]()
    found = []
    for message in messages:
        own = step
        if isinstance(message, AIMessage) and message.tool_calls:
            first = trace["numbered"].get(str(message.id), step + 1)  # other middleware may have given it calls
            own = first - 1
            step = first + len(message.tool_calls) - 1
            steps |= {str(call["id"]): first + n for n, call in enumerate(message.tool_calls)}
        elif isinstance(message, ToolMessage):
            own = steps.get(message.tool_call_id, step)
        if not is_block(message):
            found.append(Placed(message, own))
    return found


def segments(item: Placed, archive: Archive, trace: Trace, now: str) -> list[Segment]:
    """What a message leaves in the archive. What `recall` brought is there already."""
    message, run = item.message, archive.run
    thread = f"{trace['conversation']} {message.id}"
    base = Segment(run=run, thread=thread, step=item.step, kind="answer", text="", trust="own")
    text = str(message.text).strip()
    if isinstance(message, ToolMessage):
        return [] if message.name == RECALL else [observation(message, item.step, archive, trace, now)]
    if isinstance(message, AIMessage):
        calls = [
            replace(base, kind="call", step=item.step + n, tool=call["name"], text=called(call["name"], call["args"]))
            for n, call in enumerate(message.tool_calls, 1)
        ]
        thought = reasoning_of(message)
        own = [replace(base, kind="reasoning", text=thought)] if thought else []
        return [*own, *([replace(base, text=text)] if text else []), *calls]
    return [replace(base, kind="plan", tool="user", title="what the user said", text=text)] if text else []


def observation(message: ToolMessage, step: int, archive: Archive, trace: Trace, now: str, asked: str = "", url: str = "") -> Segment:
    """A tool's result, whole, under a handle of its own. Archived before, it is the one that was."""
    if known := archive.get(message.additional_kwargs.get(SEGMENT, "")):
        return known
    text, thread = str(message.text), f"{trace['conversation']} {message.tool_call_id}"
    step, ordinal = archive.free_place(step, thread, text)
    return Segment(
        run=archive.run,
        thread=thread,
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


def refs(items: Sequence[Placed], archive: Archive, trace: Trace) -> list[TurnRef]:
    """The messages as the window counts them."""
    found = []
    for item in items:
        message = item.message
        held: list[str] = []
        if not isinstance(message, HumanMessage) and message.additional_kwargs.get(MEMORY) != "clipped":
            held = [segment.id for segment in segments(item, archive, trace, "")] or [str(message.id)]
        opens = not isinstance(message, ToolMessage)
        found.append(TurnRef(ref=str(message.id), tokens=message_tokens(message), step=item.step, opens=opens, segments=held))
    return found


@dataclass(frozen=True, slots=True)
class Compacted:
    messages: list[AnyMessage]
    gone: frozenset[str]
    """Ids of messages that left. The block has the id of the one before it, or of the first that left: its place in the state."""
    changed: frozenset[str]
    """Ids of messages that are other than they were: the block, and what was cut."""


async def compacted(
    messages: Sequence[AnyMessage], own: frozenset[str], trace: Trace, archive: Archive, *, fixed: int, marks: Marks
) -> Compacted | None:
    """What was asked first and last stays, verbatim, as do rules and what is not the conversation's `own`; nothing that leaves is lost.

    A newest turn that is too large by itself is cut where it can be, and leaves like the others where it cannot.
    """
    talk = [message for message in messages if str(message.id) in own and not is_block(message)]
    asked = [message for message in talk if isinstance(message, HumanMessage)]
    rules = [message for message in talk if isinstance(message, SystemMessage)]
    pinned = {str(message.id) for message in (*rules, *asked[:1], *asked[-1:])}
    items = [item for item in placed(talk, trace) if str(item.message.id) not in pinned]
    before = [message for message in messages if is_block(message)]
    staying = [message for message in messages if str(message.id) in pinned or (str(message.id) not in own and not is_block(message))]
    room = marks.cap - fixed - sum(map(message_tokens, staying))
    turns, topic, recall_tokens = refs(items, archive, trace), _topic(asked, items), min(RECALL_TOKENS, marks.cap // 8)
    memory = min(recall_tokens + HANDLE_TOKENS * HANDLES, max(room // 3, room - newest_tokens(turns)))
    left, kept = evict(turns, keep_tokens=max(0, marks.low - marks.cap + room - memory), hard_tokens=max(0, room - memory))
    size = sum(turn["tokens"] for turn in kept)
    if not left and size + sum(map(message_tokens, before)) <= room:
        return None
    less = _less(items[len(left) :], archive, trace, topic, room - memory) if size > room - memory else {}
    if size > room - memory:
        left, kept, size = (left, kept, room - memory) if less else (turns, [], 0)
    gone, changed = frozenset(turn["ref"] for turn in left), frozenset(less)
    made: list[AnyMessage] = [less.get(str(message.id), message) for message in messages]
    if left or before:
        text = await _remembered(archive, topic, live_segments(kept), recall_tokens, room - size)
        id = str(before[0].id) if before else left[0]["ref"]
        made = _with_block(made, gone, HumanMessage(text, id=id, additional_kwargs={MEMORY: "block"}))
        changed |= {id}
    return Compacted(made, gone, changed)


async def _remembered(archive: Archive, topic: str, live: frozenset[str], recall_tokens: int, limit: int) -> str:
    """What the block says, in less than `limit` tokens: where there is no room for all, what serves least goes first."""
    lines = read_before(archive, live)
    found = await archive.recall(topic, budget_tokens=recall_tokens, kinds=("observation", "finding", "answer"), exclude=live)
    passages = list(found)
    while True:
        text = prompts.earlier([handles(lines), render(shown(passage.segment, passage.text) for passage in passages)])
        if message_tokens(HumanMessage(text)) <= limit or not (passages or lines):
            return text
        if passages:
            passages.remove(min(passages, key=lambda passage: passage.score))
        else:
            lines = lines[len(lines) // 2 + 1 :]


def _less(turn: Sequence[Placed], archive: Archive, trace: Trace, topic: str, budget: int) -> dict[str, Any]:
    """Of a turn that is too large, what was cut, by its id; empty where that is not enough. Of a result's blocks, text is left."""
    whole = [_document(item, archive, trace) for item in turn]
    made, cut = smaller(whole, topic, budget), dict[str, Any]()
    for item, before, after in zip(turn, whole, made, strict=True) if made else ():
        if after is not before or (isinstance(before, ToolMessage) and not isinstance(item.message.content, str)):
            kwargs = {**after.additional_kwargs, MEMORY: "clipped"}
            cut[str(item.message.id)] = after.model_copy(update={"additional_kwargs": kwargs})
    return cut


def _document(item: Placed, archive: Archive, trace: Trace) -> BaseMessage:
    """A tool's result under its handle: what is cut of it can be asked for."""
    message = item.message
    if not isinstance(message, ToolMessage) or message.name == RECALL or message.additional_kwargs.get(MEMORY) == "clipped":
        return message
    known = archive.get(observation(message, item.step, archive, trace, "").id)
    if known is None:
        return message.model_copy(update={"content": str(message.text)})
    kwargs = {**message.additional_kwargs, SEGMENT: known.id}
    return message.model_copy(update={"content": clipped(known, known.text, 0), "additional_kwargs": kwargs})


def _with_block(messages: Sequence[AnyMessage], gone: frozenset[str], block: HumanMessage) -> list[AnyMessage]:
    """The messages that stay, the block where the first of the others stood."""
    made: list[AnyMessage] = []
    for message in messages:
        if not is_block(message) and str(message.id) not in gone:
            made.append(message)
        elif block not in made:
            made.append(block)
    return made


def clipped(segment: Segment, text: str, left_out_tokens: int) -> str:
    """A tool's result as the passages that serve, and the handle of the whole."""
    block = Shown(handle=segment.handle, title=segment.title, url=segment.url, step=segment.step, more_tokens=left_out_tokens, text=text)
    return render([block])


def _topic(asked: Sequence[AnyMessage], items: Sequence[Placed]) -> str:
    thoughts = [f"{reasoning_of(item.message)} {item.message.text}" for item in items if isinstance(item.message, AIMessage)]
    return needed(str(asked[-1].text)[:1000] if asked else "", thoughts[-1] if thoughts else "")
