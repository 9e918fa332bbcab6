"""A step as it stood: the prompt that its call came from, what that cost, what was compacted and recalled, and what the call brought."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, messages_from_dict
from langgraph.checkpoint.base import CheckpointTuple

from research_agent.graphs.calls import reasoning_of
from research_agent.graphs.observation import parse
from research_agent.graphs.ports import Archive
from research_agent.graphs.state import NO_USAGE, ResearchState, TurnRef, Usage
from research_agent.graphs.window import load, message_tokens, system_messages
from research_agent.history.records import NAME, Record, Records, current
from research_agent.history.snapshot import ledger, snapshot
from research_agent.history.steps import NoSuchStep, checkpoints, last_step, values_of
from research_agent.memory import NotArchived, handle
from research_agent.memory.ledger import Ledger
from research_agent.runs import Run, RunError


async def at_step(run: Run, step: int) -> dict[str, Any]:
    """Plain JSON. Step 0 is the planning. Raises NoSuchStep, and RunError for a run that cannot be read."""
    with TemporaryDirectory(prefix="research-agent-") as temporary:
        folder = Path(temporary)
        history = await checkpoints(run, folder)
        source, records = ledger(run, folder), snapshot(run, NAME, folder)
        if source is None:
            raise RunError(f"run {run.id} has no ledger.sqlite: nothing of its steps is known")
        try:
            if not history:
                raise RunError(f"run {run.id} has no checkpoints: nothing of its steps is known")
            last = max([last_step(history), *(values_of(item).get("step") or 0 for item in history)])
            if not 0 <= step <= last:
                raise NoSuchStep(f"--step {step}: not allowed: 0 to {last}")
            told = _View(history, source, _read(records)).of(step)
            return {"run": run.id, "step": step, "last_step": last, **told}
        except NotArchived as error:
            raise RunError(f"run {run.id}: a message of step {step} is lost: {error}") from error
        finally:
            source.close()


def _read(path: Path | None) -> list[Record]:
    if path is None:
        return []
    records = Records(path)
    try:
        return current(records.all())
    finally:
        records.close()


@dataclass(frozen=True, slots=True)
class _View:
    history: Sequence[CheckpointTuple]
    ledger: Ledger
    records: Sequence[Record]

    def of(self, step: int) -> dict[str, Any]:
        if not step:
            return self._planned()
        for n, item in enumerate(self.history):
            if any(call["step"] == step for call in values_of(item).get("calls") or ()):
                return self._turn(n, step)
        raise NoSuchStep(f"--step {step}: its checkpoint is gone; `research-agent memory search` finds what it brought")

    def _turn(self, n: int, step: int) -> dict[str, Any]:
        item, before = self.history[n], values_of(self.history[n - 1])
        values, at = values_of(item), int(item.metadata["step"])
        call = next(call for call in values["calls"] if call["step"] == step)
        *shown, reply = values["turns"]
        current = next((q for q in before.get("plan", ()) if q["status"] == "open"), None)
        asked = self._asked(at, "investigator")
        prompt = self._prompt(asked) if asked else [*system_messages(), *map(self._load, (*values["head"], *shown))]
        said = self._load(reply)
        return {
            "role": "investigator",
            "turn": values.get("turn", 0),
            "model": asked.data["model"] if asked else "",
            "sub_question": dict(current) if current else None,
            "cost": _cost(values, before),
            "compaction": self._compaction(before, values),
            "recalled": self._recalled(at, call["id"], values, before),
            "prompt": [_message(message) for message in prompt],
            "tools": self._tools(asked),
            "reply": _message(said),
            "call": {"id": call["id"], "name": call["name"], "args": call["args"], "error": call["error"]},
            "observation": self._observation(n, call["id"]),
        }

    def _planned(self) -> dict[str, Any]:
        n = next((n for n, item in enumerate(self.history) if values_of(item).get("plan")), None)
        if n is None:
            raise RunError("the run has no plan yet: nothing was asked")
        item = self.history[n]
        values, asked = values_of(item), self._asked(int(item.metadata["step"]), "planner")
        reply = messages_from_dict([asked.data["reply"]])[0] if asked else None
        return {
            "role": "planner",
            "turn": 0,
            "model": asked.data["model"] if asked else "",
            "sub_question": None,
            "cost": _cost(values, {}),
            "compaction": None,
            "recalled": [],
            "prompt": [_message(message) for message in self._prompt(asked)] if asked else [],
            "tools": [],
            "reply": _message(reply) if reply else None,
            "call": None,
            "observation": None,
            "plan": [dict(part) for part in values["plan"]],
        }

    def _load(self, turn: TurnRef) -> BaseMessage:
        return load(turn["ref"], cast(Archive, self.ledger))

    def _asked(self, at: int, role: str) -> Record | None:
        """The last request of a super-step, which was answered."""
        found = [
            record
            for record in self.records
            if record.kind in ("ask", "kept") and (record.at, record.key) == (at, role) and "reply" in record.data
        ]
        return found[-1] if found else None

    def _prompt(self, asked: Record) -> list[BaseMessage]:
        return messages_from_dict([json.loads(self.ledger.get_body(ref)) for ref in asked.data["messages"]])

    def _tools(self, asked: Record | None) -> list[dict[str, Any]]:
        return list(json.loads(self.ledger.get_body(asked.data["tools"]))) if asked and asked.data["tools"] else []

    def _compaction(self, before: ResearchState, values: ResearchState) -> dict[str, Any] | None:
        head, old = values["head"], before.get("head") or []
        if [turn["ref"] for turn in head] == [turn["ref"] for turn in old]:
            return None
        results = list((before.get("results") or {}).values())
        had, kept = [*before.get("turns", ()), *results], {turn["ref"] for turn in values["turns"]}
        gone = sum(turn["ref"] not in kept for turn in had)
        tokens = [sum(turn["tokens"] for turn in turns) for turns in ([*old, *had], [*head, *values["turns"][:-1]])]
        return {"messages": gone, "before_tokens": tokens[0], "after_tokens": tokens[1]}

    def _recalled(self, at: int, call: str, values: ResearchState, before: ResearchState) -> list[dict[str, Any]]:
        """What came back from the archive here: into the memory block of a compaction, or by the call itself."""
        found = [
            {"query": record.data["query"], "handles": _handles(place for place, _, _ in record.data["found"])}
            for record in self.records
            if record.kind == "recall" and record.at == at
        ]
        brought = [r.data["recalled"] for r in self.records if r.kind == "use" and r.key == call and r.data.get("recalled")]
        found += [{"query": "", "handles": _handles(place for place, _ in places)} for places in brought]
        if not self.records and self._compaction(before, values) and len(values["head"]) > 1:
            shown = parse(str(self._load(values["head"][1]).text))
            found.append({"query": "", "handles": [block.handle for block in shown if block.handle]})
        return found

    def _observation(self, n: int, call: str) -> dict[str, Any] | None:
        """What the call brought, as the model was shown it; None while it runs."""
        written = [value for _, channel, value in self.history[n].pending_writes or () if channel == "results"]
        later = [values_of(item).get("results") or {} for item in self.history[n : n + 2]]
        for results in (*later, *written):
            if isinstance(results, Mapping) and call in results:
                return _message(self._load(results[call]))
        return None


def _handles(places: Any) -> list[str]:
    return [handle(step, ordinal) if kind == "observation" else f"{kind} at step {step}" for step, kind, ordinal, *_ in places]


def _cost(values: ResearchState, before: Mapping[str, Any]) -> dict[str, Any]:
    now, then = values.get("usage", NO_USAGE), before.get("usage", NO_USAGE)
    spent = cast(Usage, {key: value - then[key] for key, value in now.items()})
    return {**spent, "usd": round(spent["usd"], 8)}


def _message(message: BaseMessage) -> dict[str, Any]:
    """A message for people and machines: whatever a provider calls it."""
    told: dict[str, Any] = {"role": _ROLES.get(message.type, message.type), "content": str(message.text), "tokens": message_tokens(message)}
    if isinstance(message, AIMessage):
        told["reasoning"] = reasoning_of(message)
        told["tool_calls"] = [{"id": call["id"], "name": call["name"], "args": call["args"]} for call in message.tool_calls]
    if isinstance(message, ToolMessage):
        told |= {"tool_call_id": message.tool_call_id, "name": message.name or "", "ok": message.status != "error"}
    return told


_ROLES = {"human": "user", "ai": "assistant"}
