"""A fork: a new run that begins where another one stood at a step, with another plan, question or model. The other is only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from research_agent import runs
from research_agent.assets.keep import Assets
from research_agent.config import Config
from research_agent.graphs.build import build_research_graph
from research_agent.graphs.calls import add_usage
from research_agent.graphs.state import NO_USAGE, Call, ResearchState, Usage, numbered
from research_agent.history.changes import amend, other_plan, other_question
from research_agent.history.memory_copy import Move, Then, copy_bodies, copy_segments, refs_in, with_ids
from research_agent.history.noted import hand_on
from research_agent.history.records import NAME, Record, Records, current
from research_agent.history.snapshot import ledger, snapshot
from research_agent.history.steps import NoSuchStep, Place, checkpoints, place, values_of
from research_agent.memory import Segment
from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError
from research_agent.stores import checkpoint_file
from research_agent.stores.checkpoints import none_before, thread_of

_INPUT = "__input__"  # LangGraph's name for a new input, which makes the graph begin anew with the state there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is different from here on."""

    plan: Sequence[str] = ()
    """Sub-questions in place of the plan. One that is in it already keeps its answer and what was found for it."""
    question: str = ""
    """Without a plan of its own it is planned anew."""


async def fork(parent: Run, step: int, config: Config, changes: Changes = Changes()) -> Run:
    """The new run's folder, ready to be gone on with. Raises NoSuchStep and RunError; then there is no folder."""
    with TemporaryDirectory(prefix="research-agent-") as temporary:
        folder = Path(temporary)
        history = await checkpoints(parent, folder)
        at = place(history, step)
        if at is None and changes.plan:
            raise NoSuchStep(f"--plan: not allowed: run {parent.id} has no plan yet that another could stand for; --question is")
        if at is not None and not step and changes.question and not changes.plan:
            at = None  # another question before the first step: nothing of this one's is of use
        source = ledger(parent, folder) if at is not None else None
        if at is not None and source is None:
            raise RunError(f"run {parent.id} has no ledger.sqlite: what it read is lost, so it cannot be forked")
        told = {"id": parent.id, "folder": str(parent.folder), "step": step, **_spent(parent, at)}
        nothing = {"steps": 0, "usd": 0.0, "seconds": 0.0}
        own = config.public()
        own["store"] = {**own.get("store", {}), "checkpoints": None}  # made here; its first session brings them to a server
        with runs.built(config.out, config.question, config=own, parent=told, **nothing) as run:
            if at is not None and source is not None:
                await _Copy(parent, run, at, step, source, snapshot(parent, NAME, folder), changes, config).make(history)
                Assets(parent.folder).copied(run.folder, upto=step)
                hand_on(parent, run, upto=step, anew=bool(changes.question) and not changes.plan)
            run.update(status="incomplete", reason="forked, not begun")
    return Run(config.out.resolve() / run.id)


def _spent(parent: Run, at: Place | None) -> dict[str, Any]:
    """What was spent on the way here, by the parent and by whoever it was forked from."""
    if at is None:
        return {"checkpoint": "", "usd": 0.0, "tokens": _tokens(NO_USAGE), "model_calls": 0, "seconds": 0.0}
    values, before = values_of(at.at), parent.read().get("parent") or {}
    usage, seconds = values.get("usage", NO_USAGE), values.get("seconds", 0.0)
    id = at.at.checkpoint["id"]
    if before and id >= before.get("checkpoint", ""):  # at and after the parent's own beginning its state counts from there
        earlier = cast(Usage, {**before["tokens"], "calls": before["model_calls"], "usd": before["usd"]})
        usage, seconds = add_usage(usage, earlier), seconds + before["seconds"]
    return {
        "checkpoint": id,
        "usd": round(usage["usd"], 6),
        "tokens": _tokens(usage),
        "model_calls": usage["calls"],
        "seconds": round(seconds, 3),
    }


def _tokens(usage: Usage) -> dict[str, int]:
    return {"input": usage["input"], "cached": usage["cached"], "output": usage["output"], "reasoning": usage["reasoning"]}


