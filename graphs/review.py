"""Between the investigation and the report: is something missing that a follow-up could find?"""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from . import prompts, window
from .budget import purse
from .calls import InvalidOutput, add_usage, ask
from .flight import Flight
from .investigate import over_limit
from .ports import Context, ModelCallError
from .state import NO_USAGE, Failure, ResearchState, ReviewDraft, SubQuestion

MAX_REVIEWS = 2
MAX_FOLLOW_UPS = 3


async def review(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Appends follow-up sub-questions to the plan, or none. A reviewer that fails is reported and stands in nobody's way."""
    context, emit = runtime.context, runtime.stream_writer
    usage, reviews = state.get("usage", NO_USAGE), state.get("reviews", 0) + 1
    base: dict[str, Any] = {"reviews": reviews, "seconds": context.clock()}
    if reviews > MAX_REVIEWS or over_limit(context, state):
        return base
    plan = state["plan"]
    text = prompts.review(
        state["question"],
        [(item["id"], item["question"]) for item in plan],
        window.finding_blocks(context.archive),
        [(item["id"], item["answer"]) for item in plan],
    )
    messages = [SystemMessage(prompts.REVIEWER), HumanMessage(text)]
    given = purse(context, state, usage, "reviewer")
    try:
        flight = Flight.of(runtime)
        draft, reply = await ask(context.models["reviewer"], messages, ReviewDraft, role="reviewer", emit=emit, purse=given, flight=flight)
    except InvalidOutput as error:
        return {**base, "usage": add_usage(usage, error.spent), "failures": [_failure(state, str(error))]}
    except ModelCallError as error:
        return {**base, "usage": add_usage(usage, error.spent), "failures": [_failure(state, error.reason)]}
    known = {" ".join(item["question"].lower().split()) for item in plan}
    asked = [context.redact(" ".join(text.split())) for text in draft.follow_ups]
    new = [text for text in asked if text and text.lower() not in known][:MAX_FOLLOW_UPS]
    emit({"type": "review", "verdict": context.redact(draft.verdict), "follow_ups": new})
    items = [SubQuestion(id=str(n), question=text, status="open", answer="") for n, text in enumerate(new, len(plan) + 1)]
    if items:
        emit({"type": "plan", "brief": state["brief"], "plan": [*plan, *items]})
    return {**base, "plan": [*plan, *items], "usage": add_usage(usage, reply.usage)}


def _failure(state: ResearchState, reason: str) -> Failure:
    return Failure(step=state["step"], what="review", reason=reason)


def route(state: ResearchState) -> Literal["investigate", "write"]:
    return "investigate" if any(item["status"] == "open" for item in state["plan"]) else "write"
