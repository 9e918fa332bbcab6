"""A run once more, from its own records: no host, no tool and no clock is asked, and every prompt is compared with the recorded one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from research_agent.graphs.build import ResearchGraph, build_research_graph
from research_agent.graphs.ports import Context, Limits, Model, Prices
from research_agent.graphs.state import ResearchState
from research_agent.history.changes import amend
from research_agent.history.memory_copy import Then
from research_agent.history.player import Differs, Over, PlayedArchive, PlayedSlot, Player
from research_agent.history.records import NAME, Record, Records, current
from research_agent.history.snapshot import ledger, snapshot
from research_agent.history.steps import values_of
from research_agent.memory import Archive
from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError

_BROUGHT = ("observation", "finding")
"""Kinds of segments that a call archives."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay went."""

    requests: int
    """Prompts that were the same, byte for byte."""
    recorded: int
    difference: str = ""
    """The first there was; empty if there was none."""
    ends: str = ""
    """Of a run that has not come to its end: how it stands, where its records ended and it would have asked on; empty if it did not."""


async def replay(run: Run) -> Replayed:
    """Raises RunError for a run without records."""
    run.refuse_half_forgotten()
    status = run.status()
    with TemporaryDirectory(prefix="research-agent-") as temporary:
        folder = Path(temporary)
        (folder / "again").mkdir()
        records = snapshot(run, NAME, folder)
        source = ledger(run, folder) if records else None
        if records is None or source is None:
            raise RunError(f"run {run.id} has no {NAME if records is None else 'ledger.sqlite'}: it cannot be replayed")
        archive = Archive.open(folder / "again", run=run.id)
        try:
            return await _Replay(run, _read(records), source, archive, status).whole()
        finally:
            source.close()
            await archive.close()


def _read(path: Path) -> list[Record]:
    records = Records(path)
    try:
        return current(records.all())
    finally:
        records.close()