class _Copy:
    """The parent's checkpoints and memory up to a place, as the new run's."""

    def __init__(
        self, parent: Run, run: Run, at: Place, step: int, source: Ledger, records: Path | None, changes: Changes, config: Config
    ) -> None:
        self._parent, self._run, self._at, self._step, self._changes, self._config = parent, run, at, step, changes, config
        self._source = source
        self._target = Ledger(run.folder / "ledger.sqlite")
        self._replans = bool(changes.question) and not changes.plan
        self._before = _read(records) if records else []
        self._records = Records(run.folder / NAME)
        self._calls = [] if self._replans else _calls_again(at, config.limits.steps + step)
        self._move = Move(parent.id, run.id, _by_segment(parent.id, values_of(at.at).get("calls") or (), self._calls))
        self._renamed = self._move.ids(self._source)

    async def make(self, history: Sequence[CheckpointTuple]) -> None:
        upto = [item for item in history if item.checkpoint["id"] <= self._at.at.checkpoint["id"]]
        try:
            then = Then.of(values_of(self._at.at), self._step)
            copy_segments(self._source, self._target, move=self._move, then=then, renamed=self._renamed, anew=self._replans)
            refs = set().union(*(refs_in(values_of(item)) | refs_in(self._writes(item)) for item in upto))
            self._copy_records(refs)
            copy_bodies(self._source, self._target, sorted(refs))
            async with checkpoint_file.opened(self._run.checkpoints) as saver:
                saver.setup()
                saver.conn.execute("PRAGMA synchronous = OFF")  # the folder is nobody's until it is whole
                for item in upto:
                    await self._put(saver, item)
                none_before(self._at.at.checkpoint["id"])
                await self._change(saver)
        finally:
            self._source.close()
            self._target.close()
            self._records.close()

    def _copy_records(self, refs: set[str]) -> None:
        """What the parent met on the way here, so that the fork can be replayed whole; adds what of the ledger that names."""
        last = int(self._at.at.metadata["step"])
        for record in self._before:
            done = record.kind == "use" and record.key in (self._at.done or ())
            begun = record.kind == "session" and record.at == last
            if (record.at > last and not (done and record.at == last + 1)) or begun:
                continue
            self._records.add(record)
            if record.kind in ("ask", "kept"):
                refs |= {*record.data["messages"], record.data["tools"]}
            elif record.kind == "session":
                refs.add(record.data["tools"])
            elif record.kind == "fork":
                refs |= refs_in(record.data)

    def _writes(self, item: CheckpointTuple) -> list[tuple[str, str, Any]]:
        """What tasks wrote after a checkpoint. At the place itself only what the calls brought that were made by then."""
        writes = list(item.pending_writes or ())
        if item is not self._at.at:
            return writes
        done = self._at.done or frozenset()
        kept = {task for task, channel, value in writes if channel == "results" and isinstance(value, Mapping) and set(value) <= done}
        return [write for write in writes if write[0] in kept]

    async def _put(self, saver: BaseCheckpointSaver[Any], item: CheckpointTuple) -> None:
        checkpoint = {**item.checkpoint, "channel_values": with_ids(item.checkpoint["channel_values"], self._renamed)}
        before = item.parent_config["configurable"]["checkpoint_id"] if item.parent_config else None
        config = self._thread(before)
        saved = await saver.aput(config, cast(Any, checkpoint), item.metadata, item.checkpoint["channel_versions"])
        tasks: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in self._writes(item):
            tasks.setdefault(task, []).append((channel, with_ids(value, self._renamed)))
        for task, writes in tasks.items():
            await saver.aput_writes(saved, writes, task)

    def _thread(self, checkpoint: str | None = None) -> RunnableConfig:
        place = {"thread_id": self._run.id, "checkpoint_ns": ""}
        return {"configurable": {**place, "checkpoint_id": checkpoint} if checkpoint else place}

    async def _change(self, saver: BaseCheckpointSaver[Any]) -> None:
        """The newest checkpoint as the fork begins: nothing spent, and whatever is to be different."""
        found = await saver.aget_tuple(self._thread())
        assert found is not None  # noqa: S101 - it was just written
        values, changes = values_of(found), self._changes
        changed: ResearchState = {"usage": NO_USAGE, "seconds": 0.0, "stopped": ""}
        if values.get("report"):  # of an earlier session of its parent
            changed["report"] = {}
        if self._calls:
            changed |= {"calls": self._calls, "step": self._calls[-1]["step"]}
        if changes.plan:
            changed |= other_plan(values, changes.plan, changes.question, self._target)
        elif self._replans:
            changed |= other_question(values, changes.question, self._fold(values))
        await amend(saver, found, changed, to="" if self._replans else None)
        then = asdict(Then.of(values, self._step))
        told = {"changed": changed, "replanned": self._replans, "then": then}
        self._records.add(Record(self._records.sessions() + 1, int(found.metadata["step"]), "fork", "", told))
        if self._replans:
            graph = build_research_graph(checkpointer=saver)
            await graph.aupdate_state(thread_of(self._run.id), {"question": changes.question}, as_node=_INPUT)

    def _fold(self, values: ResearchState) -> list[Any]:
        """The live turns with the results of the last calls. A call that waited is answered too: no call may stand alone."""
        from research_agent.graphs.window import keep

        results = dict(values.get("results") or {})
        for _, channel, value in self._writes(self._at.at):
            if channel == "results":
                results |= with_ids(value, self._renamed)
        folded = list(values.get("turns") or [])
        for call in values.get("calls") or []:
            if call["id"] not in results:
                message = ToolMessage(
                    "Error: not made: the question was changed", tool_call_id=call["id"], name=call["name"], status="error"
                )
                results[call["id"]] = keep(message, cast(Any, self._target), step=call["step"], opens=False)
            folded.append(results[call["id"]])
        return folded


def _calls_again(at: Place, limit: int) -> list[Call]:
    """A turn's calls as the fork's own limit lets them be made; none where that is as it was."""
    calls = values_of(at.at).get("calls") or []
    again = numbered(calls, calls[0]["step"] - 1, limit) if at.done is not None else []
    return again if again != calls else []


def _by_segment(parent: str, before: Sequence[Call], now: Sequence[Call]) -> dict[str, Call]:
    """The calls that are other now, by the ids of their segments in the parent."""
    pairs = [(n, old, new) for n, (old, new) in enumerate(zip(before, now, strict=False)) if old != new]
    return {Segment(run=parent, step=old["step"], kind="call", ordinal=n, text="", trust="own").id: new for n, old, new in pairs}


def _read(path: Path) -> list[Record]:
    records = Records(path)
    try:
        return current(records.all())
    finally:
        records.close()
