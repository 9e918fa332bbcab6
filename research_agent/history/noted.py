"""What a run has noted, as its log tells it beside its ledger: evidence that damage took is missed, and a run never has silently less."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from research_agent.event_log import events
from research_agent.events import Event
from research_agent.graphs.ports import Archive
from research_agent.memory import Segment, content_hash, estimate_tokens
from research_agent.memory.database import storable
from research_agent.memory.quotes import locate
from research_agent.runs import Run, now

NAME = "noted.jsonl"
"""Of a fork: what was noted before it began, which its own log does not tell."""


@dataclass(frozen=True, slots=True)
class Noted:
    claim: str
    quote: str
    sub_question: str
    handle: str
    """Of the source."""
    step: int
    """0 where it is not known."""

    @property
    def key(self) -> str:
        return _key(self.claim, self.quote, self.sub_question)


def _key(claim: str, quote: str, sub_question: str) -> str:
    return content_hash("\x1f".join(storable(text) for text in (claim, quote, sub_question)))


def missing(run: Run, archive: Archive) -> list[Noted]:
    """What was noted and is not in the ledger, or without its source."""
    known = _known(run)
    for finding in archive.find(kind="finding") if known else ():
        if archive.get(finding.source):
            known.pop(_key(finding.text, finding.quote, finding.sub_question), None)
    return list(known.values())


def _known(run: Run) -> dict[str, Noted]:
    """Without what an earlier session found to be lost, and said so."""
    known: dict[str, Noted] = {}
    calls: dict[tuple[str, str], int] = {}
    for path in (run.folder / NAME, run.events):
        for event in events(path):
            if event["type"] == "call" and event["name"] == "note":
                calls[str(event["args"].get("claim", "")).strip(), str(event.get("sub_question", ""))] = event["step"]
            elif event["type"] == "finding":
                one = _of(event, calls)
                known[one.key] = one
            elif event["type"] == "lost":
                for key in event["findings"]:
                    known.pop(key, None)
    return known


def _of(event: Event, calls: Mapping[tuple[str, str], int]) -> Noted:
    """`calls`: the steps of those that noted, for an older log tells the step of no finding."""
    claim, quote, sub_question, handle = (str(event.get(name, "")) for name in ("claim", "quote", "sub_question", "handle"))
    return Noted(claim, quote, sub_question, handle, int(event.get("step") or calls.get((claim, sub_question), 0)))


async def restore(run: Run, archive: Archive) -> list[Noted]:
    """Notes again what the log tells whole, where the source still holds its words; what is lost all the same."""
    gone = missing(run, archive)
    await archive.archive([segment for one in gone if (segment := _segment(run, archive, one))])
    return missing(run, archive) if gone else []


def lost_for_good(run: Run, archive: Archive) -> int:
    """How many could not be restored."""
    return sum(_segment(run, archive, one) is None for one in missing(run, archive))


def _segment(run: Run, archive: Archive, one: Noted) -> Segment | None:
    source = archive.get(one.handle)
    if not one.step or source is None or source.kind != "observation" or locate(one.quote, source.text) != one.quote:
        return None
    segment = Segment(
        run=run.id,
        step=one.step,
        kind="finding",
        tool="note",
        trust="own",
        text=one.claim,
        quote=one.quote,
        source=source.id,
        sub_question=one.sub_question,
        tokens=estimate_tokens(one.claim),
        args_hash=content_hash("\x1f".join((one.claim, one.quote, one.sub_question))),
    )
    return None if archive.get(segment.id) else segment


def hand_on(parent: Run, run: Run, *, upto: int, anew: bool) -> None:
    """Into a fork's folder: what its parent had noted up to a step, lost or not. `anew`: for no sub-question of its plan."""
    noted = [replace(one, sub_question="" if anew else one.sub_question) for one in _known(parent).values() if 0 < one.step <= upto]
    lines: Iterator[str] = (json.dumps({"time": now(), "type": "finding", **asdict(one)}, ensure_ascii=True) + "\n" for one in noted)
    (run.folder / NAME).write_text("".join(lines), "ascii")


def lost_event(gone: Iterable[Noted], again: Iterable[str]) -> dict[str, object]:
    """`again`: the tasks whose calls are made once more."""
    return {"type": "lost", "findings": [one.key for one in gone], "tasks": sorted(again)}