class _Replay:
    def __init__(self, run: Run, records: Sequence[Record], source: Ledger, archive: Archive, status: str) -> None:
        self._run, self._source, self._archive, self._status = run, source, archive, status
        self._begun = [record for record in records if record.kind in ("session", "fork")]
        if not self._begun or self._begun[0].at != -2:
            raise RunError(f"run {run.id} was begun by a version that kept no records, or they are lost: it cannot be replayed")
        self._kept = {record.at for record in records if record.kind == "kept"}
        self._player = Player(run.id, records, source, archive, goes_on=status != "complete")

    async def whole(self) -> Replayed:
        saver = InMemorySaver()
        graph = build_research_graph(checkpointer=saver)
        thread: RunnableConfig = {"configurable": {"thread_id": self._run.id, "checkpoint_ns": ""}}
        player, difference = self._player, ""
        try:
            for record, following in zip(self._begun, [*self._begun[1:], None], strict=True):
                if record.kind == "fork":
                    await self._fork(graph, saver, thread, record)
                else:
                    await self._session(graph, saver, thread, record, following)
            player.finish()
        except Differs as found:
            difference = str(found)
        return Replayed(player.same, player.recorded, difference, "" if difference or not player.ended else self._status)

    async def _session(
        self, graph: ResearchGraph, saver: InMemorySaver, thread: RunnableConfig, record: Record, following: Record | None
    ) -> None:
        data = record.data
        self._player.begin(record, None if following is None else following.at)
        if held := data.get("held", 0) or data.get("called"):  # the ledger was ahead of the state: that stood there before its turns
            await self._hold(data.get("held", 0), data.get("called", held))
        if lost := data.get("lost"):
            await self._leave_out(saver, thread, lost)
        if data.get("reopened") and (following is None or following.at > record.at):  # or it was killed before that was done
            await graph.aupdate_state(thread, data["reopened"]["values"], as_node=data["reopened"]["as_node"])
        start: Any = None
        if data["start"] == "question":
            start = {"question": data["question"], **data.get("spent", {})}
        elif data["start"] == "answer":
            start = Command(resume=data["answer"])
        try:
            async for _ in graph.astream(start, thread, context=self._context(record), stream_mode="custom", durability="sync"):
                pass
        except Over:
            return

    async def _hold(self, brought: int, said: int) -> None:
        """What calls brought up to one step, and what turns said up to another: of the last, some calls were not made, or left nothing."""
        ends = dict.fromkeys(_BROUGHT, brought)
        segments = self._source.segments(self._run.id)
        await self._archive.archive([segment for segment in segments if segment.step <= ends.get(segment.kind, said)])

    async def _fork(self, graph: ResearchGraph, saver: InMemorySaver, thread: RunnableConfig, record: Record) -> None:
        data = record.data
        await self._amend(saver, thread, data["changed"], to="" if data["replanned"] else None)
        if made := {call["step"] for call in data["changed"].get("calls") or ()}:
            calls = [segment for segment in self._source.segments(self._run.id) if segment.kind == "call" and segment.step in made]
            await self._archive.archive(calls)
        if data["replanned"]:
            await self._remember(Then(**data["then"]))
            await graph.aupdate_state(thread, {"question": data["changed"]["question"]}, as_node="__input__")

    async def _remember(self, then: Then) -> None:
        """The memory as the fork found it: what was found belongs to no sub-question of the new plan."""
        had = [segment for segment in self._source.segments(self._run.id) if then.had(segment)]
        await self._archive.forget()
        await self._archive.archive(had)

    async def _leave_out(self, saver: InMemorySaver, thread: RunnableConfig, lost: dict[str, Any]) -> None:
        """The calls that go with their turn were not made, or only archived what they brought before their process died."""
        before = await self._amend(saver, thread, lost["changed"], to=lost["to"])
        gone = {call["step"] for call in before.get("calls") or () if lost["to"]}
        brought = [segment for segment in self._source.segments(self._run.id) if segment.step in gone and segment.kind in _BROUGHT]
        await self._archive.archive(brought)

    async def _amend(self, saver: InMemorySaver, thread: RunnableConfig, changed: dict[str, Any], *, to: str | None) -> ResearchState:
        """The state as it was."""
        found = await saver.aget_tuple(thread)
        if found is None:
            raise Differs("nothing was begun that could be gone on with")
        await amend(saver, found, changed, to=to)
        return values_of(found)

    def _context(self, record: Record) -> Context:
        player, data = self._player, record.data
        tools = [_tool(schema["function"]) for schema in json.loads(self._source.get_body(data["tools"]))]
        return Context(
            run=self._run.id,
            models={role: _model(facts, player) for role, facts in data["models"].items()},
            tools=tuple(tools),
            archive=PlayedArchive(self._archive, player, self._source),
            limits=Limits(**data["limits"]),
            clock=player.clock,
            approve_plan=data["approve_plan"],
            max_words=data["max_words"],
            loop_guard=data["loop_guard"],
            earlier=tuple(data.get("earlier", ())),
            tape=player,
            assets=player.assets,
            slot=PlayedSlot(record.at + 1, self._left(record)),
        )

    def _left(self, session: Record) -> list[dict[str, Any]]:
        """What killed processes left of the calls of the task that a session began with. It may be done by then, and its checkpoint lost: a
        reply that was kept is gone on with by each session that begins there.
        """
        if session.data.get("cut") or session.at + 1 not in self._kept:
            return session.data.get("cut") or []
        before = [one.data["cut"] for one in self._begun if one.at == session.at and one.session < session.session and one.data.get("cut")]
        return before[-1] if before else []


def _model(facts: dict[str, Any], player: Player) -> Model:
    return Model(chat=_Nobody(), tape=player, **{**facts, "prices": Prices(**facts["prices"])})


class _Nobody(BaseChatModel):
    """Stands where a model stood: every answer is a record."""

    @property
    def _llm_type(self) -> str:
        return "nobody"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(**kwargs)

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("a replay asks no model")


def _tool(function: dict[str, Any]) -> BaseTool:
    async def nothing(**_: Any) -> NoReturn:
        raise NotImplementedError("a replay runs no tool")

    return StructuredTool(
        name=function["name"], description=function.get("description", ""), args_schema=function["parameters"], coroutine=nothing
    )
