"""The window and the memory as LangChain middleware.

    agent = create_agent(model, tools, middleware=[TraceMemoryMiddleware("memory", window_tokens=32_000)])

Each turn's reasoning and each tool's result is archived whole before it may leave the messages; results arrive clipped to the passages
that serve; where the model's prices say so, whole turns leave the messages and one memory block stands for them; `recall` brings back
what left. A compaction is an update of the state: between two of them the messages only grow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NotRequired, cast
from urllib.parse import urlsplit
from uuid import uuid4

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import ExtendedModelResponse, PrivateStateAttr, ToolCallRequest
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("TraceMemoryMiddleware needs the extra: pip install '.[middleware]'") from missing

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command

from research_agent.memory import Archive, Embedder, Segment, best_passages, content_hash, estimate_tokens

from . import window
from .act import OBSERVATION_TOKENS
from .budget import calibrated
from .conversation import (
    MEMORY,
    RECALL,
    SEGMENT,
    UNMEASURED,
    Measured,
    Placed,
    Trace,
    called,
    clipped,
    compacted,
    estimated,
    numbered,
    observation,
    placed,
    refs,
    segments,
)
from .investigate import OVERFLOWS
from .overflow import is_overflow, window_told
from .ports import Model, ModelCallError, Prices
from .sync_edge import now
from .threads import Memories, Memory, recall_of, standing, thread_id

WINDOW_TOKENS = 128_000
"""Of a model that nobody described."""


class TraceState(AgentState[Any]):
    trace_memory: NotRequired[Annotated[Trace, PrivateStateAttr]]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One call of the model, as it will be made."""

    request: ModelRequest[Any]
    memory: Memory
    trace: Trace
    fixed: int
    own: frozenset[str]
    """Ids of the conversation's messages: those that other middleware adds to a request are none of it, and stay as they are."""
    gone: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    """As `Compacted` says, over all compactions of this call."""
    overflows: int = 0

    @property
    def raw(self) -> int:
        return self.fixed + sum(map(window.message_tokens, self.request.messages))

    @property
    def measured(self) -> Measured:
        return self.trace["models"].get(_name(self.request.model), UNMEASURED)

    @property
    def estimate(self) -> int:
        return estimated(self.raw, self.measured)

    @property
    def talk(self) -> list[Placed]:
        return placed([message for message in self.request.messages if str(message.id) in self.own], self.trace)

    def learned(self, measured: Measured) -> _Turn:
        return replace(self, trace={**self.trace, "models": {**self.trace["models"], _name(self.request.model): measured}})


