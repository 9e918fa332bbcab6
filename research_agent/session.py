"""One session of work on a run, a start or a resume: opens what it needs, drives the graph, writes down what came of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, StateSnapshot
from langsmith.run_helpers import tracing_context

from research_agent.assets.keep import Assets
from research_agent.config import Config
from research_agent.ending import Ending, Result
from research_agent.event_log import EventLog, events
from research_agent.events import Event
from research_agent.graphs.build import ResearchGraph, build_research_graph
from research_agent.graphs.flight import left_by
from research_agent.graphs.investigate import over_limit
from research_agent.graphs.ports import Context, Limits
from research_agent.graphs.state import NO_USAGE, ResearchState
from research_agent.history import noted
from research_agent.history.bill import Unbilled, spent, unbilled
from research_agent.history.lost import Lost, lost_of
from research_agent.history.recorder import opened_recorder
from research_agent.history.rewriting import TABLES, keep_earlier
from research_agent.memories import Memories, open_memories
from research_agent.memory import Archive
from research_agent.memory.archive import Stats
from research_agent.memory.embedders import Choice
from research_agent.models.load import load_roles
from research_agent.redact import Redactor
from research_agent.runs import Run, RunError, now
from research_agent.settings.shapes import StoreConfig
from research_agent.stores import places
from research_agent.stores.checkpoints import open_checkpoints, thread_of
from research_agent.stores.errors import StoreError
from research_agent.stores.slot import Slot
from research_agent.telling import Emit, Teller
from research_agent.tools.registry import open_tools

_INDEXED_S = 1.0
"""A report waits so long for the last vectors, so that it can be told with it if there are none."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A run that another graph drives."""

    id: str
    folder: Path
    context: Context
    finish: Callable[[Mapping[str, Any]], Result]
    """From the values that the research graph ended with: writes the report and its tables into the run's folder."""


