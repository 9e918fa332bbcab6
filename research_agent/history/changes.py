"""A state with another plan, another question, or another model behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.types import Send

from research_agent.graphs import prompts
from research_agent.graphs.state import ResearchState, SubQuestion, TurnRef, highest
from research_agent.graphs.window import keep

TASKS = "__pregel_tasks"
BRANCH = "branch:to:"


def other_plan(values: ResearchState, plan: Sequence[str], question: str, bodies: Any) -> ResearchState:
    """These sub-questions instead. What is asked again keeps its number, its answer and its findings."""
    old = values["plan"]
    known = {" ".join(item["question"].lower().split()): item for item in old}
    number = before = highest(values) if values.get("step") else 0
    items: list[SubQuestion] = []
    for text in plan:
        same = known.get(text.lower())
        if same is None:
            number += 1
            same = SubQuestion(id=str(number), question=text, status="open", answer="")
        items.append(same if values.get("step") else {**same, "id": str(len(items) + 1)})
    changed: ResearchState = {"plan": items, "given": before}
    if question:
        changed["question"] = question
    if values.get("head"):
        changed["head"] = opened_by(values, question or values["question"], items, bodies)
    return changed


def opened_by(values: ResearchState, question: str, plan: Sequence[SubQuestion], bodies: Any) -> list[TurnRef]:
    text = prompts.brief(question, values["brief"], [(item["id"], item["question"]) for item in plan])
    return [keep(HumanMessage(text), bodies, step=0, opens=True), *values["head"][1:]]


def other_question(values: ResearchState, question: str, turns: list[TurnRef]) -> ResearchState:
    """Nothing planned; what was read and found is kept."""
    return {"question": question, "plan": [], "turns": turns, "calls": [], "results": {}, "opened": "", "feedback": "", "reviews": 0}


async def amend(saver: BaseCheckpointSaver[Any], at: CheckpointTuple, changed: Mapping[str, Any], *, to: str | None = None) -> None:
    """Writes a thread's newest checkpoint again with other values. The tasks that wait on it still do, those of calls with the calls as
    they are now; with `to`, that node alone runs next, and none where it is empty."""
    checkpoint = at.checkpoint
    values = {**checkpoint["channel_values"], **changed}
    anew = set(changed)
    if to is not None:
        values = {name: value for name, value in values.items() if not name.startswith(BRANCH)} | {TASKS: []}
        if to:
            values[BRANCH + to] = None
            anew.add(BRANCH + to)
    elif sent := values.get(TASKS):
        calls = {call["id"]: call for call in changed.get("calls") or ()}
        values[TASKS] = [Send(s.node, {**s.arg, "call": calls.get(s.arg["call"]["id"], s.arg["call"])}) for s in sent]
    versions = dict(checkpoint["channel_versions"])
    version = saver.get_next_version(max(versions.values(), default=None), None)
    versions |= dict.fromkeys(anew, version)
    config: RunnableConfig = {"configurable": {"thread_id": at.config["configurable"]["thread_id"], "checkpoint_ns": ""}}
    if at.parent_config:
        config["configurable"]["checkpoint_id"] = at.parent_config["configurable"]["checkpoint_id"]
    metadata = cast(CheckpointMetadata, dict(at.metadata))
    written = {**checkpoint, "channel_values": values, "channel_versions": versions}
    if to is not None:
        written["updated_channels"] = None  # by which LangGraph would look for tasks among what was written then only
    await saver.aput(config, cast(Checkpoint, written), metadata, versions)