class TraceMemoryMiddleware(AgentMiddleware[TraceState, Any, Any]):
    """`memory` is a folder, in which each thread (`thread_id`) gets an archive of its own; or an Archive, shared by all that use it.

    An Archive given to several threads is one memory: what one thread read, another recalls. Users who must not know of each other need
    a folder.

    A tool runs again where the process died between what the tool did and LangGraph's checkpoint of it, and its result is archived once all
    the same. The memory cannot tell whether it did it: it knows of a call when that has returned, and one that is made again by going back
    in time is meant to run. A tool that must not act twice takes its call's id (`InjectedToolCallId`), which is the same then.

    `window_tokens`: as the model's profile says, unless given. `prices` decide when it is compacted. `clip_tokens`: what a tool's result
    may put into the prompt, None for all of it. Put it last among the middleware: it must see the messages as they are sent.
    """

    state_schema = TraceState

    def __init__(
        self,
        memory: Archive | Path | str,
        *,
        window_tokens: int | None = None,
        max_output_tokens: int = 8_000,
        prices: Prices | None = None,
        clip_tokens: int | None = OBSERVATION_TOKENS,
        embedder: Embedder | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        """`redact` cuts secrets out of what is archived and shown.

        Raises ArchiveInUse where another process has the memory open, ValueError for a window that its output fills.
        """
        super().__init__()
        if max_output_tokens <= 0 or (window_tokens is not None and window_tokens <= max_output_tokens):
            given = f"window_tokens={window_tokens}, max_output_tokens={max_output_tokens}"
            raise ValueError(f"{given}: allowed are an output of more than 0 tokens, and a window of more than its output, for the prompt")
        self._window_tokens, self._max_output_tokens, self._prices = window_tokens, max_output_tokens, prices or Prices()
        self._clip_tokens = clip_tokens
        self._redact = redact or _as_it_is
        self._memories = Memories(memory, embedder)
        self.tools = [recall_of(self._memories, self._redact)]

    # -- the model

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ExtendedModelResponse[Any]:
        with self._memories.using():
            turn = now(self._prepared(request))
            while True:
                try:
                    response = handler(turn.request)
                except Exception as error:  # noqa: BLE001 - whatever the model's client raises: what is no overflow is raised again
                    turn = now(self._after_overflow(turn, error))
                    continue
                return now(self._done(turn, response))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ExtendedModelResponse[Any]:
        with self._memories.using():
            turn = await self._prepared(request)
            while True:
                try:
                    response = await handler(turn.request)
                except Exception as error:  # noqa: BLE001
                    turn = await self._after_overflow(turn, error)
                    continue
                return await self._done(turn, response)

    async def _prepared(self, request: ModelRequest[Any]) -> _Turn:
        """Everything said so far archived, and the prompt compacted if it is due."""
        memory, own = self._memories.current(), frozenset(str(message.id) for message in request.state["messages"])
        messages = [_named(message) for message in request.messages]
        known = cast("Trace | None", request.state.get("trace_memory")) or _start(memory.archive, messages)
        trace = numbered(request.state["messages"], known)
        turn = _Turn(request.override(messages=messages), memory, trace, _fixed(request), own)
        await self._archive(memory, turn.talk, trace)
        marks = self._marks(turn)
        if turn.estimate > marks.high:
            turn = await self._compact(turn, marks)
        return self._fitting(turn, marks)

    async def _archive(self, memory: Memory, items: Sequence[Placed], trace: Trace) -> None:
        items = [replace(item, message=self._redacted(item.message)) for item in items]
        said = [(item, segments(item, memory.archive, trace, _time())) for item in items]
        found = [segment for _, left in said for segment in left if segment.id not in memory.archived]
        if found:
            await memory.archive.archive([self._clean(segment) for segment in found])
            memory.archived.update(segment.id for segment in found)

    def _marks(self, turn: _Turn) -> window.Marks:
        request = turn.request
        profile = getattr(request.model, "profile", None) or {}
        model = Model(
            chat=request.model,
            name="",
            window_tokens=self._window_tokens or profile.get("max_input_tokens") or WINDOW_TOKENS,
            max_output_tokens=self._max_output_tokens,
            prices=self._prices,
        )
        turns = refs(turn.talk, turn.memory.archive, turn.trace)
        newest = sum(ref["tokens"] for group in window.whole_turns(turns)[-window.NEWEST_TURNS :] for ref in group)
        asked = next((window.message_tokens(message) for message in request.messages if isinstance(message, HumanMessage)), 0)
        return window.marks(
            model,
            fixed=turn.fixed,
            kept=newest + window.RECALL_TOKENS + asked,
            step_tokens=window.step_tokens(turns),
            learned_window=turn.measured["window"],
        )

    async def _compact(self, turn: _Turn, marks: window.Marks) -> _Turn:
        over = marks.over(turn.measured["calibration"])
        made = await compacted(turn.request.messages, turn.own, turn.trace, turn.memory.archive, fixed=turn.fixed, marks=over)
        if made is None:
            return turn
        turn = replace(turn.learned({**turn.measured, "raw": 0, "reported": 0}), gone=turn.gone | made.gone)
        return replace(turn, changed=turn.changed - made.gone | made.changed, request=turn.request.override(messages=made.messages))

    def _fitting(self, turn: _Turn, marks: window.Marks) -> _Turn:
        if turn.estimate > marks.cap:
            raise ModelCallError(
                f"what was asked and the newest turn alone are about {turn.estimate:,} tokens, over the {marks.cap:,} of a prompt",
                "overflow",
            )
        return turn

    async def _after_overflow(self, turn: _Turn, error: Exception) -> _Turn:
        """The window as the host's refusal taught it, and a prompt that fits it. Raises what is no overflow, and one too many."""
        if not _is_overflow(error) or turn.overflows >= OVERFLOWS:
            raise error
        told = error.window_tokens if isinstance(error, ModelCallError) else window_told(str(error))
        known = min(turn.measured["window"] or turn.estimate, turn.estimate)
        turn = replace(turn.learned({**turn.measured, "window": told or int(known * 0.9)}), overflows=turn.overflows + 1)
        marks = self._marks(turn)
        return self._fitting(await self._compact(turn, marks), marks)

    async def _done(self, turn: _Turn, response: ModelResponse[Any]) -> ExtendedModelResponse[Any]:
        """The reply archived; the messages, if they were compacted, and what was learned become state."""
        result = [_named(message) for message in response.result]
        reported = next((m.usage_metadata["input_tokens"] for m in result if m.type == "ai" and m.usage_metadata), 0)
        calibration = calibrated(turn.measured["calibration"], turn.raw, reported)
        measured = Measured(calibration=calibration, raw=turn.raw if reported else 0, reported=reported, window=turn.measured["window"])
        staying = [message for message in turn.request.state["messages"] if str(message.id) not in turn.gone]
        trace = numbered([*staying, *result], turn.learned(measured).trace)
        talk = [*(message for message in turn.request.messages if str(message.id) in turn.own), *result]
        await self._archive(turn.memory, placed(talk, trace), trace)
        update: dict[str, Any] = {"trace_memory": trace}
        if turn.gone or turn.changed:
            # The block is told under the id of a message that was there: no stream of messages shows it as a new one.
            changed = [message for message in turn.request.messages if str(message.id) in turn.changed]
            update["messages"] = [*(RemoveMessage(id=id) for id in sorted(turn.gone - turn.changed)), *changed, *result]
        return ExtendedModelResponse(replace(response, result=result), Command(update=update))

    # -- the tools

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        with standing(self._standing(request)):
            result = handler(request)
        with self._memories.using():
            return now(self._kept(request, result))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        with standing(self._standing(request)):
            result = await handler(request)
        with self._memories.using():
            return await self._kept(request, result)

    def _standing(self, request: ToolCallRequest) -> frozenset[str]:
        """Ids of the segments that stand in the conversation whole, for a call of `recall` to leave out."""
        trace: Trace | None = request.state.get("trace_memory")
        if trace is None or request.tool_call["name"] != RECALL:
            return frozenset()
        messages = request.state["messages"]
        items = [replace(item, message=self._redacted(item.message)) for item in placed(messages, numbered(messages, trace))]
        with self._memories.using() as memory:
            asked = {segment.id for item in items if item.message.type == "human" for segment in segments(item, memory.archive, trace, "")}
            return window.live_segments(refs(items, memory.archive, trace)) | asked

    async def _kept(self, request: ToolCallRequest, result: ToolMessage | Command[Any]) -> ToolMessage | Command[Any]:
        """The call's result; that of a tool which changes the state stands in its update."""
        if isinstance(result, ToolMessage):
            return await self._result(request, result)
        told = result.update.get("messages") if isinstance(result.update, dict) else None
        if not isinstance(told, list):
            return result
        own = [isinstance(message, ToolMessage) and message.tool_call_id == request.tool_call["id"] for message in told]
        messages = [await self._result(request, message) if mine else message for message, mine in zip(told, own, strict=True)]
        return replace(result, update={**cast("dict[str, Any]", result.update), "messages": messages})

    async def _result(self, request: ToolCallRequest, result: ToolMessage) -> ToolMessage:
        """Archived whole, shown as far as it serves. What is no text stays as it is."""
        messages: Sequence[AnyMessage] = request.state["messages"]
        trace: Trace | None = request.state.get("trace_memory")
        result = self._redacted(result)
        if result.name == RECALL or not isinstance(result.content, str) or trace is None:
            return result
        memory, args = self._memories.current(), request.tool_call["args"]
        step = next((item.step for item in placed([*messages, result], numbered(messages, trace))[-1:]), trace["steps"])
        url = next((url for value in args.values() if isinstance(value, str) and (url := _address(value))), "")
        asked = called(request.tool_call["name"], args)
        segment = self._clean(observation(result, step, memory.archive, trace, _time(), asked, url))
        await memory.archive.archive([segment])
        extra = {**result.additional_kwargs, SEGMENT: segment.id, MEMORY: "whole"}
        whole = result.model_copy(update={"additional_kwargs": extra})
        if self._clip_tokens is None:
            return whole
        question = next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), "")
        clip = best_passages(segment.text, f"{' '.join(map(str, args.values()))} {question[:1000]}", self._clip_tokens)
        if not clip.left_out_tokens:
            return whole
        shown = clipped(segment, clip.text, clip.left_out_tokens)
        return result.model_copy(update={"content": shown, "additional_kwargs": {**extra, MEMORY: "clipped"}})

    def _redacted(self, message: Any) -> Any:
        """A tool's result without secrets; where it comes as blocks that are all text, as one text."""
        if not isinstance(message, ToolMessage):
            return message
        if isinstance(message.content, str):
            return message.model_copy(update={"content": self._redact(message.content)})
        blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]
        clean = [{**block, "text": self._redact(block["text"])} if block.get("type") == "text" else block for block in blocks]
        if all(block.get("type") == "text" for block in clean):
            return message.model_copy(update={"content": "\n".join(block["text"] for block in clean)})
        return message.model_copy(update={"content": clean})

    def _clean(self, segment: Segment) -> Segment:
        url = _address(self._redact(segment.url))
        return replace(segment, text=self._redact(segment.text), title=self._redact(segment.title), url=url)

    # -- the memory

    def archive(self, thread_id: str) -> Archive | None:
        """A thread's archive, if it is open here: of many, those that were used longest ago are closed until they are used again."""
        return self._memories.archive(thread_id)

    def close(self) -> None:
        """Closes the archives it opened. One that it was given is its owner's."""
        self._memories.close()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)