class Session:
    """Works on one run until it ends, is stopped, or waits for a person."""

    def __init__(self, run: Run, config: Config, emit: Emit, control: RunControl, embedder: Choice) -> None:
        self._run, self._config, self._control, self._embedder = run, config, control, embedder
        keys = config.secrets(*(config.model_for(role) for role in config.played))
        self._redact = Redactor((*keys, config.store_password(config.store)))
        self._assets = Assets(run.folder)
        self._slot = Slot(run.call)
        self._steps_before = run.steps_before()
        self._teller = Teller(EventLog(run.events, self._redact), emit, step=self._steps_before)
        self._ending = Ending(run, config, self._teller, self._slot, clock=self._clock, redact=self._redact)
        self._started = time.monotonic()
        self._seconds_before = 0.0
        self._state: ResearchState | None = None
        """None until what is there of the run was opened."""
        self._before: dict[str, Any] = {}
        """The record as this session found it."""
        self._forked: dict[str, Any] | None = None
        """Where from, of a fork that this session begins."""

    async def work(self, *, resumed: bool, answer: dict[str, Any] | None = None, rewrite: bool = False) -> Result:
        """Raises nothing for what can go wrong in an investigation: that is a Result, with its reason.

        `answer` is to a plan that waits; `rewrite` asks the writer once more, of a run that has ended.

        LangSmith's tracing, which a variable of the user's shell may switch on, is off: what a run reads goes to nobody.
        """
        with self._run.lock(), tracing_context(enabled=False):
            record: dict[str, Any] = {}
            try:
                record = self._run.read()
                self._begin(record, resumed, rewrite)
                self._before = record
                return await self._work(resumed, answer, rewrite, places.recorded(record))
            except Exception as error:  # noqa: BLE001 - the run's folder must say how it ended, whatever that was
                return self._ending.failed(error, record, {} if self._state is None and not resumed else self._state)

    def _begin(self, record: dict[str, Any], resumed: bool, rewrite: bool) -> None:
        config = self._config
        model = config.model_for("writer") if rewrite else config.model
        self._forked = record.get("parent") if not self._run.events.exists() else None
        name = {"id": self._run.id, "folder": str(self._run.folder), "question": config.question}
        how = {"resumed": resumed and not self._forked, "rewritten": rewrite}
        of = {"parent": {key: self._forked[key] for key in ("id", "step")}} if self._forked else {}
        self._teller.emit({"type": "run", **name, "model": model.name or model.provider, **how, **of})
        self._run.tidy()
        servers = places.servers(record, config.store)
        works = not rewrite and record.get("status") != "complete"
        self._run.update(status="running", reason="", config=config.public() if works else _kept(record, config), servers=servers)

    async def _work(self, resumed: bool, answer: dict[str, Any] | None, rewrite: bool, store_before: StoreConfig) -> Result:
        async with AsyncExitStack() as stack:
            here, before_here = (places.of(self._run, store) for store in (self._config.store, store_before))
            checkpointer = await stack.enter_async_context(open_checkpoints(here, self._teller.warn, before_here))
            memories, tools = await stack.enter_async_context(self._parts(self._before))
            archive = memories.archive
            graph = build_research_graph(checkpointer=checkpointer)
            thread = thread_of(self._run.id)
            context = self._context(memories, tools)
            at, before, again, owed = await self._found(graph, thread, context, rewrite)
            gone = await noted.restore(self._run, archive)
            lost = await lost_of(checkpointer, thread, archive, gone, owed.usage if owed else None)
            if lost and (lost.again or lost.findings) and _still_stopped(before, context):
                raise RunError(self._cannot_again(lost, before))
            before, again = self._lacking(archive, lost, before, again, resumed)
            recorder = stack.enter_context(opened_recorder(self._run, archive, self._redact))
            if recorder.mended:
                self._teller.warn(recorder.mended)
            how = "answer" if answer is not None else "state" if before else "question"
            context = recorder.began(at, context, start=how, answer=answer, question=self._config.question, **again)
            if lost:  # as what follows: after it is recorded, for a replay does the same
                if owed:  # first: once the state owes them, nobody knows which they were
                    self._teller.log(noted.lost_event((), owed.again))
                await lost.leave_out(checkpointer)
                if lost.findings:
                    self._teller.log(noted.lost_event(lost.findings, ()))
            if reopened := again.get("reopened"):
                await self._reopen(graph, thread, reopened)
            owing: ResearchState = again.get("spent", {})
            self._state, self._teller.plan = before, before.get("plan", [])
            if resumed:
                self._show_so_far({**owing, **before})
            question = {"question": self._config.question, **owing}
            start: Any = Command(resume=answer) if answer is not None else None if before else question
            try:
                drained = await self._drive(graph, start, thread, context)
            except BaseException as error:
                self._state = await self._left(graph, thread, before)
                if isinstance(error, StoreError) and archive.find(kind="finding"):
                    return self._ending.finish(self._state, archive, lost=str(error))
                raise
            state = await graph.aget_state(thread)
            self._state = values = cast(ResearchState, state.values)
            if state.interrupts:
                self._teller.emit({"type": "approval", "plan": values["plan"]})
                return self._ending.ended(values, "incomplete", "the plan waits for approval", waiting=True)
            if rewrite and not values.get("report"):
                return await self._not_rewritten(graph, thread, archive, context, before, state)
            indexed = asyncio.ensure_future(archive.flush())
            await asyncio.wait({indexed}, timeout=_INDEXED_S)
            self._tell_of(archive.stats())
            result = self._ending.finish(values, archive, drained=drained)
            await self._until(indexed, archive.stats())
            return result

    def _lacking(
        self, archive: Archive, lost: Lost | None, before: ResearchState, again: dict[str, Any], resumed: bool
    ) -> tuple[ResearchState, dict[str, Any]]:
        """The state, and what of it is other, where the ledger or the checkpoints lost something. Raises RunError."""
        if lost:
            self._refuse_older(archive, before)
            for text in self._told_of(lost):
                self._teller.warn(text)
            before, again = {**before, **lost.changed}, {**again, "lost": lost.told}
        if (called := archive.last_step()) > before.get("step", 0):  # by turns whose checkpoints are lost, or never came
            again = {**again, "held": archive.last_step(("observation", "finding")), "called": called}
        told = spent(events(self._run.events))
        if resumed and not before and (archive.last_step() or told["output"]):
            self._teller.warn("its checkpoints are gone: it begins again, and what is in its ledger is not fetched again")
            again = {**again, "spent": {"usage": told}}
        return before, again

    def _cannot_again(self, lost: Lost, before: ResearchState) -> str:
        """Nothing is changed then: a report would be written of what is left."""
        told = f"{len(lost.findings)} findings are lost with a part of the ledger, and {before['stopped']}"
        return f"{told}: raise that, and `research-agent resume {self._run.name}` investigates again"

    def _told_of(self, lost: Lost) -> Iterator[str]:
        """What was reported with what is lost is kept beside what will be."""
        if lost.count:
            told = "the turns that they stood in are left out of what is sent"
            yield f"{lost.count} messages are lost with a part of the ledger: {told}"
        if not lost.findings and not lost.again:
            return
        again = f"; investigated again: sub-question {', '.join(lost.again)}" if lost.again else ""
        kept = ", ".join(path.name for path in keep_earlier(self._run, *TABLES))
        beside = f"; what there was is kept as {kept}" if kept else ""
        yield f"{len(lost.findings)} findings are lost with a part of the ledger{again}{beside}"

    def _show_so_far(self, before: ResearchState) -> None:
        so_far = self._ending.counts(before)
        self._teller.show({"type": "so_far", "step": self._steps_before + so_far["steps"], **so_far})
        if before.get("plan"):
            self._teller.show({"type": "plan", "brief": before.get("brief", ""), "plan": before["plan"]})

    def _tell_of(self, index: Stats) -> None:
        if index.mended:
            self._teller.warn(index.mended)
        if index.failure:
            self._teller.warn(f"recall went by words only: {index.failure}; what lacks is made up for when the run is resumed")

    async def _until(self, indexed: asyncio.Future[None], index: Stats) -> None:
        """What is not indexed yet is so after the report, unless somebody would rather go: it is done when the run is opened again."""
        if not indexed.done():
            self._teller.show({"type": "vectors", "left": index.chunks - index.indexed})
        while not indexed.done() and not self._control.drain_requested:
            await asyncio.wait({indexed}, timeout=0.1)

    async def _found(
        self, graph: ResearchGraph, thread: RunnableConfig, context: Context, rewrite: bool
    ) -> tuple[int | None, ResearchState, dict[str, Any], Unbilled | None]:
        """The checkpoint's number, the state so far, what of it is other now (see history/records.py), and what it knows no cost of.

        A run that a limit or a failure ended before its plan did goes on investigating; one whose plan was done, writing.
        """
        again: dict[str, Any] = {}
        state = await self._settled(graph, thread)
        values, at = cast(ResearchState, state.values), (state.metadata or {}).get("step")
        self._seconds_before = values.get("seconds", 0.0)
        if cut := left_by(self._slot, [task.id for task in state.tasks]):
            again["cut"] = cut
        if rewrite:
            as_node = "investigate" if values.get("stopped") else "review"
            again["reopened"] = {"values": {"report": {}, "again": True}, "as_node": as_node}
        elif values.get("stopped") and not state.next and not _still_stopped(values, context):
            left = any(item["status"] == "open" for item in values["plan"])
            as_node = "open" if left or not values.get("reviews") else "review"
            again["reopened"] = {"values": {"stopped": ""}, "as_node": as_node}
        return at, values, again, self._unbilled(state, kept="cut" in again) if values else None

    async def _settled(self, graph: ResearchGraph, thread: RunnableConfig) -> StateSnapshot:
        """The newest state. Where a process was killed after its last tasks were done, with what they did in it: they count from an older
        one, and would undo what is changed of it. Nothing runs.
        """
        state = await graph.aget_state(thread)
        if not state.tasks or any(task.result is None for task in state.tasks):
            return state
        await graph.ainvoke(None, thread, interrupt_after="*", durability="sync")
        return await graph.aget_state(thread)

    def _unbilled(self, state: StateSnapshot, *, kept: bool) -> Unbilled | None:
        """`kept`: whether a call that was in flight is gone on with."""
        waiting = [task.id for task in state.tasks]
        billed = cast(ResearchState, state.values).get("usage", NO_USAGE)
        return unbilled(billed, events(self._run.events), waiting=waiting, kept=waiting if kept else ())

    async def _reopen(self, graph: ResearchGraph, thread: RunnableConfig, reopened: dict[str, Any]) -> None:
        """After it is recorded: a replay does it where a session came further than that."""
        await graph.aupdate_state(thread, reopened["values"], as_node=reopened["as_node"])

    async def _left(self, graph: ResearchGraph, thread: RunnableConfig, before: ResearchState) -> ResearchState:
        """The state at an end that nobody foresaw; where its store is gone, as the events tell of it."""
        try:
            return cast(ResearchState, (await graph.aget_state(thread)).values)
        except (StoreError, sqlite3.Error):
            told = ResearchState(
                question=self._config.question, plan=self._teller.plan, step=self._teller.step, usage=spent(events(self._run.events))
            )
            return {**before, **told}

    def _refuse_older(self, archive: Archive, before: ResearchState) -> None:
        """Raises RunError for a ledger that ends before its checkpoints, though each step is archived first, in a folder that knows of no
        more: it is not where the run was run last. Where its own events tell of more, or a fork was made of it, the ledger has lost that.
        """
        ends, known = archive.last_step(), before.get("step", 0)
        made = max((event["step"] for event in events(self._run.events) if event["type"] == "result"), default=0)
        if 0 < ends < known and made <= ends and not self._forked and not [*self._run.folder.glob("ledger.sqlite.damaged-*")]:
            older = f"{self._run.folder} is an older copy of the run: its ledger ends at step {ends}, its checkpoints at step {known}"
            raise RunError(f"{older}; resume it where it was run last")

    @asynccontextmanager
    async def _parts(self, record: Mapping[str, Any]) -> AsyncIterator[tuple[Memories, Sequence[BaseTool]]]:
        """`record`: as this session found it."""
        begun = "servers" in record or "parent" in record
        async with (
            open_memories(self._config, self._run, self._embedder, self._teller.warn, begun=begun) as memories,
            open_tools(self._config, memories.archive, self._run, self._teller.emit, earlier=memories.earlier) as tools,
        ):
            yield memories, tools

    @asynccontextmanager
    async def embedded(self) -> AsyncIterator[Embedded]:
        """What the graph needs, for somebody else's graph to run it in. The run's folder is locked meanwhile."""
        with self._run.lock():
            record = self._run.read()
            async with self._parts(record) as (memories, tools):
                servers = places.servers(record, self._config.store)
                self._run.update(status="running", reason="", config=self._config.public(), servers=servers)

                def finish(state: Mapping[str, Any]) -> Result:
                    self._state = cast(ResearchState, state)
                    return self._ending.finish(self._state, memories.archive)

                yield Embedded(self._run.id, self._run.folder, self._context(memories, tools), finish)
                await memories.archive.flush()

    async def _drive(self, graph: ResearchGraph, start: Any, thread: RunnableConfig, context: Context) -> bool:
        """Runs the graph to its end, an interrupt, or a requested stop; True if it was stopped."""
        try:
            async for event in graph.astream(
                start, thread, context=context, stream_mode="custom", durability="sync", control=self._control
            ):
                self._teller.emit(cast(Event, event))
        except GraphDrained:
            return True
        return False

    def _context(self, memories: Memories, tools: Sequence[BaseTool]) -> Context:
        config, models = self._config, load_roles(self._config)
        for text in config.unused():
            self._teller.warn(text)
        for name in sorted({model.name for model in models.values() if not model.priced}):
            self._teller.warn(f"the prices of {name} are not known, so limits.usd cannot hold: set model.prices")
        return Context(
            run=self._run.id,
            models=models,
            tools=tools,
            archive=memories.archive,
            earlier=tuple(earlier.run for earlier in memories.earlier),
            limits=Limits(usd=config.limits.usd, steps=config.limits.steps, minutes=config.limits.minutes, steps_before=self._steps_before),
            clock=self._clock,
            now=now,
            redact=self._redact,
            approve_plan=config.approve_plan,
            max_words=config.report.max_words,
            loop_guard=config.guards.loops,
            assets=lambda: [(asset.path, asset.step, asset.is_figure) for asset in self._assets.listed()],
            slot=self._slot,
        )

    def _clock(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    async def _not_rewritten(
        self, graph: ResearchGraph, thread: RunnableConfig, archive: Archive, context: Context, before: ResearchState, after: StateSnapshot
    ) -> Result:
        """The writer failed: the report that there is stays, and the run is what it was; what was asked is paid for all the same."""
        values, at = cast(ResearchState, after.values), (after.metadata or {}).get("step")
        new = values.get("failures", [])[len(before.get("failures", [])) :]
        why = new[-1]["reason"] if new else values.get("stopped") or "no answer came"
        reason = f"the report was not written anew: {why}; the one there was stays"
        again = {"values": {"report": before.get("report", {}), "stopped": before.get("stopped", "")}, "as_node": "write"}
        with opened_recorder(self._run, archive, self._redact) as recorder:
            recorder.began(at, context, start="state", answer=None, question=self._config.question, reopened=again)
        await self._reopen(graph, thread, again)
        earlier = {name: self._before[name] for name in ("status", "reason", "report") if name in self._before}
        self._ending.ended(values, "failed", reason)
        self._run.update(**earlier)
        return Result(self._run.id, self._run.folder, "failed", reason, None, "")


def _kept(record: dict[str, Any], config: Config) -> dict[str, Any]:
    """The config of a run that has nothing left to do: what it is asked for now changes nothing of it but where the run is kept."""
    now = config.public()
    return {**record.get("config", {}), **{key: now[key] for key in ("store", "memory") if key in now}}


def _still_stopped(state: ResearchState, context: Context) -> bool:
    """Whether the limit that ended a run, with its report written, is reached still: it is not worked on, nor written, again."""
    stopped = state.get("stopped", "")
    same_usd = stopped.startswith(f"the limit of ${context.limits.usd:g} was reached")
    return bool(stopped and state.get("report") and (same_usd or over_limit(context, state) == stopped))
