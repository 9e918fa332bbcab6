"""What a replay asks instead of a host, a tool, an index and a clock: the records."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, messages_from_dict
from langchain_core.tools import ToolException
from langgraph.runtime import get_runtime

from research_agent.graphs.act import WrongCall
from research_agent.graphs.failures import LONGEST_WAIT_S
from research_agent.graphs.ports import Asked, Document, Finding, ModelCallError, Observation, Used
from research_agent.graphs.state import Call
from research_agent.history.recorder import TapedArchive, id_of, super_step
from research_agent.history.records import Record
from research_agent.history.requests import Writer, Written
from research_agent.memory import Archive, NotArchived, Passage, Segment
from research_agent.memory.ledger import Ledger
from research_agent.memory.segment import thread_of

_SHOWN_CHARS = 60


class Differs(Exception):
    """What is asked now is not what was asked then."""


class Over(Exception):
    """The session went no further."""


class Player:
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
            raise Differs(f"request {left[0]} of {self.recorded} was asked then, and is not now: the run ends before it")

    def _unrecorded(self, told: str) -> Exception:
        """What is not recorded is a difference; but in the last super-step of a run that has not ended it is what was not done yet."""
        self.ended = self._end is not None and super_step() >= self._end
        return Over() if self.ended else Differs(told)

    def clock(self) -> float:
        at, reached = self._now(), self._minutes.get(self._session)
        return self._limit_s if reached is not None and at >= reached else 0.0

    def _now(self) -> int:
        at = super_step()
        if self._until is not None and at > self._until:
            raise Over
        return at

    async def ask(self, asked: Asked, answer: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        at, written = self._now(), self._writer.write(asked)
        if not self._asks[at]:
            raise self._unrecorded(f"after {self.same} requests the {asked.role} is asked now, and was not then")
        number, record, messages = self._asks[at].popleft()
        if written.hash != record.data["hash"]:
            raise Differs(f"request {number} of {self.recorded} ({asked.role}): {self._difference(record, messages, written)}")
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
            raise Differs(f"request {number} of {self.recorded} ({asked.role}): {self._difference(record, then, written)}")
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
            raise Differs(f"recalled was {record.data['query']!r}, and is {query!r}")
        return [Passage(self._segment(place), text, score) for place, text, score in record.data["found"]]


class PlayedArchive(TapedArchive):
    """An archive whose recalls are records: they do not wait on what was indexed by then."""

    def __init__(self, archive: Archive, player: Player, source: Ledger) -> None:
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


class PlayedSlot:
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