def _is_overflow(error: Exception) -> bool:
    """As our own chat models say it, as LangChain does, or in a host's own words: its client raises what it likes."""
    if isinstance(error, ModelCallError):
        return error.kind == "overflow"
    status = getattr(error, "status_code", None)
    return isinstance(error, ContextOverflowError) or (isinstance(status, int) and is_overflow(status, str(error)))


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_it_is(text: str) -> str:
    return text


def _address(text: str) -> str:
    """A web address as it is; empty for what is none, or none any more: a redactor may have cut it."""
    try:
        urlsplit(text)
    except ValueError:
        return ""
    return text if text.startswith(("http://", "https://")) else ""


def _named(message: Any) -> Any:
    """With an id, which LangGraph would give it anyway, but too late."""
    return message if message.id else message.model_copy(update={"id": str(uuid4())})


def _start(archive: Archive, messages: Sequence[AnyMessage]) -> Trace:
    """A new conversation goes on counting where the archive's last one ended. Begun again after a kill, it has the same name."""
    newest = archive.find(kind="call", newest=1)
    name = content_hash(f"{thread_id()} {messages[0].id if messages else ''}")[:12]
    return Trace(conversation=name, steps=newest[-1].step if newest else 0, numbered={}, models={})


def _name(model: Any) -> str:
    return str(next((name for field in ("model_name", "model", "name") if (name := getattr(model, field, ""))), type(model).__name__))


def _fixed(request: ModelRequest[Any]) -> int:
    """Tokens of the system prompt and the tools."""
    schemas = [tool if isinstance(tool, dict) else convert_to_openai_tool(tool) for tool in request.tools]
    system = window.message_tokens(request.system_message) if request.system_message else 0
    return system + (estimate_tokens(json.dumps(schemas, default=str)) if schemas else 0)
