"""A state with another plan, another question, or another model behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage

from research_agent.graphs import prompts
from research_agent.graphs.state import ResearchState, SubQuestion, TurnRef
from research_agent.graphs.window import keep


def other_plan(values: ResearchState, plan: Sequence[str], question: str, bodies: Any) -> ResearchState:
    """These sub-questions instead. What is asked again keeps its number, its answer and its findings."""
    old = values["plan"]
    known = {" ".join(item["question"].lower().split()): item for item in old}
    number = max((int(item["id"]) for item in old), default=0) if values.get("step") else 0
    items: list[SubQuestion] = []
    for text in plan:
        same = known.get(text.lower())
        if same is None:
            number += 1
            same = SubQuestion(id=str(number), question=text, status="open", answer="")
        items.append(same if values.get("step") else {**same, "id": str(len(items) + 1)})
    changed: ResearchState = {"plan": items}
    if question:
        changed["question"] = question
    if values.get("head"):
        changed["head"] = _opened_by(values, question or values["question"], items, bodies)
    return changed


def _opened_by(values: ResearchState, question: str, plan: Sequence[SubQuestion], bodies: Any) -> list[TurnRef]:
    text = prompts.brief(question, values["brief"], [(item["id"], item["question"]) for item in plan])
    return [keep(HumanMessage(text), bodies, step=0, opens=True), *values["head"][1:]]


def other_question(values: ResearchState, question: str, turns: list[TurnRef]) -> ResearchState:
    """Nothing planned; what was read and found is kept."""
    return {"question": question, "plan": [], "turns": turns, "calls": [], "results": {}, "opened": "", "feedback": "", "reviews": 0}
