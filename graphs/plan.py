"""The plan: what to find out, in which order."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from research_agent.memory import Segment

from . import prompts
from .budget import purse
from .calls import InvalidOutput, add_usage, ask
from .flight import Flight
from .ports import Context
from .state import NO_USAGE, Failure, PlanDraft, ResearchState, SubQuestion
from .window import keep

MAX_SUB_QUESTIONS = 12


async def plan(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Asks the planner; a planner that cannot plan leaves the question itself as the plan."""
    context, emit = runtime.context, runtime.stream_writer
    question = " ".join(context.redact(state["question"]).split())
    messages = [SystemMessage(prompts.PLANNER), HumanMessage(prompts.plan(question, feedback=state.get("feedback", "")))]
    failures: list[Failure] = []
    reasoning, usage = "", state.get("usage", NO_USAGE)
    try:
        given = purse(context, state, usage, "planner")
        flight = Flight.of(runtime)
        draft, reply = await ask(context.models["planner"], messages, PlanDraft, role="planner", emit=emit, purse=given, flight=flight)
        reasoning, usage = reply.reasoning, add_usage(usage, reply.usage)
    except InvalidOutput as error:
        draft = PlanDraft(brief="", sub_questions=[])
        usage = add_usage(usage, error.spent)
        failures = [Failure(step=0, what="plan", reason=f"{error}; the question itself is the plan")]
        emit({"type": "warning", "text": failures[0]["reason"]})
    questions = [" ".join(text.split()) for text in draft.sub_questions if text.strip()][:MAX_SUB_QUESTIONS] or [question]
    items = [SubQuestion(id=str(n), question=context.redact(text), status="open", answer="") for n, text in enumerate(questions, 1)]
    brief = context.redact(draft.brief)
    emit({"type": "turn", "role": "planner", "reasoning": reasoning, "content": brief, "calls": [], "usage": usage})
    emit({"type": "plan", "brief": brief, "plan": items})
    text = "\n".join(f"{item['id']}. {item['question']}" for item in items)
    attempt = state.get("attempt", 0)
    segments = [Segment(run=context.run, step=0, kind="plan", ordinal=attempt, text=text, trust="own")]
    if reasoning:
        segments.append(Segment(run=context.run, step=0, kind="reasoning", ordinal=attempt, text=context.redact(reasoning), trust="own"))
    await context.archive.archive(segments)
    return {
        "question": question,
        "brief": brief,
        "plan": items,
        "usage": usage,
        "failures": failures,
        "attempt": attempt + 1,
        "step": state.get("step", 0),  # a fork with another question has made some already
        "head": state.get("head", []),
        "turns": state.get("turns", []),
        "calls": [],
        "seconds": context.clock(),
    }


def open_(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Opens the conversation with the brief: from here on it is only appended to."""
    sub_questions = [(item["id"], item["question"]) for item in state["plan"]]
    text = prompts.brief(state["question"], state["brief"], sub_questions, earlier=runtime.context.earlier)
    opening = keep(HumanMessage(text), runtime.context.archive, step=0, opens=True)
    return {"head": [opening, *state.get("head", [])[1:]]}
