"""A run's memory as it was at a step, copied for another run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from langgraph.types import Send

from research_agent.graphs.state import Call, ResearchState
from research_agent.memory import NotArchived, Segment
from research_agent.memory.ledger import Ledger

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Then:
    """What of a run's memory there was when a step was done and the next not begun."""

    step: int
    made: int
    """The last step whose call was made: later than `step` inside a turn of several calls."""
    turn: int
    plans: int

    @classmethod
    def of(cls, values: ResearchState, step: int) -> Then:
        return cls(step=step, made=values.get("step") or 0, turn=values.get("turn", 0), plans=values.get("attempt", 0))

    def had(self, segment: Segment) -> bool:
        """A turn's thought stands at the step before its calls, so it is told from the next turn's by its number."""
        match segment.kind:
            case "observation" | "finding":
                return segment.step <= self.step
            case "call":
                return segment.step <= self.made
            case "plan":
                return segment.ordinal < self.plans
        if segment.step >= self.step and segment.kind == "answer" and not segment.ordinal:
            return False  # of the writer
        return segment.ordinal <= self.turn or (segment.step == 0 and segment.kind == "reasoning" and segment.ordinal < self.plans)


@dataclass(frozen=True, slots=True)
class Move:
    """From one run's memory to another's."""

    parent: str
    run: str
    calls: Mapping[str, Call]
    """As they are in the new run, by the ids of their segments, where its limit lets others be made."""

    def of(self, segment: Segment) -> Segment:
        moved = replace(segment, run=self.run)
        call = self.calls.get(segment.id)
        return replace(moved, step=call["step"], title=call["error"]) if call else moved

    def ids(self, source: Ledger) -> dict[str, str]:
        """The ids of the parent's segments, and what they are called in the new run."""
        return {segment.id: self.of(segment).id for segment in source.segments(self.parent)}


def copy_segments(source: Ledger, target: Ledger, *, move: Move, then: Then, renamed: Mapping[str, str], anew: bool) -> int:
    """How many were copied: those of `then`, under the ids that they have in the new run.

    `anew`: it will be planned anew, so they belong to none of the sub-questions to come.
    """
    kept = (_moved(segment, move, renamed, anew=anew) for segment in source.segments(move.parent) if then.had(segment))
    return sum(target.add(batch) for batch in _batches(kept))


def _moved(segment: Segment, move: Move, renamed: Mapping[str, str], *, anew: bool) -> Segment:
    return replace(
        move.of(segment),
        sub_question="" if anew else segment.sub_question,
        source=renamed.get(segment.source, segment.source),
        supersedes=renamed.get(segment.supersedes, segment.supersedes),
    )


def _batches(items: Iterable[Segment]) -> Iterator[list[Segment]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch


def copy_bodies(source: Ledger, target: Ledger, refs: Iterable[str]) -> None:
    """The messages that checkpoints name. One that the parent has lost is told when the fork needs it, not before."""
    for ref in refs:
        try:
            target.put_body(source.get_body(ref))
        except NotArchived:
            continue


def refs_in(value: Any) -> set[str]:
    """The references to messages anywhere in a checkpoint's values."""
    if isinstance(value, Mapping):
        own = {value["ref"]} if isinstance(value.get("ref"), str) else set()
        return own.union(*(refs_in(item) for item in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(refs_in(item) for item in value))
    return set()


def with_ids(value: Any, renamed: Mapping[str, str]) -> Any:
    """A checkpoint's values with the new run's segment ids."""
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, Mapping):
        return {key: with_ids(item, renamed) for key, item in value.items()}
    if isinstance(value, list):
        return [with_ids(item, renamed) for item in value]
    if isinstance(value, tuple):
        return tuple(with_ids(item, renamed) for item in value)
    if isinstance(value, Send):
        return Send(value.node, with_ids(value.arg, renamed))
    return value
