"""What a damaged ledger no longer holds of a conversation: the turns that showed it go, whole, and the run goes on with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from research_agent.graphs.ports import Archive
from research_agent.graphs.state import ResearchState, TurnRef
from research_agent.graphs.window import whole_turns
from research_agent.history.changes import amend, opened_by
from research_agent.history.steps import values_of
from research_agent.memory import NotArchived


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages that are lost, and what of the newest checkpoint is other without their turns."""

    at: CheckpointTuple
    count: int
    changed: ResearchState
    to: str | None
    """The node that runs next, where the calls that waited go with their turn: nobody would read what they bring."""

    @property
    def told(self) -> dict[str, Any]:
        """As it is recorded: a replay leaves out the same."""
        return {"changed": self.changed, "to": self.to}

    async def leave_out(self, saver: BaseCheckpointSaver[Any]) -> None:
        """Done twice it comes to the same."""
        await amend(saver, self.at, self.changed, to=self.to)


async def lost_of(saver: BaseCheckpointSaver[Any], thread: RunnableConfig, bodies: Archive) -> Lost | None:
    """None where every message of the conversation is there."""
    found = await saver.aget_tuple(thread)
    if found is None:
        return None
    values = values_of(found)
    head, turns, results = values.get("head") or [], values.get("turns") or [], _results(found)
    lost = {turn["ref"] for turn in (*head, *turns, *results) if not _there(turn["ref"], bodies)}
    if not lost:
        return None
    changed = _without(lost, values, results, bodies)
    return Lost(found, len(lost), changed, "investigate" if "calls" in changed else None)


def _results(item: CheckpointTuple) -> list[TurnRef]:
    """Of the last calls: in the state, or written by tasks whose super-step has not ended."""
    written = [value for _, channel, value in item.pending_writes or () if channel == "results" and isinstance(value, Mapping)]
    return [ref for value in (values_of(item).get("results") or {}, *written) for ref in value.values()]


def _there(ref: str, bodies: Archive) -> bool:
    try:
        bodies.get_body(ref)
    except NotArchived:
        return False
    return True


def _without(lost: set[str], values: ResearchState, results: Sequence[TurnRef], bodies: Archive) -> ResearchState:
    """What of the state is other. A call stands and falls with its turn: its result would be an orphan."""
    turns = whole_turns(values.get("turns") or [])
    if values.get("calls"):
        turns[-1] = [*turns[-1], *results]
    kept = [turn for turn in turns if not lost & {message["ref"] for message in turn}]
    answered = {result["ref"] for result in results}
    changed: ResearchState = {"turns": [message for turn in kept for message in turn if message["ref"] not in answered], "opened": ""}
    if values.get("calls") and kept[-1:] != turns[-1:]:
        changed |= {"calls": [], "results": {}}
    if head := values.get("head"):
        opening, *memory = opened_by(values, values["question"], values["plan"], bodies) if head[0]["ref"] in lost else head
        changed["head"] = [opening, *(message for message in memory if message["ref"] not in lost)]
    return changed
