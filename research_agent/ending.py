"""How a session of work ends, as the run's folder tells it: with a report, with what there is of one, or with the reason for none."""

from __future__ import annotations

import json
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from research_agent.config import Config
from research_agent.event_log import by_role, events, warnings
from research_agent.graphs.ports import ModelCallError
from research_agent.graphs.state import NO_USAGE, ResearchState
from research_agent.graphs.write import standing
from research_agent.memory import Archive, ArchiveError, EmbedderUnavailable
from research_agent.models.load import CannotLoad
from research_agent.reasons import NOTHING_NOTED, STOPPED, by_limit, for_reader, not_overcome, raised
from research_agent.runs import Run, now
from research_agent.search.provider import SearchFailed
from research_agent.stores.errors import RunError, StoreError
from research_agent.stores.faults import beneath, in_one_line
from research_agent.stores.slot import Slot
from research_agent.telling import Teller

if TYPE_CHECKING:
    from research_agent.report import Report

Status = Literal["complete", "incomplete", "failed"]
_KNOWN = (ModelCallError, CannotLoad, EmbedderUnavailable, ArchiveError, SearchFailed, RunError)
"""What says by itself, in one line, what is wrong."""


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


class Ending:
    """Ends the sessions of one run."""

    cut = False
    """The last task did not end: a reply that came for it is kept."""

    def __init__(
        self, run: Run, config: Config, teller: Teller, slot: Slot, *, clock: Callable[[], float], redact: Callable[[str], str]
    ) -> None:
        self._run, self._config, self._teller, self._slot, self._clock, self._redact = run, config, teller, slot, clock, redact
        self._steps_before = run.steps_before()

    def finish(self, state: ResearchState, archive: Archive, *, drained: bool = False, lost: str = "") -> Result:
        """`lost`: why its checkpoints cannot be reached; what was found lies elsewhere, and is reported."""
        from research_agent.history.rendering import investigation, written_by  # what renders a report is not waited for at a start
        from research_agent.report import build

        self.cut = bool(lost)
        findings, stopped = len(archive.find(kind="finding")), lost or self._with_remedy(state)
        draft = (standing(state, findings) if drained or lost else state.get("report")) or None
        if drained:
            stopped = f"{STOPPED}{'' if findings else NOTHING_NOTED}; `research-agent resume {self._run.name}` goes on"
        if not draft and not findings:
            return self._without_report(state, stopped or "nothing was written", drained=drained)
        written = written_by(draft, self._run.read(), self._config, at=now())
        report = build(investigation(self._run, written, state, archive, draft=draft, reason=for_reader(stopped)))
        if not report.sources:
            read = len(archive.find(kind="observation"))
            none = f"no evidence was found: {read} documents were read, and none answers the question"
            return self._without_report(state, stopped if by_limit(stopped) else none, drained=drained)
        path = self._write(report)
        self._run.update(written=written)
        self._teller.emit({"type": "report", "path": str(path), "answer": report.answer})
        return self.ended(state, "incomplete" if stopped else "complete", stopped, path, report.answer)

    def _without_report(self, state: ResearchState, reason: str, *, drained: bool) -> Result:
        """What a limit or a person cut before it had something goes on from there; anything else has failed."""
        limited = by_limit(reason)
        return self.ended(state, "incomplete" if drained or limited else "failed", reason + NOTHING_NOTED if limited else reason)

    def failed(self, error: Exception, record: dict[str, Any], state: ResearchState | None) -> Result:
        """What ended it, in one line. Where nothing was opened yet (no `state`), the record keeps what it says of the work so far."""
        self.cut = True
        reason = self._redact(" ".join(self._reason(error).split()))[:700]
        with suppress(OSError):  # a full disk, say
            self._teller.log({"type": "error", "reason": reason, "traceback": traceback.format_exc()})
        went = record.get("status", "running")
        more = self._so_far() if state is None and went == "running" else {}
        nothing = {"steps": 0, "usd": 0.0, "tokens": {}, "seconds": 0.0}
        counts = {name: {**record, **more}.get(name, none) for name, none in nothing.items()} if state is None else self.counts(state)
        try:
            if state is not None:
                return self.ended(state, "failed", reason)
            kept = {"status": record.get("status", "running"), "reason": record.get("reason", "")}  # running: of an interrupted one
            self._run.update(**{**more, "config": record.get("config", {}), **kept})
        except (OSError, RunError) as unwritten:
            self._briefly(unwritten, {} if state is None else {"status": "failed", "reason": reason, **counts})
        self._teller.show({"type": "end", "status": "failed", "reason": reason, **counts, "folder": str(self._run.folder)})
        return Result(self._run.id, self._run.folder, "failed", reason, None, "")

    def _so_far(self) -> dict[str, Any]:
        """What a run had come to that was killed: its record does not say."""
        from research_agent.history.progress import progress

        with suppress(OSError, RunError):
            return progress(self._run)
        return {}

    def _briefly(self, why: Exception, told: dict[str, Any]) -> None:
        """On a full disk the block of the record before the last is free: what fits there is how it ended, and not what it was made of."""
        with suppress(OSError, RunError):
            if told and self._run.update(**told):
                return
        said = getattr(why, "strerror", None) or why
        self._teller.show({"type": "warning", "text": f"how it ended cannot be recorded ({said}): `list` and `show` call it interrupted"})

    def ended(
        self, state: ResearchState, status: Status, reason: str, report: Path | None = None, answer: str = "", *, waiting: bool = False
    ) -> Result:
        counts = self.counts(state)
        self._run.update(
            status=status,
            reason=reason,
            **counts,
            model_calls=state.get("usage", NO_USAGE)["calls"],
            roles=by_role(events(self._run.events)),
            sub_questions=state.get("plan", []),
            failures=not_overcome(state.get("failures", []), state.get("stopped", ""), written=bool(state.get("report"))),
            warnings=warnings(events(self._run.events)),
            report=report.name if report else None,
            waiting=waiting,
        )
        if not self.cut:
            self._slot.clear()
        self._teller.emit({"type": "end", "status": status, "reason": reason, **counts, "folder": str(self._run.folder)})
        return Result(self._run.id, self._run.folder, status, reason, report, answer, waiting)

    def counts(self, state: ResearchState) -> dict[str, Any]:
        """What the run has come to, all its sessions together."""
        usage = state.get("usage", NO_USAGE)
        tokens = {key: usage[key] for key in ("input", "cached", "output", "reasoning")}
        steps = max(0, state.get("step", 0) - self._unmade(state) - self._steps_before)
        return {"steps": steps, "usd": round(usage["usd"], 6), "tokens": tokens, "seconds": round(self._clock(), 3)}

    def _unmade(self, state: ResearchState) -> int:
        """How many of the last turn's steps are still to be made: the state numbers them all at once, and has their results at once."""
        results = state.get("results") or {}
        calls = [call for call in state.get("calls") or () if call["step"] > self._steps_before]
        if all(call["id"] in results for call in calls):
            return 0
        told = {(event.get("id"), event["step"]) for event in events(self._run.events) if event["type"] == "result"}
        made = {call["step"] for call in calls if call["id"] in results or told & {(call["id"], call["step"]), (None, call["step"])}}
        return len({call["step"] for call in calls} - made)

    def _reason(self, error: Exception) -> str:
        known = isinstance(error, _KNOWN) and beneath(error) is error
        text = str(error) if known else in_one_line(error, self._run.folder) or f"{type(error).__name__}: {error}"
        if isinstance(error, ModelCallError):
            text = error.reason
        if isinstance(error, ModelCallError) and error.kind == "budget":
            return f"{text}, then `research-agent resume {self._run.name}{raised(text)}`"
        if isinstance(beneath(error), (ModelCallError, StoreError, OSError, sqlite3.Error)) and "`research-agent" not in text:
            return f"{text}, then `research-agent resume {self._run.name}`"
        return text

    def _with_remedy(self, state: ResearchState) -> str:
        """Why the investigation stopped. A model's failure says what to do first; then the run goes on where it was."""
        stopped = state.get("stopped", "")
        failed = any(failure["what"] == "model" and failure["reason"] == stopped for failure in state.get("failures", []))
        return f"{stopped}, then `research-agent resume {self._run.name}`" if failed else stopped

    def _write(self, report: Report) -> Path:
        """The report in the formats asked for, beside its tables; the path of the first."""
        from research_agent.history.rendering import texts

        self._run.write("sources.json", _json(report.sources))
        self._run.write("findings.json", _json(report.findings))
        made = texts(report)
        written = [self._run.write(f"report.{name}", made[name]) for name in self._config.report.formats]
        for name in made.keys() - set(self._config.report.formats):  # an earlier one's: asked for, it is made of what is stored now
            (self._run.folder / f"report.{name}").unlink(missing_ok=True)
        return written[0]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
