"""Writes down what a run meets, as it meets it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from langchain_core.messages import AIMessage, message_to_dict
from langchain_core.tools import ToolException
from langgraph.config import get_config

from research_agent.graphs.act import WrongCall
from research_agent.graphs.flight import redacted
from research_agent.graphs.ports import Archive, Asked, Context, Model, ModelCallError, Observation, Used
from research_agent.graphs.state import Call
from research_agent.history.records import NAME, Kind, Record, Records
from research_agent.history.requests import Writer, schemas
from research_agent.memory import Passage, Segment
from research_agent.memory.segment import MAX_ORDINALS
from research_agent.memory.segment import Kind as SegmentKind
from research_agent.runs import Run

Place = list[Any]
"""Step, kind and ordinal of a segment, and its thread if that is another than `main`: what it is in any run."""


def super_step() -> int:
    """LangGraph's number of the super-step that is running."""
    return int(get_config()["metadata"]["langgraph_step"])


def place_of(segment: Segment) -> Place:
    place: Place = [segment.step, segment.kind, segment.ordinal]
    return place if segment.thread == "main" else [*place, segment.thread]


def id_of(run: str, place: Sequence[Any]) -> str:
    """Of the segment that has this place in a run."""
    step, kind, ordinal, *thread = place
    return Segment(run=run, step=step, kind=kind, ordinal=ordinal, text="", trust="own", thread=thread[0] if thread else "main").id


