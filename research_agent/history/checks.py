"""Whether a run is where a command needs it to be, before the command changes anything of it."""

from __future__ import annotations

from contextlib import closing

from langgraph.checkpoint.base import CheckpointTuple

from research_agent.history.steps import read_only, values_of
from research_agent.memory import ArchiveError
from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError

_INTERRUPT, _TASKS, _BRANCH = "__interrupt__", "__pregel_tasks", "branch:to:"


async def must_wait(run: Run) -> None:
    """For a person's word on its plan. Raises RunError."""
    if not await _waits(run):
        raise RunError(
            f"run {run.id} does not wait for a word on its plan: `research-agent resume {run.name}` goes on with it, "
            f"`research-agent fork {run.name} --at STEP --plan FILE` takes another plan"
        )


async def _waits(run: Run) -> bool:
    async with read_only(run) as history:
        return bool(history) and any(channel == _INTERRUPT for _, channel, _ in history[-1].pending_writes or ())


def must_remember(run: Run) -> None:
    """What it found, where it is complete: without its ledger it would end as one that found nothing. Raises RunError."""
    if run.read().get("status") == "complete" and _holds_nothing(run):
        told = f"run {run.id} is complete, and its ledger is gone: there is no memory in {run.folder}"
        raise RunError(f"{told}; its report stays as it is, and nothing can go on from it until ledger.sqlite is back")


def _holds_nothing(run: Run) -> bool:
    path = run.folder / "ledger.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return True
    try:
        with closing(Ledger(path, read_only=True)) as ledger:
            return ledger.count(run.id)[0] == 0
    except ArchiveError:  # damage is told by whoever opens it to work
        return False


async def must_have_ended(run: Run) -> None:
    """With something to write about. Raises RunError."""
    async with read_only(run) as history:
        if not history or _goes_on(history[-1]):
            raise RunError(f"run {run.id} has not come to its report yet: `research-agent resume {run.name}` goes on")


def _goes_on(item: CheckpointTuple) -> bool:
    channels = item.checkpoint["channel_values"]
    waits = any(name.startswith(_BRANCH) for name in channels) or bool(channels.get(_TASKS))
    return waits or not values_of(item).get("plan")
