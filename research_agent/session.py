"""One session of work on a run, a start or a resume: opens what it needs, drives the graph, writes down what came of it."""

from __future__ import annotations

import json
import sqlite3
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command
from langsmith.run_helpers import tracing_context

from research_agent.assets.keep import Assets
from research_agent.config import Config, StoreConfig
from research_agent.event_log import EventLog, by_role
from research_agent.events import STREAMED_ONLY, Event
from research_agent.graphs.build import ResearchGraph, build_research_graph
from research_agent.graphs.flight import left_by
from research_agent.graphs.investigate import over_limit
from research_agent.graphs.ports import Context, Limits, ModelCallError
from research_agent.graphs.state import NO_USAGE, ResearchState, SubQuestion, Usage
from research_agent.history.lost import leave_out
from research_agent.history.recorder import opened_recorder
from research_agent.history.rendering import investigation, texts
from research_agent.memories import Memories, open_memories
from research_agent.memory import Archive, ArchiveError, EmbedderUnavailable
from research_agent.memory.embedders import Choice
from research_agent.models.load import CannotLoad, load_roles
from research_agent.redact import Redactor
from research_agent.report import Report, build
from research_agent.runs import Run, now
from research_agent.search.provider import SearchFailed
from research_agent.stores import places
from research_agent.stores.checkpoints import open_checkpoints, thread_of
from research_agent.stores.errors import RunError, StoreError
from research_agent.stores.faults import in_one_line
from research_agent.stores.slot import Slot
from research_agent.tools.registry import open_tools

