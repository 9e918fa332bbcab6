"""Between the investigation and the report: is something missing that a follow-up could find?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from . import prompts, window
from .budget import purse
from .calls import Emit, InvalidOutput, add_usage
from .failures import ends_all, same_key
from .fit import Versions, ask_within, thinned
from .flight import Flight
from .investigate import over_limit
from .ports import Context, ModelCallError
from .state import NO_USAGE, Failure, ResearchState, ReviewDraft, SubQuestion, highest

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
    given = purse(context, state, usage, "reviewer")
    try:
        model, versions, flight = context.models["reviewer"], _versions(context, state), Flight.of(runtime)
        draft, reply = await ask_within(model, versions, ReviewDraft, role="reviewer", emit=emit, purse=given, flight=flight)
    except InvalidOutput as error:
        return {**base, "usage": add_usage(usage, error.spent), "failures": [_failure(state, str(error), emit)]}
    except ModelCallError as error:
        failure = _failure(state, error.reason, emit)
        if ends_all(error) and same_key(context.models["reviewer"], context.models["writer"]):
            failure["final"] = True
            base["stopped"] = error.reason
        return {**base, "usage": add_usage(usage, error.spent), "failures": [failure]}
    known = {" ".join(item["question"].lower().split()) for item in plan}
    asked = [context.redact(" ".join(text.split())) for text in draft.follow_ups]
    new = [text for text in asked if text and text.lower() not in known][:MAX_FOLLOW_UPS]
    emit({"type": "review", "verdict": context.redact(draft.verdict), "follow_ups": new})
    items = [SubQuestion(id=str(n), question=text, status="open", answer="") for n, text in enumerate(new, highest(state) + 1)]
    if items:
        emit({"type": "plan", "brief": state["brief"], "plan": [*plan, *items]})
    return {**base, "plan": [*plan, *items], "usage": add_usage(usage, reply.usage)}


def _versions(context: Context, state: ResearchState) -> Versions:
    """Whole; then without quotes, with shorter answers, and with fewer and fewer findings."""
    plan = state["plan"]
    whole, bare = window.finding_blocks(context.archive), window.finding_blocks(context.archive, quoted="")

    def version(blocks: Sequence[str], answer_chars: int | None) -> list[BaseMessage]:
        questions = [(item["id"], item["question"]) for item in plan]
        answers = [(item["id"], item["answer"][:answer_chars]) for item in plan]
        return [SystemMessage(prompts.REVIEWER), HumanMessage(prompts.review(state["question"], questions, blocks, answers))]

    fewer = [partial(version, thinned(bare, len(bare) >> halved), 300) for halved in range(len(bare).bit_length() + 1)]
    return [partial(version, whole, None), partial(version, bare, 1_000), *fewer, partial(version, [], 0)]


def _failure(state: ResearchState, reason: str, emit: Emit) -> Failure:
    """Told as it happens: nothing else on the screen says that nobody looked for what is missing."""
    emit({"type": "warning", "text": f"no review, so nothing is followed up: {reason}"})
    return Failure(step=state["step"], what="review", reason=reason)


async def route(state: ResearchState) -> Literal["investigate", "write"]:
    return "investigate" if any(item["status"] == "open" for item in state["plan"]) else "write"
