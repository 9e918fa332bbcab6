"""One tool call, as a task of its own: run, archived whole, and shown to the model as the passages that serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.runtime import Runtime
from pydantic import ValidationError

from research_agent.memory import Segment, best_passages, content_hash, estimate_tokens
from research_agent.memory.clip import head
from research_agent.memory.segment import MAX_ORDINALS, thread_of

from . import prompts
from .observation import label, render
from .ports import Context, Document, Finding, Observation
from .repeats import brought, made_before, reminder
from .state import NOT_JSON, Call, Failure, SubQuestion
from .window import shown, written

OBSERVATION_TOKENS = 1_200
"""What one call may put into the prompt; the rest is a `recall` away. A token here is paid at the miss price when it arrives, once more
at each compaction it stays through, and at the hit price in every prompt between."""
ERROR_TOKENS = 300
"""Of what a call that failed says: a server's own page may stand in it."""
TIMEOUT_S = 180.0


class WrongCall(ToolException):
    """There is no such tool, or its arguments are wrong: the model must call otherwise."""


class Task(TypedDict):
    """What the graph sends: one call, and what the loop knew when it was made."""

    call: Call
    sub_question: SubQuestion
    live: list[str]
    """Ids of the segments that stand in the prompt whole: a recall leaves them out."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a call comes to."""

    text: str
    """For the model."""
    summary: str
    """One line for people."""
    segments: Sequence[Segment] = ()
    """What it shows."""
    brought: Sequence[Segment] = ()
    """Of these, what is new and to be archived."""
    whole: Sequence[str] = ()
    """Ids of those that the text shows whole; of a clipped one, the rest can still be recalled."""


async def act(state: Task, runtime: Runtime[Context]) -> dict[str, Any]:
    """Runs the call. Whatever happens becomes a result the model sees; only a cancelled run raises."""
    task, context, emit, call = state, runtime.context, runtime.stream_writer, state["call"]
    started = context.clock()
    made = {"id": call["id"], "step": call["step"], "name": call["name"]}
    emit({"type": "call", **made, "args": call["args"], "sub_question": task["sub_question"]["id"]})
    reason, wrong = "", False
    try:
        told = await _outcome(context, task)
    except ToolException as error:
        wrong = isinstance(error, WrongCall)
        reason = _said(context, error)
        told = _Shown(f"Error: {reason}", f"Error: {reason}")
    text = told.text + reminder(context, call)
    message = ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error" if reason else "success")
    ref, body = written(message, step=call["step"], opens=False, segments=told.whole)
    await context.archive.archive(told.brought, bodies=[body])  # one write: what it brought, and how it stands in the prompt
    for segment in told.brought:
        if segment.kind == "finding" and (source := context.archive.get(segment.source)):
            said = {"claim": segment.text, "quote": segment.quote, "sub_question": segment.sub_question}
            emit({"type": "finding", "step": segment.step, "handle": source.handle, **said})
    emit(
        {
            "type": "result",
            **made,
            "ok": not reason,
            "summary": told.summary,
            "sources": [{"handle": s.handle, "title": s.title, "url": s.url} for s in told.segments if s.kind == "observation"],
            "seconds": round(context.clock() - started, 3),
        }
    )
    if wrong:
        ref["wrong"] = True
    failures = [Failure(step=call["step"], what=call["name"], reason=reason)] if reason else []
    return {"results": {call["id"]: ref}, "failures": failures}


def _said(context: Context, error: ToolException) -> str:
    """Its one line, as far as it can be of use; a server's own words may stand in it."""
    text = prompts.defuse(context.redact(" ".join(str(error).split())))
    shown = head(text, ERROR_TOKENS)
    return text if shown == text else f"{shown} [...]"


async def _outcome(context: Context, task: Task) -> _Shown:
    """Raises ToolException."""
    call, archive = task["call"], context.archive
    if call["error"]:
        raise WrongCall(call["error"]) if call["error"] == NOT_JSON else ToolException(call["error"])
    tool = context.tool(call["name"])
    if tool is None:
        raise WrongCall(f"there is no tool {call['name']!r}; there are {', '.join(tool.name for tool in context.tools)}")
    if done := brought(archive, call["step"]):  # the process died between its archiving and its checkpoint
        return _show(task, done, f"{len(done)} kept from before")
    if done := made_before(context, call):
        told = _show(task, done, f"as at step {done[0].step}")
        return replace(told, text=f"{prompts.made_before(done[0].step)}\n{told.text}")
    content, observation = await context.tape.use(call, partial(_run, tool, task))
    if observation is None:
        observation = Observation(documents=(Document(text=content, title=call["name"]),) if content.strip() else ())
    if observation.finding:
        return _noted(context, task, content, observation.finding)
    fresh = [document for document in observation.documents if not document.origin][:MAX_ORDINALS]
    recalled = [document for document in observation.documents if document.origin]
    segments = [_segment(context, task, n, document) for n, document in enumerate(fresh)]
    summary = context.redact(observation.summary)
    if recalled:
        again = _again(context, recalled, summary)
        if not segments:
            return again
        more = _show(task, segments)
        whole = [*again.whole, *more.whole]
        return _Shown(f"{again.text}\n{more.text}", again.summary, [*again.segments, *segments], segments, whole)
    if not segments:
        return _Shown(context.redact(content), summary or "nothing found")
    return replace(_show(task, segments, summary), brought=segments)


