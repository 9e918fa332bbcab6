"""A person's word on the plan, if it is wanted: LangGraph's interrupt, answered by whoever runs the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from .ports import Context
from .state import ResearchState, SubQuestion

ALLOWED = "{approve: true}, {plan: [sub-question, ...]} or {feedback: text}"


async def approve(state: ResearchState, runtime: Runtime[Context]) -> Command[Literal["plan", "open"]]:
    """Waits for a person, if the plan wants approval.

    Resumed with `{"approve": true}`, `{"plan": ["...", ...]}` (these sub-questions instead), or `{"feedback": "..."}` (plan again).
    To anything else the plan waits on, and the interrupt says what is allowed.
    """
    context = runtime.context
    if not context.approve_plan:
        return Command(goto="open")
    asked: dict[str, Any] = {"type": "approval", "brief": state["brief"], "plan": state["plan"]}
    while not (answer := read_answer(interrupt(asked))):
        asked = {**asked, "fault": f"not an answer to a plan; allowed: {ALLOWED}"}
    if feedback := answer.get("feedback"):
        return Command(goto="plan", update={"feedback": context.redact(feedback)})
    if plan := answer.get("plan"):
        items = [SubQuestion(id=str(n), question=context.redact(text), status="open", answer="") for n, text in enumerate(plan, 1)]
        runtime.stream_writer({"type": "plan", "brief": state["brief"], "plan": items})
        return Command(goto="open", update={"plan": items})
    return Command(goto="open")


def read_answer(answer: Any) -> dict[str, Any]:
    """The one thing that an answer says; empty if it says none of them."""
    if not isinstance(answer, Mapping):
        return {}
    feedback, plan = answer.get("feedback"), answer.get("plan")
    if isinstance(feedback, str) and feedback.strip():
        return {"feedback": feedback.strip()}
    if isinstance(plan, list) and all(isinstance(text, str) for text in plan):
        texts = list(dict.fromkeys(" ".join(text.split()) for text in plan if text.strip()))
        return {"plan": texts} if texts else {}
    return {"approve": True} if answer.get("approve") is True else {}