class Recorder:
    """A graph's `Tape` that writes down."""

    def __init__(self, run: str, records: Records, archive: Archive, redact: Callable[[str], str]) -> None:
        self._run, self._records, self._archive, self._redact = run, records, archive, redact
        self._session = records.sessions() + 1
        self._writer = Writer(archive.put_body)
        self._cut_at = -1
        self._recalled_before: deque[Record] = deque()
        """In the super-step that was cut, where its model had answered by then: its prompt is made once more, and must be the same."""

    @property
    def mended(self) -> str:
        """What of the records was made anew because it was damaged."""
        return self._records.mended

    def began(self, at: int | None, context: Context, **how: Any) -> Context:
        """A session begins; the context by which it is recorded."""
        how = redacted(how, self._redact)
        facts = {
            "limits": asdict(context.limits),
            "models": {role: _facts(model) for role, model in context.models.items()},
            "tools": self._archive.put_body(schemas(context.tools)),
            "approve_plan": context.approve_plan,
            "max_words": context.max_words,
            "loop_guard": context.loop_guard,
            "earlier": list(context.earlier),
        }
        if at is not None and how.get("cut") and "message" in how["cut"][-1]:
            self._cut_at = at + 1
            self._recalled_before.extend(self._records.recalls(self._cut_at))
        self._records.add(Record(self._session, -2 if at is None else at, "session", "", {**how, **facts}))
        return replace(
            context,
            models={role: replace(model, tape=self) for role, model in context.models.items()},
            archive=TapedArchive(context.archive, self.recall, self.recalled_before),
            assets=lambda: self._assets(context.assets()),
            clock=_Clock(context.clock, context.limits.minutes * 60, lambda: self._add("minutes", "", {})),
            tape=self,
        )

    async def ask(self, asked: Asked, answer: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        written = self._writer.write(asked)
        request = {**asdict(written), "messages": list(written.messages), "hash": written.hash, "call": asked.number}
        try:
            message = await answer()
        except ModelCallError as error:
            told = {"reason": error.reason, "kind": error.kind, "retry_after_s": error.retry_after_s, "window_tokens": error.window_tokens}
            self._add("ask", asked.role, {**request, "failed": {**told, "usage": error.usage}})
            raise
        self._add("ask", asked.role, {**request, "reply": redacted(message_to_dict(message), self._redact)})
        return message

    def kept(self, asked: Asked) -> None:
        """It was recorded when its reply came."""

    async def use(self, call: Call, run: Callable[[], Awaitable[Used]]) -> Used:
        try:
            content, observation = await run()
        except ToolException as error:
            self._add("use", call["id"], {"failed": self._redact(str(error)), "wrong": isinstance(error, WrongCall)})
            raise
        self._add("use", call["id"], self._brought(content, observation))
        return content, observation

    def _brought(self, content: str, observation: Observation | None) -> dict[str, Any]:
        """A new text is archived under the call's step in a moment: its place says where it is."""
        if observation is None:
            return {"plain": True} if content.strip() else {"plain": True, "content": content}
        fresh = sum(not document.origin for document in observation.documents)
        finding = observation.finding
        return {
            "summary": self._redact(observation.summary),
            "fresh": min(fresh, MAX_ORDINALS),
            "runs": [document.run for document in observation.documents if not document.origin][:MAX_ORDINALS],
            "recalled": [[self._place(item.origin), self._redact(item.text)] for item in observation.documents if item.origin],
            "finding": [self._redact(finding.claim), self._redact(finding.quote), self._place(finding.source)] if finding else None,
            "content": "" if fresh else self._redact(content),
        }

    def _place(self, id: str) -> Place | None:
        segment = self._archive.get(id)
        return place_of(segment) if segment else None

    def follows(self, own: int, found: Callable[[], int]) -> int:
        step = found()
        if step != own:
            self._add("step", "", {"follows": step})
        return step

    def recall(self, query: str, found: Sequence[Passage]) -> None:
        self._add("recall", "", {"query": query, "found": [[place_of(item.segment), item.text, item.score] for item in found]})

    def recalled_before(self, query: str) -> Sequence[Passage] | None:
        """What the process that was killed in this super-step recalled for the query; None if that is not known."""
        if not self._recalled_before or super_step() != self._cut_at:
            return None
        record = self._recalled_before.popleft()
        ids = [id_of(self._run, place) for place, _, _ in record.data["found"]]
        segments = [segment for id in ids if (segment := self._archive.get(id))]
        if record.data["query"] != query or len(segments) != len(ids):
            self._recalled_before.clear()
            return None
        return [Passage(segment, text, score) for segment, (_, text, score) in zip(segments, record.data["found"], strict=True)]

    def _assets(self, listed: Sequence[tuple[str, int, bool]]) -> Sequence[tuple[str, int, bool]]:
        self._add("assets", "", {"listed": [list(asset) for asset in listed]})
        return listed

    def _add(self, kind: Kind, key: str, data: dict[str, Any]) -> None:
        self._records.add(Record(self._session, super_step(), kind, key, data))


@contextmanager
def opened_recorder(run: Run, archive: Archive, redact: Callable[[str], str]) -> Iterator[Recorder]:
    records = Records(run.folder / NAME)
    try:
        yield Recorder(run.id, records, archive, redact)
    finally:
        records.close()


def _facts(model: Model) -> dict[str, Any]:
    names = ("name", "window_tokens", "max_output_tokens", "priced", "least_output_tokens", "host", "key")
    return {name: getattr(model, name) for name in names} | {"prices": asdict(model.prices)}


class _Clock:
    """Tells when the limit is first seen to be reached."""

    def __init__(self, clock: Callable[[], float], limit_s: float, reached: Callable[[], None]) -> None:
        self._clock, self._limit_s, self._reached, self._told = clock, limit_s, reached, False

    def __call__(self) -> float:
        now = self._clock()
        if now >= self._limit_s and not self._told:
            self._told = True
            self._reached()
        return now


class TapedArchive:
    """An archive whose recalls are told of; one that was `known` before is not made again."""

    def __init__(
        self,
        archive: Archive,
        told: Callable[[str, Sequence[Passage]], None],
        known: Callable[[str], Sequence[Passage] | None] = lambda query: None,
    ) -> None:
        self._archive, self._told, self._known = archive, told, known

    async def recall(
        self,
        query: str,
        *,
        budget_tokens: int,
        kinds: Sequence[SegmentKind] = (),
        source: str = "",
        since_step: int = 0,
        exclude: frozenset[str] = frozenset(),
    ) -> Sequence[Passage]:
        found = self._known(query)
        if found is None:
            found = await self._archive.recall(
                query, budget_tokens=budget_tokens, kinds=kinds, source=source, since_step=since_step, exclude=exclude
            )
        self._told(query, found)
        return found

    async def archive(self, segments: Sequence[Segment], *, bodies: Sequence[str] = ()) -> None:
        await self._archive.archive(segments, bodies=bodies)

    def get(self, id_or_handle: str) -> Segment | None:
        return self._archive.get(id_or_handle)

    def find(self, *, kind: SegmentKind, url: str = "", args_hash: str = "", newest: int = 0) -> Sequence[Segment]:
        return self._archive.find(kind=kind, url=url, args_hash=args_hash, newest=newest)

    def last_step(self) -> int:
        return self._archive.last_step()

    def put_body(self, text: str) -> str:
        return self._archive.put_body(text)

    def get_body(self, ref: str) -> str:
        return self._archive.get_body(ref)
