"""One tool call, as a task of its own: run, archived whole, and shown to the model as the passages that serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.runtime import Runtime
from pydantic import ValidationError

from research_agent.memory import Segment, best_passages, estimate_tokens, handle
from research_agent.memory.segment import MAX_ORDINALS

from .observation import render
from .ports import Context, Document, Finding, Observation
from .state import NOT_JSON, Call, Failure, SubQuestion
from .window import keep, shown

OBSERVATION_TOKENS = 2_400
"""What one call may put into the prompt; the rest is a `recall` away."""
TIMEOUT_S = 180.0
REPEATS = (3, 5, 8)
"""At these counts of one call with the same arguments, the model is reminded (a vendor's own advice)."""


class WrongCall(ToolException):
    """There is no such tool, or its arguments are wrong: the model must call otherwise."""


class Task(TypedDict):
    """What the graph sends: one call, and what the loop knew when it was made."""

    call: Call
    sub_question: SubQuestion
    live: list[str]
    """Ids of the segments in the prompt: a recall leaves them out."""


async def act(state: Task, runtime: Runtime[Context]) -> dict[str, Any]:
    """Runs the call. Whatever happens becomes a result the model sees; only a cancelled run raises."""
    task, context, emit, call = state, runtime.context, runtime.stream_writer, state["call"]
    started = context.clock()
    emit({"type": "call", "step": call["step"], "name": call["name"], "args": call["args"], "sub_question": task["sub_question"]["id"]})
    reason, text, summary, segments, wrong = "", "", "", list[Segment](), False
    try:
        text, summary, segments = await _outcome(context, task)
        for segment in segments:
            if segment.kind == "finding" and (source := context.archive.get(segment.source)):
                told = {"claim": segment.text, "quote": segment.quote, "sub_question": segment.sub_question}
                emit({"type": "finding", "handle": source.handle, **told})
    except ToolException as error:
        wrong = isinstance(error, WrongCall)
        reason = context.redact(" ".join(str(error).split()))
        text = summary = f"Error: {reason}"
    text += _reminder(context, call)
    message = ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error" if reason else "success")
    ref = keep(message, context.archive, step=call["step"], opens=False, segments=[segment.id for segment in segments])
    emit(
        {
            "type": "result",
            "step": call["step"],
            "name": call["name"],
            "ok": not reason,
            "summary": summary,
            "sources": [{"handle": s.handle, "title": s.title, "url": s.url} for s in segments if s.kind == "observation"],
            "seconds": round(context.clock() - started, 3),
        }
    )
    if wrong:
        ref["wrong"] = True
    failures = [Failure(step=call["step"], what=call["name"], reason=reason)] if reason else []
    return {"results": {call["id"]: ref}, "failures": failures}


async def _outcome(context: Context, task: Task) -> tuple[str, str, list[Segment]]:
    """(text for the model, one line for people, the segments it shows). Raises ToolException."""
    call = task["call"]
    if call["error"]:
        raise WrongCall(call["error"]) if call["error"] == NOT_JSON else ToolException(call["error"])
    tool = context.tool(call["name"])
    if tool is None:
        raise WrongCall(f"there is no tool {call['name']!r}; there are {', '.join(tool.name for tool in context.tools)}")
    if done := _archived(context, call):
        return _show(context, task, done), f"{len(done)} kept from before", done
    content, observation = await _run(tool, task)
    if observation is None:
        observation = Observation(documents=(Document(text=content, title=call["name"]),) if content.strip() else ())
    if observation.finding:
        return await _noted(context, task, content, observation.finding)
    fresh = [document for document in observation.documents if not document.origin][:MAX_ORDINALS]
    recalled = [document for document in observation.documents if document.origin]
    segments = [_segment(context, task, n, document) for n, document in enumerate(fresh)]
    await context.archive.archive(segments)
    again = [segment for document in recalled if (segment := context.archive.get(document.origin))]
    parts = [_show(context, task, segments)] if segments else []
    if recalled:
        parts.append(render(shown(document.origin, context.redact(document.text), context.archive) for document in recalled))
    return "\n".join(parts) or context.redact(content), context.redact(observation.summary) or _count(segments or again), segments + again


async def _run(tool: BaseTool, task: Task) -> tuple[str, Observation | None]:
    call = task["call"]
    request = {"type": "tool_call", "id": call["id"], "name": call["name"], "args": call["args"]}
    quiet = tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})
    try:
        async with asyncio.timeout(TIMEOUT_S):
            message = await quiet.ainvoke(request, {"configurable": {"live_segments": tuple(task["live"])}})
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


def _archived(context: Context, call: Call) -> list[Segment]:
    """What this very call brought already, if the process died between its archiving and its checkpoint."""
    found: list[Segment] = []
    while segment := context.archive.get(handle(call["step"], len(found))):
        found.append(segment)
        if len(found) == MAX_ORDINALS:
            break
    return found


async def _noted(context: Context, task: Task, content: str, finding: Finding) -> tuple[str, str, list[Segment]]:
    claim, quote = context.redact(finding.claim), context.redact(finding.quote)
    segment = replace(
        _base(context, task), kind="finding", text=claim, quote=quote, source=finding.source, trust="own", tokens=estimate_tokens(claim)
    )
    await context.archive.archive([segment])
    return context.redact(content), f"“{quote[:120]}”", [segment]


def _segment(context: Context, task: Task, ordinal: int, document: Document) -> Segment:
    text = context.redact(document.text)
    return replace(
        _base(context, task),
        ordinal=ordinal,
        text=text,
        url=context.redact(document.url),
        title=context.redact(" ".join(document.title.split())),
        retrieved_at=document.retrieved_at or context.now(),
        tokens=estimate_tokens(text),
    )


def _base(context: Context, task: Task) -> Segment:
    call, sub_question = task["call"], task["sub_question"]["id"]
    return Segment(
        run=context.run, step=call["step"], kind="observation", text="", trust="untrusted", sub_question=sub_question, tool=call["name"]
    )


def _show(context: Context, task: Task, segments: Sequence[Segment]) -> str:
    """The segments as data blocks, each clipped to its share of the budget by what the call and the sub-question ask."""
    asked = " ".join(str(value) for key, value in task["call"]["args"].items() if key in ("query", "question"))
    query = f"{asked} {task['sub_question']['question']}"
    share = OBSERVATION_TOKENS // len(segments)
    blocks = []
    for segment in segments:
        clipped = best_passages(segment.text, query, share)
        blocks.append(shown(segment.id, clipped.text, context.archive, more_tokens=clipped.left_out_tokens))
    return render(blocks)


def _reminder(context: Context, call: Call) -> str:
    if not context.loop_guard or call["error"]:
        return ""
    mine = next((s.args_hash for s in context.archive.find(kind="call") if s.step == call["step"]), "")
    count = sum(s.step <= call["step"] for s in context.archive.find(kind="call", args_hash=mine)) if mine else 0
    if count not in REPEATS:
        return ""
    return f"\n\nYou have made this call {count} times with the same arguments. Its result will not change: try another way, or go on."


def _count(segments: Sequence[Segment]) -> str:
    return f"{len(segments)} document{'s' if len(segments) != 1 else ''}" if segments else "nothing found"
