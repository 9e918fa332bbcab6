"""The steps of a run in its checkpoints.

A step is one tool call; a checkpoint stands after each model turn, and after the calls that it made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from research_agent.graphs.state import Call, ResearchState, is_refused
from research_agent.history.snapshot import snapshot
from research_agent.runs import Run, RunError
from research_agent.stores import checkpoint_file, places
from research_agent.stores.checkpoints import mend, open_checkpoints, refuse_newer


class NoSuchStep(RunError):
    """A step that the run does not have: one line that names those it has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stood when a step was done and the next was not begun."""

    at: CheckpointTuple
    done: frozenset[str] | None
    """Of a turn whose later calls are still to be made: the ids of those that were; None where no call waits."""


@asynccontextmanager
async def read_only(run: Run) -> AsyncIterator[list[CheckpointTuple]]:
    """The run's checkpoints, the oldest first, as they are now. A run that somebody works on can be read."""
    with TemporaryDirectory(prefix="research-agent-") as folder:
        yield await checkpoints(run, Path(folder))


async def checkpoints(run: Run, folder: Path) -> list[CheckpointTuple]:
    """By a copy of the database, which is made in `folder`; on a server, as they stand there, if nobody works on the run.

    Raises RunError for what a newer version wrote, and for a run that is half forgotten.
    """
    run.refuse_half_forgotten()
    found = await _found(run, folder)
    refuse_newer(found[-1].metadata if found else None, run.id)
    return found


async def _found(run: Run, folder: Path) -> list[CheckpointTuple]:
    place = places.of(run, places.recorded(run.read()))
    if place.server is not None:
        async with open_checkpoints(place, lambda text: None) as there:
            return await listed(there, run.id)
    copy = snapshot(run, run.checkpoints.name, folder)
    if copy is None:
        return []
    try:
        return await _in(copy, run)
    except checkpoint_file.DAMAGE:
        mend(copy, lambda text: None, run.checkpoints)  # the run's own is mended, and that told, when it is gone on with
        return await _in(copy, run)


async def _in(copy: Path, run: Run) -> list[CheckpointTuple]:
    async with checkpoint_file.opened(copy) as saver:
        return await listed(saver, run.id)


async def listed(saver: BaseCheckpointSaver[Any], thread: str) -> list[CheckpointTuple]:
    """A thread's checkpoints, the oldest first."""
    found = [item async for item in saver.alist({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})]
    return found[::-1]


def values_of(item: CheckpointTuple) -> ResearchState:
    return cast(ResearchState, item.checkpoint["channel_values"])


def answered(item: CheckpointTuple) -> frozenset[str]:
    """The ids of the last turn's calls that have a result: in the state, or written by a task whose super-step has not ended."""
    found = set(values_of(item).get("results") or {})
    for _, channel, value in item.pending_writes or ():
        if channel == "results" and isinstance(value, Mapping):
            found |= set(value)
    return frozenset(found)


def done_through(item: CheckpointTuple) -> int:
    """The last step of which it and all before it are done."""
    values, results = values_of(item), answered(item)
    left = [call["step"] for call in values.get("calls") or () if call["id"] not in results]
    return min(left) - 1 if left else values.get("step") or 0


def last_step(history: Sequence[CheckpointTuple]) -> int:
    return max((done_through(item) for item in history), default=0)


def place(history: Sequence[CheckpointTuple], step: int) -> Place | None:
    """Where the run stood at a step; None where it has no plan yet. Raises NoSuchStep."""
    last = last_step(history)
    if not 0 <= step <= last:
        raise NoSuchStep(f"step {step}: not allowed: {f'0 to {last}' if last else '0, for the run has made no step yet'}")
    partial: Place | None = None
    for item in history:
        values = values_of(item)
        calls = values.get("calls") or []
        if all(call["id"] in (values.get("results") or {}) for call in calls):
            if values.get("head") and values["step"] == step:
                return Place(item, None)
        elif partial is None and _interior(calls, step) and _made(calls, step) <= answered(item):
            partial = Place(item, _made(calls, step))
            if step == calls[-1]["step"] and any(map(is_refused, calls)):
                return partial  # calls of this turn wait still: a limit refused them, and another may let them be made
    if partial or step:
        return partial
    planned = [item for item in history if values_of(item).get("plan")]
    return Place(planned[0], None) if planned else None


def _interior(calls: Sequence[Call], step: int) -> bool:
    return calls[0]["step"] <= step <= calls[-1]["step"]


def _made(calls: Sequence[Call], step: int) -> frozenset[str]:
    return frozenset(call["id"] for call in calls if call["step"] <= step and not is_refused(call))
