"""What a damaged ledger no longer holds: the turns that showed it leave the conversation, whole, and the sub-questions whose findings it
held are open again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from research_agent.graphs import prompts
from research_agent.graphs.ports import Archive
from research_agent.graphs.state import ResearchState, SubQuestion, TurnRef, Usage
from research_agent.graphs.window import keep, load, whole_turns
from research_agent.history.changes import BRANCH, TASKS, amend, opened_by
from research_agent.history.noted import Noted
from research_agent.history.steps import values_of
from research_agent.memory import NotArchived


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages and findings that are lost, and what of the newest checkpoint is other without them."""

    at: CheckpointTuple
    count: int
    """Of the messages."""
    findings: Sequence[Noted]
    again: Sequence[str]
    """The sub-questions that are open again."""
    changed: ResearchState
    to: str | None
    """The node that runs next, where the calls that waited go with their turn, for nobody would read what they bring; and where the run
    was past investigating."""

    @property
    def told(self) -> dict[str, Any]:
        """As it is recorded: a replay leaves out the same."""
        return {"changed": self.changed, "to": self.to}

    async def leave_out(self, saver: BaseCheckpointSaver[Any]) -> None:
        """Done twice it comes to the same."""
        await amend(saver, self.at, self.changed, to=self.to)


async def lost_of(
    saver: BaseCheckpointSaver[Any], thread: RunnableConfig, bodies: Archive, findings: Sequence[Noted] = (), usage: Usage | None = None
) -> Lost | None:
    """`findings`: those that are lost. `usage`: of the run, where its newest checkpoints are, and with them a part of it.

    None where nothing is lost, and every message of the conversation is there.
    """
    found = await saver.aget_tuple(thread)
    if found is None:
        return None
    values = values_of(found)
    head, turns, results = values.get("head") or [], values.get("turns") or [], _results(found)
    lost = {turn["ref"] for turn in (*head, *turns, *results) if not _there(turn["ref"], bodies)}
    again = _again(values, findings, bodies)
    if not lost and not findings and not again and usage is None:
        return None
    untrue = _telling(findings, head[1:], [*turns, *results], lost, bodies)
    changed = _without(lost | untrue, values, results, bodies) if lost or untrue else ResearchState()
    to = "investigate" if "calls" in changed or (again and _past(found, values)) else None
    if findings:  # a draft that tells of them would be taken for one of as many that are noted since
        changed = {**changed, "report": {}}
    if again:
        changed = {**changed, **_open(again, {**values, **changed}, bodies)}
    if usage is not None:
        changed = {**changed, "usage": usage}
    return Lost(found, len(lost), findings, again, changed, to)


def _past(found: CheckpointTuple, values: ResearchState) -> bool:
    """Whether it was past investigating. One that ended, and was killed before its report was written, has nothing next; one that was
    stopped has neither, and is opened as any other.
    """
    channels = found.checkpoint["channel_values"]
    following = {name.removeprefix(BRANCH) for name in channels if name.startswith(BRANCH)}
    ended = not following and not channels.get(TASKS) and not values.get("stopped")
    return ended or not following.isdisjoint(("review", "write"))


def _telling(findings: Sequence[Noted], memory: Sequence[TurnRef], turns: Sequence[TurnRef], lost: set[str], bodies: Archive) -> set[str]:
    """The messages by which a model would believe that what is lost is kept, or could be noted from where it was read."""
    if not findings:
        return set()
    steps, claims = {finding.step for finding in findings if finding.step}, [finding.claim for finding in findings]
    blocks = [message["ref"] for message in memory if message["ref"] not in lost]
    told = {ref for ref in blocks if any(claim in str(load(ref, bodies).text) for claim in claims)}
    shown = [turn for turn in turns if not turn["opens"]]
    return told | {turn["ref"] for turn in shown if turn["step"] in steps or not all(map(bodies.get, turn["segments"]))}


def _again(values: ResearchState, findings: Sequence[Noted], bodies: Archive) -> list[str]:
    """The sub-questions that were closed on what is lost: all of them, where nothing is left of what was read."""
    empty, known = bodies.last_step() == 0 < values.get("step", 0), {finding.sub_question for finding in findings}
    return [item["id"] for item in values.get("plan") or () if item["status"] != "open" and (empty or item["id"] in known)]


def _open(again: Sequence[str], values: ResearchState, bodies: Archive) -> ResearchState:
    plan = [SubQuestion({**item, "status": "open", "answer": ""}) if item["id"] in again else item for item in values["plan"]]
    turns = whole_turns(values.get("turns") or [])
    told = keep(HumanMessage(prompts.lost_findings(again)), bodies, step=values.get("step", 0), opens=True)
    turns.insert(len(turns) - bool(values.get("calls")), [told])  # no call may stand alone
    return {"plan": plan, "turns": [message for turn in turns for message in turn], "opened": "", "report": {}}


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
