"""Whether a run is where a command needs it to be, before the command changes anything of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from research_agent.answering import answer_of
from research_agent.config import Config
from research_agent.graphs.approve import ALLOWED, read_answer
from research_agent.history.changes import BRANCH, TASKS
from research_agent.history.noted import lost_for_good
from research_agent.history.steps import read_only, values_of
from research_agent.memory import Archive, ArchiveError
from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError

_INTERRUPT = "__interrupt__"


async def must_wait(run: Run) -> None:
    """For a person's word on its plan. Raises RunError."""
    if not await _waits(run):
        ended = run.read().get("status") == "complete"
        on = "it is complete" if ended else f"`research-agent resume {run.name}` goes on with it"
        other = f"`research-agent fork {run.name} --at STEP --plan FILE` takes another plan"
        raise RunError(f"run {run.id} does not wait for a word on its plan: {on}, {other}")


def answer_to(run: Run, config: Config, answer: str | Mapping[str, Any]) -> dict[str, Any]:
    """As the graph takes it. Raises RunError for what says nothing, or asks for what the planner cannot do."""
    said = read_answer(answer_of(answer) if isinstance(answer, str) else answer)
    if not said:
        raise RunError(f"{answer!r} is no answer to a plan; allowed: 'yes', a text that says what to change, {ALLOWED}")
    if "feedback" in said and config.model_for("planner").provider == "extractive":
        edit = f"(`research-agent show {run.name} --plan` prints it as one to edit)"
        other = f"`research-agent resume {run.name} --plan FILE` gives another {edit}"
        raise RunError(f"the extractive planner cannot change a plan by words: {other}, --answer yes goes on with it")
    return said


async def _waits(run: Run) -> bool:
    async with read_only(run) as history:
        return bool(history) and any(channel == _INTERRUPT for _, channel, _ in history[-1].pending_writes or ())


async def must_remember(run: Run, *, rewrite: bool = False) -> None:
    """What it found, where it is complete or is only to be reported anew: it would end as one that found less. Raises RunError."""
    record = run.read()
    complete, stays = (
        record.get("status") == "complete",
        "its report stays as it is, and nothing can go on from it until ledger.sqlite is back",
    )
    if complete and _holds_nothing(run):
        raise RunError(f"run {run.id} is complete, and its ledger is gone: there is no memory in {run.folder}; {stays}")
    if (complete or rewrite) and (lost := await _lost(run)):
        step = run.steps_before() + int(record.get("steps") or 0)
        again = f"{stays}, but `research-agent fork {run.name} --at {step}` investigates again" if complete else _resume(run)
        raise RunError(f"run {run.id} is {record.get('status')}, and {lost} of its findings are lost with a part of its ledger: {again}")


def _resume(run: Run) -> str:
    return f"`research-agent resume {run.name}` investigates again"


async def _lost(run: Run) -> int:
    try:
        archive = Archive.open(run.folder, run=run.id, read_only=True)
    except ArchiveError:  # damage is told by whoever opens it to work
        return 0
    try:
        return lost_for_good(run, archive)
    except ArchiveError:  # damage is told by whoever opens it to work
        return 0
    finally:
        await archive.close()


def must_hold(run: Run) -> None:
    """Something, where it was worked on: whose state is elsewhere would go on as if it had read nothing. Raises RunError."""
    if "servers" in run.read() and not (run.folder / "ledger.sqlite").is_file():
        told = f"run {run.id} cannot be gone on with: its ledger is gone, and with it all that it had read and noted"
        raise RunError(f"{told}; put ledger.sqlite back into {run.folder}, or begin another run")


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
    waits = any(name.startswith(BRANCH) for name in channels) or bool(channels.get(TASKS))
    return waits or not values_of(item).get("plan")