def _again(context: Context, recalled: Sequence[Document], summary: str) -> _Shown:
    """What was archived before, shown once more."""
    archive = context.archive
    segments = [segment for document in recalled if (segment := archive.get(document.origin))]
    texts = {document.origin: context.redact(document.text) for document in recalled}
    whole = [segment.id for segment in segments if texts[segment.id].strip() == segment.text.strip()]
    text = render(shown(segment, texts[segment.id]) for segment in segments)
    return _Shown(text, summary or _count(segments), segments, whole=whole)


async def _run(tool: BaseTool, task: Task) -> tuple[str, Observation | None]:
    call = task["call"]
    request = {"type": "tool_call", "id": call["id"], "name": call["name"], "args": call["args"]}
    quiet = tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})
    try:
        async with asyncio.timeout(TIMEOUT_S):
            message = await quiet.ainvoke(request, {"configurable": {"live_segments": tuple(task["live"]), "step": call["step"]}})
    except TimeoutError as error:
        raise ToolException(f"{call['name']} did not answer in {TIMEOUT_S:g} s") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:4])
        raise WrongCall(f"wrong arguments for {call['name']}: {faults}") from error
    except ToolException:
        raise
    except Exception as error:  # a tool may be anyone's: its fault is a result that the model sees and the report tells
        raise ToolException(f"{call['name']} failed: {type(error).__name__}: {error}") from error
    artifact = message.artifact if isinstance(message.artifact, Observation) else None
    return str(message.text), artifact


def _noted(context: Context, task: Task, content: str, finding: Finding) -> _Shown:
    """A finding; one that was noted before for the same sub-question stays the one it is."""
    claim, quote, base = context.redact(finding.claim), context.redact(finding.quote), _base(context, task)
    same = content_hash("\x1f".join((claim, quote, base.sub_question)))
    segment = replace(
        base, kind="finding", text=claim, quote=quote, source=finding.source, trust="own", tokens=estimate_tokens(claim), args_hash=same
    )
    known = context.archive.find(kind="finding", args_hash=same)
    noted = next((one for one in known if one.step < base.step and one.source == finding.source), None)
    return _Shown(context.redact(content), f"“{quote[:120]}”", [noted or segment], [] if noted else [segment], [(noted or segment).id])


def _segment(context: Context, task: Task, ordinal: int, document: Document) -> Segment:
    text = context.redact(document.text)
    return replace(
        _base(context, task),
        thread=thread_of(document.run),
        ordinal=ordinal,
        text=text,
        url=context.redact(label(document.url)),
        title=context.redact(label(document.title)),
        retrieved_at=document.retrieved_at or context.now(),
        tokens=estimate_tokens(text),
    )


def _base(context: Context, task: Task) -> Segment:
    call, sub_question = task["call"], task["sub_question"]["id"]
    return Segment(
        run=context.run, step=call["step"], kind="observation", text="", trust="untrusted", sub_question=sub_question, tool=call["name"]
    )


def _show(task: Task, segments: Sequence[Segment], summary: str = "") -> _Shown:
    """The segments as data blocks, each clipped to its share of the budget by what the call and the sub-question ask."""
    asked = " ".join(str(value) for key, value in task["call"]["args"].items() if key in ("query", "question"))
    query = f"{asked} {task['sub_question']['question']}"
    share = OBSERVATION_TOKENS // len(segments)
    clips = [best_passages(segment.text, query, share) for segment in segments]
    blocks = [shown(segment, clip.text, more_tokens=clip.left_out_tokens) for segment, clip in zip(segments, clips, strict=True)]
    whole = [segment.id for segment, clip in zip(segments, clips, strict=True) if not clip.left_out_tokens]
    return _Shown(render(blocks), summary or _count(segments), segments, whole=whole)


def _count(segments: Sequence[Segment]) -> str:
    return f"{len(segments)} document{'s' if len(segments) != 1 else ''}" if segments else "nothing found"