Status = Literal["complete", "incomplete", "failed"]
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended."""

    id: str
    folder: Path
    status: Status
    reason: str
    """Why it is not complete; empty if it is."""
    report: Path | None
    answer: str
    """The report's short answer."""
    waiting: bool = False
    """For a person's word on the plan."""


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
        self._tell = emit
        self._log = EventLog(run.events, self._redact)
        self._warnings: list[str] = []
        self._deaf = False
        self._started = time.monotonic()
        self._seconds_before = 0.0
        self._steps_before = run.steps_before()
        self._state: ResearchState = {}
        self._opened = False
        self._plan: list[SubQuestion] = []
        self._step = self._steps_before
        self._cut = False
        """Its last task did not end: a reply that came for it is kept."""
        self._slot = Slot(run.call)
        self._before: dict[str, Any] = {}
        """The record as this session found it."""

    async def work(self, *, resumed: bool, answer: dict[str, Any] | None = None, rewrite: bool = False) -> Result:
        """Raises nothing for what can go wrong in an investigation: that is a Result, with its reason.

        `answer` is to a plan that waits; `rewrite` asks the writer once more, of a run that has ended.

        LangSmith's tracing, which a variable of the user's shell may switch on, is off: what a run reads goes to nobody.
        """
        with self._run.lock(), tracing_context(enabled=False):
            record: dict[str, Any] = {}
            try:
                record = self._run.read()
                self._begin(record, resumed)
                self._before = record
                return await self._work(resumed, answer, rewrite, places.recorded(record))
            except Exception as error:  # noqa: BLE001 - the run's folder must say how it ended, whatever that was
                return self._failed(error, record, resumed)

    def _begin(self, record: dict[str, Any], resumed: bool) -> None:
        if record.get("id", self._run.id) != self._run.id:
            raise RunError(f"{self._run.folder}: run {record['id']} is found by its folder's name: name it so again")
        model, config = self._config.model, self._config
        name = {"id": self._run.id, "folder": str(self._run.folder), "question": config.question}
        self._emit({"type": "run", **name, "model": model.name or model.provider, "resumed": resumed})
        self._run.tidy()
        servers = places.servers(record, config.store)
        self._run.update(status="running", reason="", config=config.public(), servers=servers)

    def _failed(self, error: Exception, record: dict[str, Any], resumed: bool) -> Result:
        """What ended it, in one line. Where nothing was opened yet, the record keeps what it says of the work so far."""
        self._cut = True
        known = isinstance(error, (ModelCallError, CannotLoad, EmbedderUnavailable, ArchiveError, SearchFailed, RunError))
        text = str(error) if known else in_one_line(error, self._run.folder) or f"{type(error).__name__}: {error}"
        if isinstance(error, ModelCallError):
            text = error.reason
        if isinstance(error, (ModelCallError, OSError, sqlite3.Error)) and "`research-agent" not in text:
            text = f"{text}, then `research-agent resume {self._run.id}`"
        reason = self._redact(" ".join(text.split()))[:700]
        with suppress(OSError):  # a full disk, say: then the record still says `running`, which nobody is
            self._log.write({"type": "error", "reason": reason, "traceback": traceback.format_exc()})
            if self._opened or not resumed:
                return self._ended(self._state, "failed", reason, None, "")
            went = record.get("status", "running")
            told = {"status": "failed", "reason": reason} if went == "running" else {"status": went, "reason": record.get("reason", "")}
            self._run.update(config=record.get("config", {}), **told)
        counts = {"steps": 0, "usd": 0.0, "tokens": {}, "seconds": 0.0}
        counts = {name: record.get(name, nothing) for name, nothing in counts.items()}
        self._tell({"type": "end", "status": "failed", "reason": reason, **counts, "folder": str(self._run.folder)})
        return Result(self._run.id, self._run.folder, "failed", reason, None, "")

    async def _work(self, resumed: bool, answer: dict[str, Any] | None, rewrite: bool, store_before: StoreConfig) -> Result:
        async with AsyncExitStack() as stack:
            here, before_here = (places.of(self._run, store) for store in (self._config.store, store_before))
            checkpointer = await stack.enter_async_context(open_checkpoints(here, self._warn, before_here))
            memories, tools = await stack.enter_async_context(self._parts())
            archive = memories.archive
            graph = build_research_graph(checkpointer=checkpointer)
            thread = thread_of(self._run.id)
            context = self._context(memories, tools)
            if lost := await leave_out(checkpointer, thread, archive):
                self._warn(f"{lost} messages are lost with a part of the ledger: the turns that they stood in are left out of what is sent")
            at, before, again = await self._found(graph, thread, context, rewrite)
            start: Any = Command(resume=answer) if answer is not None else None if before else {"question": self._config.question}
            recorder = stack.enter_context(opened_recorder(self._run, archive, self._redact))
            if recorder.mended:
                self._warn(recorder.mended)
            how = "answer" if answer is not None else "state" if before else "question"
            context = recorder.began(at, context, start=how, answer=answer, question=self._config.question, **again)
            if reopened := again.get("reopened"):
                await self._reopen(graph, thread, reopened)
            self._state, self._opened, self._plan = before, True, before.get("plan", [])
            if resumed:
                self._tell({"type": "so_far", "step": before.get("step", 0), **self._counts(before)})
                if before.get("plan"):
                    self._tell({"type": "plan", "brief": before.get("brief", ""), "plan": before["plan"]})
            try:
                drained = await self._drive(graph, start, thread, context)
            except BaseException as error:
                self._state = await self._left(graph, thread, before)
                if isinstance(error, StoreError) and archive.find(kind="finding"):
                    return self._finish(self._state, archive, drained=False, lost=str(error))
                raise
            state = await graph.aget_state(thread)
            self._state = values = cast(ResearchState, state.values)
            if state.interrupts:
                self._emit({"type": "approval", "plan": values["plan"]})
                return self._ended(values, "incomplete", "the plan waits for approval", None, "", waiting=True)
            if rewrite and not values.get("report"):
                return await self._not_rewritten(graph, thread, archive, context, before, (state.metadata or {}).get("step"))
            await archive.flush()
            if archive.stats().failure:
                self._warn(f"recall went by words only: {archive.stats().failure}; what lacks is made up for when the run is resumed")
            return self._finish(values, archive, drained)

    async def _found(
        self, graph: ResearchGraph, thread: RunnableConfig, context: Context, rewrite: bool
    ) -> tuple[int | None, ResearchState, dict[str, Any]]:
        """The checkpoint's number, the state so far, and what of it is other now (see history/records.py).

        A run that a limit or a failure ended before its plan did goes on investigating; one whose plan was done, writing.
        """
        again: dict[str, Any] = {}
        state = await graph.aget_state(thread)
        values, at = cast(ResearchState, state.values), (state.metadata or {}).get("step")
        self._seconds_before = values.get("seconds", 0.0)
        if cut := left_by(self._slot, [task.id for task in state.tasks]):
            again["cut"] = cut
        if rewrite:
            as_node = "investigate" if values.get("stopped") else "review"
            again["reopened"] = {"values": {"report": {}}, "as_node": as_node}
        elif values.get("stopped") and not state.next and not _still_stopped(values, context):
            left = any(item["status"] == "open" for item in values["plan"])
            as_node = "open" if left or not values.get("reviews") else "review"
            again["reopened"] = {"values": {"stopped": "", "report": {}}, "as_node": as_node}
        return at, values, again

    async def _reopen(self, graph: ResearchGraph, thread: RunnableConfig, reopened: dict[str, Any]) -> None:
        """After it is recorded: a replay does it where a session came further than that."""
        await graph.aupdate_state(thread, reopened["values"], as_node=reopened["as_node"])

    async def _left(self, graph: ResearchGraph, thread: RunnableConfig, before: ResearchState) -> ResearchState:
        """The state at an end that nobody foresaw; where its store is gone, as the events tell of it."""
        try:
            return cast(ResearchState, (await graph.aget_state(thread)).values)
        except (StoreError, sqlite3.Error):
            roles = by_role(self._run.events).values()
            totals = {key: sum(role[key] for role in roles) for key in NO_USAGE}
            told = ResearchState(question=self._config.question, plan=self._plan, step=self._step, usage=cast(Usage, totals))
            return {**before, **told}

    @asynccontextmanager
    async def _parts(self) -> AsyncIterator[tuple[Memories, Sequence[BaseTool]]]:
        async with (
            open_memories(self._config, self._run, self._embedder, self._warn) as memories,
            open_tools(self._config, memories.archive, self._run, self._emit, earlier=memories.earlier) as tools,
        ):
            yield memories, tools

    @asynccontextmanager
    async def embedded(self) -> AsyncIterator[Embedded]:
        """What the graph needs, for somebody else's graph to run it in. The run's folder is locked meanwhile."""
        with self._run.lock():
            async with self._parts() as (memories, tools):
                servers = places.servers(self._run.read(), self._config.store)
                self._run.update(status="running", reason="", config=self._config.public(), servers=servers)

                def finish(state: Mapping[str, Any]) -> Result:
                    self._state = cast(ResearchState, state)
                    return self._finish(self._state, memories.archive, drained=False)

                yield Embedded(self._run.id, self._run.folder, self._context(memories, tools), finish)

    async def _drive(self, graph: ResearchGraph, start: Any, thread: RunnableConfig, context: Context) -> bool:
        """Runs the graph to its end, an interrupt, or a requested stop; True if it was stopped."""
        try:
            async for event in graph.astream(
                start, thread, context=context, stream_mode="custom", durability="sync", control=self._control
            ):
                self._emit(cast(Event, event))
        except GraphDrained:
            return True
        return False

    def _warn(self, text: str) -> None:
        self._emit({"type": "warning", "text": text})

    def _context(self, memories: Memories, tools: Sequence[BaseTool]) -> Context:
        config, models = self._config, load_roles(self._config)
        for text in config.unused():
            self._emit({"type": "warning", "text": text})
        for name in sorted({model.name for model in models.values() if not model.priced}):
            self._emit({"type": "warning", "text": f"the prices of {name} are not known, so limits.usd cannot hold: set model.prices"})
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

    def _finish(self, state: ResearchState, archive: Archive, drained: bool, lost: str = "") -> Result:
        """`lost`: why its checkpoints cannot be reached; what was found lies elsewhere, and is reported."""
        self._cut = bool(lost)
        draft, stopped = state.get("report") or None, lost or self._with_remedy(state)
        if drained:
            noted = "" if archive.find(kind="finding") else " before anything was noted for a report"
            draft, stopped = None, f"stopped{noted}; research-agent resume {self._run.id} goes on"
        if not draft and not archive.find(kind="finding"):
            return self._ended(state, "incomplete" if drained else "failed", stopped or "nothing was written", None, "")
        status: Status = "incomplete" if stopped else "complete"
        report = build(investigation(self._run, self._config, state, archive, draft=draft, reason=stopped, finished_at=now()))
        if not report.sources:
            read = len(archive.find(kind="observation"))
            reason = f"no evidence was found: {read} documents were read, and none answers the question"
            return self._ended(state, "failed", reason, None, "")
        path = self._write(report)
        self._emit({"type": "report", "path": str(path), "answer": report.answer})
        return self._ended(state, status, stopped, path, report.answer)

    async def _not_rewritten(
        self, graph: ResearchGraph, thread: RunnableConfig, archive: Archive, context: Context, before: ResearchState, at: int | None
    ) -> Result:
        """The writer failed: the report that there is stays, and the run is what it was; what was asked is paid for all the same."""
        reason = f"the report was not written anew: {self._state.get('stopped') or 'no answer came'}; the one there was stays"
        again = {"values": {"report": before.get("report", {}), "stopped": before.get("stopped", "")}, "as_node": "write"}
        with opened_recorder(self._run, archive, self._redact) as recorder:
            recorder.began(at, context, start="state", answer=None, question=self._config.question, reopened=again)
        await self._reopen(graph, thread, again)
        earlier = {name: self._before[name] for name in ("status", "reason", "report", "config") if name in self._before}
        self._ended(self._state, "failed", reason, None, "")
        self._run.update(**earlier)
        return Result(self._run.id, self._run.folder, "failed", reason, None, "")

    def _with_remedy(self, state: ResearchState) -> str:
        """Why the investigation stopped. A model's failure says what to do first; then the run goes on where it was."""
        stopped = state.get("stopped", "")
        failed = any(failure["what"] == "model" and failure["reason"] == stopped for failure in state.get("failures", []))
        return f"{stopped}, then `research-agent resume {self._run.id}`" if failed else stopped

    def _write(self, report: Report) -> Path:
        """The report in the formats asked for, beside its tables; the path of the first."""
        self._run.write("sources.json", _json(report.sources))
        self._run.write("findings.json", _json(report.findings))
        made = texts(report)
        written = [self._run.write(f"report.{name}", made[name]) for name in self._config.report.formats]
        return written[0]

    def _ended(self, state: ResearchState, status: Status, reason: str, report: Path | None, answer: str, waiting: bool = False) -> Result:
        usage, counts = state.get("usage", NO_USAGE), self._counts(state)
        self._run.update(
            status=status,
            reason=reason,
            **counts,
            model_calls=usage["calls"],
            roles=by_role(self._run.events),
            sub_questions=state.get("plan", []),
            failures=state.get("failures", []),
            warnings=self._warnings,
            report=report.name if report else None,
        )
        if not self._cut:
            self._slot.clear()
        self._emit({"type": "end", "status": status, "reason": reason, **counts, "folder": str(self._run.folder)})
        return Result(self._run.id, self._run.folder, status, reason, report, answer, waiting)

    def _counts(self, state: ResearchState) -> dict[str, Any]:
        """What the run has come to, all its sessions together."""
        usage = state.get("usage", NO_USAGE)
        tokens = {key: usage[key] for key in ("input", "cached", "output", "reasoning")}
        steps = max(0, state.get("step", 0) - self._steps_before)
        return {"steps": steps, "usd": round(usage["usd"], 6), "tokens": tokens, "seconds": round(self._clock(), 3)}

    def _emit(self, event: Event) -> None:
        match event["type"]:
            case "warning":
                self._warnings.append(event["text"])
            case "plan":
                self._plan = event["plan"]
            case "result":
                self._step = max(self._step, event["step"])
        if event["type"] not in STREAMED_ONLY:
            self._log.write(event)
        try:
            self._tell(event)
        except Exception as error:  # noqa: BLE001 - whoever looks on is anyone's code: its fault is no reason to lose a run
            if not self._deaf:
                self._deaf = True
                self._emit({"type": "warning", "text": f"on_event failed at {event['type']!r}: {type(error).__name__}: {error}"})


def _still_stopped(state: ResearchState, context: Context) -> bool:
    """Whether the limit that ended a run, with its report written, is reached still: it is not worked on, nor written, again."""
    stopped = state.get("stopped", "")
    same_usd = stopped.startswith(f"the limit of ${context.limits.usd:g} was reached")
    return bool(stopped and state.get("report") and (same_usd or over_limit(context, state) == stopped))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
