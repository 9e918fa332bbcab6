"""A run once more, from its own records: no host, no tool and no clock is asked, and every prompt is compared with the recorded one."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, messages_from_dict
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.runtime import get_runtime
from langgraph.types import Command

from research_agent.graphs.act import WrongCall
from research_agent.graphs.build import ResearchGraph, build_research_graph
from research_agent.graphs.failures import LONGEST_WAIT_S
from research_agent.graphs.ports import Asked, Context, Document, Finding, Limits, Model, ModelCallError, Observation, Prices, Used
from research_agent.graphs.state import Call, ResearchState
from research_agent.history.changes import amend
from research_agent.history.memory_copy import Then
from research_agent.history.recorder import TapedArchive, id_of, super_step
from research_agent.history.records import NAME, Record, Records, current
from research_agent.history.requests import Writer, Written
from research_agent.history.snapshot import ledger, snapshot
from research_agent.history.steps import values_of
from research_agent.memory import Archive, NotArchived, Passage, Segment
from research_agent.memory.ledger import Ledger
from research_agent.memory.segment import thread_of
from research_agent.runs import Run, RunError

_SHOWN_CHARS = 60
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


class _Differs(Exception):
    """What is asked now is not what was asked then."""


class _Over(Exception):
    """The session went no further."""


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
        self._player = _Player(run.id, records, source, archive, goes_on=status != "complete")

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
        except _Differs as found:
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
        except _Over:
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
            raise _Differs("nothing was begun that could be gone on with")
        await amend(saver, found, changed, to=to)
        return values_of(found)

    def _context(self, record: Record) -> Context:
        player, data = self._player, record.data
        tools = [_tool(schema["function"]) for schema in json.loads(self._source.get_body(data["tools"]))]
        return Context(
            run=self._run.id,
            models={role: _model(facts, player) for role, facts in data["models"].items()},
            tools=tuple(tools),
            archive=_PlayedArchive(self._archive, player, self._source),
            limits=Limits(**data["limits"]),
            clock=player.clock,
            approve_plan=data["approve_plan"],
            max_words=data["max_words"],
            loop_guard=data["loop_guard"],
            earlier=tuple(data.get("earlier", ())),
            tape=player,
            assets=player.assets,
            slot=_PlayedSlot(record.at + 1, self._left(record)),
        )

    def _left(self, session: Record) -> list[dict[str, Any]]:
        """What killed processes left of the calls of the task that a session began with. It may be done by then, and its checkpoint lost: a
        reply that was kept is gone on with by each session that begins there.
        """
        if session.data.get("cut") or session.at + 1 not in self._kept:
            return session.data.get("cut") or []
        before = [one.data["cut"] for one in self._begun if one.at == session.at and one.session < session.session and one.data.get("cut")]
        return before[-1] if before else []


def _model(facts: dict[str, Any], player: _Player) -> Model:
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


class _Player:
    """A graph's `Tape` that plays."""

    ended = False
    """What is asked for stands in no record, for the run had not come to it."""

    def __init__(self, run: str, records: Sequence[Record], source: Ledger, archive: Archive, *, goes_on: bool) -> None:
        self._run, self._source, self._archive = run, source, archive
        self._end = max(record.at for record in records) if goes_on else None
        self._writer = Writer(archive.put_body)
        self._asks: dict[int, deque[tuple[int, Record, tuple[str, ...]]]] = defaultdict(deque)
        self._uses: dict[tuple[int, str], Record] = {}
        self._kept: dict[tuple[int, int], tuple[int, Record]] = {}
        self._assets: dict[int, Record] = {}
        self._steps: dict[int, int] = {}
        self._recalls: dict[int, deque[Record]] = defaultdict(deque)
        self._minutes: dict[int, int] = {}
        self.recorded = self.same = 0
        self._session, self._limit_s = 0, 0.0
        self._until: int | None = None
        self._load(records)

    def _load(self, records: Sequence[Record]) -> None:
        for record in records:
            match record.kind:
                case "ask":
                    answered = not record.data.get("failed")  # the same prompt again is one prompt
                    number = self.recorded + 1
                    self.recorded += answered
                    self._asks[record.at].append((number, record, tuple(record.data["messages"])))
                case "kept":
                    self.recorded += 1
                    self._kept[record.at, record.data["call"]] = self.recorded, record
                case "step":
                    self._steps[record.at] = record.data["follows"]
                case "assets":
                    self._assets[record.at] = record
                case "use":
                    self._uses[record.at, record.key] = record
                case "recall":
                    self._recalls[record.at].append(record)
                case "minutes":
                    self._minutes.setdefault(record.session, record.at)

    def begin(self, session: Record, until: int | None) -> None:
        self._session, self._until = session.session, until
        self._limit_s = float(session.data["limits"]["minutes"]) * 60

    def finish(self) -> None:
        left = sorted([number for asks in self._asks.values() for number, _, _ in asks] + [number for number, _ in self._kept.values()])
        if left:
            raise _Differs(f"request {left[0]} of {self.recorded} was asked then, and is not now: the run ends before it")

    def _unrecorded(self, told: str) -> Exception:
        """What is not recorded is a difference; but in the last super-step of a run that has not ended it is what was not done yet."""
        self.ended = self._end is not None and super_step() >= self._end
        return _Over() if self.ended else _Differs(told)

    def clock(self) -> float:
        at, reached = self._now(), self._minutes.get(self._session)
        return self._limit_s if reached is not None and at >= reached else 0.0

    def _now(self) -> int:
        at = super_step()
        if self._until is not None and at > self._until:
            raise _Over
        return at

    async def ask(self, asked: Asked, answer: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        at, written = self._now(), self._writer.write(asked)
        if not self._asks[at]:
            raise self._unrecorded(f"after {self.same} requests the {asked.role} is asked now, and was not then")
        number, record, messages = self._asks[at].popleft()
        if written.hash != record.data["hash"]:
            raise _Differs(f"request {number} of {self.recorded} ({asked.role}): {self._difference(record, messages, written)}")
        if failed := record.data.get("failed"):
            waits = failed["retry_after_s"]
            failed = {**failed, "retry_after_s": waits if waits and waits > LONGEST_WAIT_S else 0.0}  # nobody is waited for
            raise ModelCallError(failed.pop("reason"), failed.pop("kind"), **failed)
        self.same += 1
        [message] = messages_from_dict([record.data["reply"]])
        assert isinstance(message, AIMessage)  # noqa: S101 - as it was written
        return message

    def kept(self, asked: Asked) -> None:
        """Its prompt is the one that was answered; model and limits may be others since."""
        number, record = self._kept.pop((self._now(), asked.number), (0, None))
        if record is None:
            return  # by a version that did not tell which call a reply was to
        written, then = self._writer.write(asked), tuple(record.data["messages"])
        if written.messages != then:
            raise _Differs(f"request {number} of {self.recorded} ({asked.role}): {self._difference(record, then, written)}")
        self.same += 1

    def assets(self) -> Sequence[tuple[str, int, bool]]:
        record = self._assets.get(self._now())
        return [(path, step, figure) for path, step, figure in record.data["listed"]] if record else ()

    def _difference(self, record: Record, then: tuple[str, ...], now: Written) -> str:
        if record.kind == "ask" and record.data["model"] != now.model:
            return f"the model was {record.data['model']!r}, and is {now.model!r}"
        for n, (old, new) in enumerate(zip(then, now.messages, strict=False)):
            if old != new:
                return f"message {n + 1}: {_first(self._text(old), self._text(new))}"
        if len(then) != len(now.messages):
            return f"it had {len(then)} messages, and has {len(now.messages)}"
        if record.data["tools"] != now.tools:
            return f"the tools: {_first(self._text(record.data['tools']), self._text(now.tools))}"
        return f"the parameters: {_first(_json(record.data['params']), _json(dict(now.params)))}"

    def _text(self, ref: str) -> str:
        try:
            return self._archive.get_body(ref) if ref else ""
        except NotArchived:
            return self._source.get_body(ref)

    def follows(self, own: int, found: Callable[[], int]) -> int:
        del found  # what was archived there is not, of this replay
        return self._steps.get(self._now(), own)

    async def use(self, call: Call, run: Callable[[], Awaitable[Used]]) -> Used:
        record = self._uses.get((self._now(), call["id"]))
        if record is None:
            raise self._unrecorded(f"step {call['step']}: {call['name']} is called now, and was not then")
        data = record.data
        if "failed" in data:
            raise (WrongCall if data["wrong"] else ToolException)(data["failed"])
        if data.get("plain"):
            return data.get("content") or self._segment([call["step"], "observation", 0]).text, None
        read_by = data.get("runs") or [""] * data["fresh"]
        documents = [self._document(self._segment([call["step"], "observation", n, thread_of(run)]), run) for n, run in enumerate(read_by)]
        documents += [Document(text=text, origin=self._id(place)) for place, text in data["recalled"]]
        finding = None
        if data["finding"]:
            claim, quote, source = data["finding"]
            finding = Finding(claim=claim, quote=quote, source=self._id(source))
        return data["content"], Observation(documents=tuple(documents), finding=finding, summary=data["summary"])

    def _document(self, segment: Segment, run: str) -> Document:
        return Document(text=segment.text, url=segment.url, title=segment.title, retrieved_at=segment.retrieved_at, run=run)

    def _id(self, place: Sequence[Any]) -> str:
        return id_of(self._run, place)

    def _segment(self, place: Sequence[Any]) -> Segment:
        found = self._source.get(self._id(place))
        if found is None:
            raise self._unrecorded(f"step {place[0]}: what it brought is not in the ledger")
        return found

    def recall(self, query: str) -> list[Passage]:
        at = self._now()
        if not self._recalls[at]:
            raise self._unrecorded(f"{query!r} is recalled now, and was not then")
        record = self._recalls[at].popleft()
        if record.data["query"] != query:
            raise _Differs(f"recalled was {record.data['query']!r}, and is {query!r}")
        return [Passage(self._segment(place), text, score) for place, text, score in record.data["found"]]


class _PlayedArchive(TapedArchive):
    """An archive whose recalls are records: they do not wait on what was indexed by then."""

    def __init__(self, archive: Archive, player: _Player, source: Ledger) -> None:
        super().__init__(archive, lambda query, found: None)
        self._player, self._source = player, source

    def get_body(self, ref: str) -> str:
        """Of this replay, or of the run: a text is the same under the same hash."""
        try:
            return super().get_body(ref)
        except NotArchived:
            return self._source.get_body(ref)

    async def recall(self, query: str, **_: Any) -> Sequence[Passage]:
        return self._player.recall(query)


class _PlayedSlot:
    """What a killed process left of the calls of the task that ran again first."""

    def __init__(self, at: int, calls: list[dict[str, Any]]) -> None:
        self._at, self._calls = at, calls

    def read(self) -> str:
        info = get_runtime().execution_info
        return json.dumps({"task": info.task_id, "calls": self._calls}) if info and super_step() == self._at else ""

    def write(self, text: str) -> None:
        del text


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _first(then: str, now: str) -> str:
    """Where two texts part."""
    at = next((n for n, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    start = max(0, at - 15)
    return f"from character {at + 1} on it was {then[start : start + _SHOWN_CHARS]!r}, and is {now[start : start + _SHOWN_CHARS]!r}"
