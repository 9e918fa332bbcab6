"""The loop: one turn of the investigator. It works on the first open sub-question until it replies without calling a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.runtime import Runtime
from langgraph.types import Send

from research_agent.memory import Segment

from . import prompts, window
from .budget import STEPS, calibrated, purse, would_do
from .calls import Emit, Reply, add_usage, call
from .compaction import compact
from .counting import Meter, measured_for, message_parts, parts_of
from .failures import ends_all, same_key
from .flight import Flight, redacted
from .numbering import follows
from .ports import Context, ModelCallError
from .repeats import args_hash, call_text
from .state import NO_USAGE, NOT_JSON, Call, Failure, ResearchState, SubQuestion, TurnRef, Usage, numbered
from .summary import Summarizer

CALLS_PER_TURN = 16
"""Parallel calls of one turn; a model that asks for more is told."""
WRONG_CALLS, LAST_WRONG_CALL = 3, 9
"""So many in a row, and the model is shown how its tools are called; so many, and its sub-question is given up."""
FITTINGS = 6
"""Compactions, one after another, by which a prompt must come under the window."""
OVERFLOWS = 5
"""Compactions that a host's overflow error may force before the run stops."""


async def investigate(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Folds the last results into the window, compacts it if it is due, and asks for the next thought."""
    context = runtime.context
    model = context.models["investigator"]
    measured = f"{model.name} at {model.host}"
    persisted, state = state, measured_for(state, measured)
    results = _results(state)
    turns, before = [*state["turns"], *results], state.get("wrong", 0)
    wrong = _wrong_in_a_row(before, results)
    folded: dict[str, Any] = {"turns": turns, "calls": [], "results": None, "seconds": context.clock()}
    if wrong != before:  # every key that is returned is a row in the checkpoint's database
        folded["wrong"] = wrong
    current = next((item for item in state["plan"] if item["status"] == "open"), None)
    if current is None:
        return folded
    if stopped := over_limit(context, state):
        return {**folded, "stopped": stopped}
    if wrong >= LAST_WRONG_CALL:
        return {**folded, **_given_up(state, current, wrong, runtime.stream_writer)}
    if before < WRONG_CALLS <= wrong:
        advice = HumanMessage(prompts.wrong_calls(wrong, context.tools))
        turns.append(window.keep(advice, context.archive, step=state["step"], opens=True))
    if state.get("opened") != current["id"]:
        opening = HumanMessage(prompts.sub_question(current["id"], current["question"]))
        turns.append(window.keep(opening, context.archive, step=state["step"], opens=True))
        runtime.stream_writer({"type": "sub_question", **current})
    turn = _Turn(context, state, turns, current, runtime.stream_writer, Flight.of(runtime))
    try:
        reply = await turn.take()
    except ModelCallError as error:
        # What this turn has opened and compacted is part of the conversation: it goes on from there when it is resumed.
        reached = {"head": turn.head, "turns": turn.turns, "opened": current["id"], "window": turn.learned_window, "measured": measured}
        ended = _stopped(context, turn.state, turn.usage, error)
        failures = [*turn.failures, *ended.pop("failures", [])]
        return {**folded, **reached, "summary": turn.summary, "usage": turn.usage, **ended, "failures": failures}
    turn.count(reply.reported_tokens)
    update = await _archived(context, state, current, reply, runtime.stream_writer)
    changed = {"head": turn.head, "opened": current["id"], "window": turn.learned_window, "summary": turn.summary, "measured": measured}
    return {
        **folded,
        **update,
        **{key: value for key, value in changed.items() if value != persisted.get(key)},
        **({"failures": turn.failures} if turn.failures else {}),
        "turns": [*turn.turns, *update["turns"]],
        "usage": add_usage(turn.usage, reply.usage),
        "calibration": calibrated(state.get("calibration", 1.0), turn.raw, reply.reported_tokens),
        "learned": turn.meter.learned,
        "turn": state.get("turn", 0) + 1,
    }


async def route(state: ResearchState) -> list[Send] | Literal["investigate", "review", "write"]:
    """After a turn: its tool calls, each a task of its own; or the next sub-question; or on to the report."""
    if state.get("stopped"):
        return "write"
    if state["calls"]:
        current = next(item for item in state["plan"] if item["status"] == "open")
        live = sorted(window.live_segments(state["turns"]))
        return [Send("act", {"call": call, "sub_question": current, "live": live}) for call in state["calls"]]
    return "investigate" if any(item["status"] == "open" for item in state["plan"]) else "review"


def over_limit(context: Context, state: ResearchState) -> str:
    """The limit that is reached, in words; empty if none is. That of dollars is kept call by call (budget.py)."""
    limits = context.limits
    if state["step"] >= limits.last_step:
        return f"the limit of {limits.steps} steps was reached"
    if context.clock() >= limits.minutes * 60:
        return f"the limit of {limits.minutes:g} minutes was reached"
    return ""


def _stopped(context: Context, state: ResearchState, usage: Usage, error: ModelCallError) -> dict[str, Any]:
    if error.kind == "budget":
        limit_usd, enough_usd = context.limits.usd, purse(context, state, usage, "investigator").enough_usd
        spent = f"${usage['usd']:.3f} spent" + (", the rest kept back for the report" if usage["usd"] < limit_usd else "")
        if state["step"] - context.limits.steps_before < STEPS or enough_usd > 2 * limit_usd:  # twice of it may be too small too
            spent = f"{spent}; {would_do(enough_usd)}"
        return {"stopped": f"the limit of ${limit_usd:g} was reached ({spent})"}
    failure = Failure(step=state["step"], what="model", reason=error.reason)
    if ends_all(error) and same_key(context.models["investigator"], context.models["writer"]):
        failure["final"] = True
    return {"failures": [failure], "stopped": error.reason}


def _results(state: ResearchState) -> list[TurnRef]:
    """The last calls' results, in the order of the calls."""
    results = state.get("results") or {}
    return [results[call["id"]] for call in state["calls"] if call["id"] in results]


def _wrong_in_a_row(before: int, results: Sequence[TurnRef]) -> int:
    for result in results:
        before = before + 1 if result.get("wrong") else 0
    return before


def _given_up(state: ResearchState, current: SubQuestion, wrong: int, emit: Emit) -> dict[str, Any]:
    """A sub-question on which the model no longer makes a call that can be run. The others go on."""
    failed = SubQuestion(id=current["id"], question=current["question"], status="failed", answer="")
    emit({"type": "sub_question", **failed})
    reason = f"given up after {wrong} calls in a row that could not be run"
    failure = Failure(step=state["step"], what=f"sub-question {current['id']}", reason=reason)
    plan = [failed if item["id"] == failed["id"] else item for item in state["plan"]]
    return {"plan": plan, "failures": [failure], "wrong": 0}


class _Turn:
    """One model turn: the prompt as it is sent, compacted as often as it must be."""

    def __init__(
        self, context: Context, state: ResearchState, turns: Sequence[TurnRef], current: SubQuestion, emit: Emit, flight: Flight
    ) -> None:
        self._context, self._state, self._current, self._emit, self._flight = context, state, current, emit, flight
        self._model = context.models["investigator"]
        self._fixed = window.fixed_tokens(context)
        self.head, self.turns = list(state["head"]), list(turns)
        archive = context.archive
        self.meter = Meter(
            state.get("learned"), lambda ref: message_parts(window.load(ref["ref"], archive)), lambda: parts_of(window.fixed_texts(context))
        )
        self.learned_window = state.get("window")
        self.usage = state.get("usage", NO_USAGE)
        self.summary = state.get("summary", "")
        self.failures: list[Failure] = []
        """Of summaries that could not be made."""

    @property
    def state(self) -> ResearchState:
        """As this turn has it."""
        return {**self._state, "head": self.head, "turns": self.turns, "window": self.learned_window}

    @property
    def raw(self) -> int:
        """Of the prompt's tokens, estimated as of any model."""
        return self._fixed + sum(turn["tokens"] for turn in (*self.head, *self.turns))

    @property
    def estimate(self) -> int:
        """Of the prompt's tokens, as this model counts them."""
        return self.meter.tokens((*self.head, *self.turns))

    @property
    def worst(self) -> int:
        """The same, if what no host has counted yet is more than its estimate: what is held against the window."""
        return self.meter.worst((*self.head, *self.turns))

    def count(self, reported: int) -> None:
        """Keeps what the host counted: from now on these messages' tokens are known."""
        counted = self.meter.reported((*self.head, *self.turns), reported)
        self.head, self.turns = counted[: len(self.head)], counted[len(self.head) :]

    async def take(self) -> Reply:
        marks = self._marks()
        if self.estimate > marks.high:
            await self._compact(marks, self.worst / self.raw)
        for _ in range(OVERFLOWS):
            await self._fit(marks)
            try:
                messages = window.assemble(self.head, self.turns, self._context.archive)
                given = replace(purse(self._context, self.state, self.usage, "investigator"), calibration=self.estimate / self.raw)
                return await call(
                    self._model,
                    messages,
                    role="investigator",
                    emit=self._emit,
                    tools=self._context.tools,
                    purse=given,
                    prompt=self.raw,
                    flight=self._flight,
                )
            except ModelCallError as error:
                self.usage = add_usage(self.usage, error.spent)
                if error.kind != "overflow":
                    raise
                known = min(self._model.window_tokens, self.learned_window or 10**9)
                self.learned_window = min(known, error.window_tokens or int(min(known, self.estimate) * 0.9))
                marks = self._marks()
                await self._compact(marks, self.worst / self.raw)
        raise ModelCallError("the host says the prompt is too long, whatever is left out of it", "overflow")

    def _marks(self) -> window.Marks:
        memory = sum(turn["tokens"] for turn in self.head[1:]) or window.RECALL_TOKENS
        kept = window.newest_tokens(self.turns) + memory + (self.head[0]["tokens"] if self.head else 0)
        return window.marks(
            self._model,
            fixed=self._fixed,
            kept=kept,
            step_tokens=window.step_tokens(self.turns),
            learned_window=self.learned_window,
        )

    def _summarizer(self) -> Summarizer | None:
        """Where the run has the role."""
        if "summarizer" not in self._context.models:
            return None
        return Summarizer(self._context, self._state, self._current, self._emit, self._flight, self.usage, self.summary, self.failures)

    async def _fit(self, marks: window.Marks) -> None:
        """Compacts until the prompt is under the cap, each time by more: what stays may be counted dearer than what left was."""
        dearer = 1.0
        for _ in range(FITTINGS):
            if self.worst <= marks.cap:
                return
            dearer = max(self.worst / self.raw, dearer * self.worst / marks.cap)
            await self._compact(marks, dearer)
        if self.worst > marks.cap:
            raise ModelCallError(f"the newest turn alone is over the window of {marks.cap} tokens", "overflow")

    async def _compact(self, marks: window.Marks, dearer: float) -> None:
        """`dearer`: so many times its plain estimate may the host count what stays."""
        before, count = self.estimate, len(self.turns)
        marks, summarizer = marks.over(dearer), self._summarizer()
        compacted = await compact(
            self._context, self._state, self.turns, self._current, fixed=self._fixed, marks=marks, summarize=summarizer
        )
        self.head, self.turns = compacted.head, compacted.turns
        if summarizer:
            self.usage, self.summary = summarizer.usage, summarizer.summary
        gone = count - len(self.turns)
        self._emit({"type": "compaction", "turns": gone, "before_tokens": before, "after_tokens": self.estimate})


async def _archived(context: Context, state: ResearchState, current: SubQuestion, reply: Reply, emit: Emit) -> dict[str, Any]:
    """Archives what the turn thought and asked for, before anything else happens to it; then the state's share of it."""
    message, faults = _clean(reply.message, context)
    reasoning, answer = context.redact(reply.reasoning), str(message.text).strip()

    def calls_after(step: int) -> list[Call]:
        return _calls(message, faults, step, context.limits.last_step)

    def turn(step: int) -> list[Segment]:
        said = {"step": step, "ordinal": state.get("turn", 0) + 1}
        thought = [_segment(context, current, kind="reasoning", text=reasoning, **said)] if reasoning else []
        asked = [_call_segment(context, current, n, item) for n, item in enumerate(calls_after(step))]
        return [*thought, *(asked or [_segment(context, current, kind="answer", text=answer, **said)])]

    step = context.tape.follows(state["step"], lambda: follows(context.archive, state["step"], turn))
    calls, segments = calls_after(step), turn(step)
    ref, body = window.written(message, step=step, opens=True, segments=[segment.id for segment in segments])
    await context.archive.archive(segments, bodies=[body])
    usage = add_usage(state.get("usage", NO_USAGE), reply.usage)
    emit({"type": "turn", "role": "investigator", "reasoning": reasoning, "content": answer, "calls": calls, "usage": usage})
    if calls:
        return {"turns": [ref], "calls": calls, "step": calls[-1]["step"]}
    done = SubQuestion(id=current["id"], question=current["question"], status="done", answer=answer)
    emit({"type": "sub_question", **done})
    plan = [done if item["id"] == done["id"] else item for item in state["plan"]]
    return {"turns": [ref], "plan": plan, "step": step}


def _call_segment(context: Context, current: SubQuestion, ordinal: int, call: Call) -> Segment:
    name, args = call["name"], call["args"]
    told = {"tool": name, "text": call_text(name, args), "args_hash": args_hash(context, name, args)}
    why_not = call["error"]
    return _segment(context, current, step=call["step"], kind="call", ordinal=ordinal, title=why_not, **told)


def _segment(context: Context, current: SubQuestion, **fields: Any) -> Segment:
    return Segment(run=context.run, trust="own", sub_question=current["id"], **fields)


def _clean(message: AIMessage, context: Context) -> tuple[AIMessage, dict[str, str]]:
    """The message without secrets and with every call in one list, its id its own; and what is wrong with a call, by id."""
    faults: dict[str, str] = {}
    calls: list[dict[str, Any]] = []
    for item in (*message.tool_calls, *message.invalid_tool_calls):
        id, taken = item["id"] or f"call_{len(calls)}", {call["id"] for call in calls}
        while id in taken:
            id += "_"
        args = item["args"] if isinstance(item["args"], dict) else {}
        if item in message.invalid_tool_calls:
            faults[id] = NOT_JSON
        calls.append({"name": item["name"] or "unnamed", "args": redacted(args, context.redact), "id": id, "type": "tool_call"})
    extra = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
    clean = {
        "content": redacted(message.content, context.redact),
        "additional_kwargs": redacted(extra, context.redact),
        "tool_calls": calls,
        "invalid_tool_calls": [],
    }
    return message.model_copy(update=clean), faults


def _calls(message: AIMessage, faults: dict[str, str], step: int, limit: int) -> list[Call]:
    """Each call with its step. One that cannot be run is answered with the reason; it is not run, and none goes over the limit."""
    calls = []
    for n, item in enumerate(message.tool_calls, 1):
        error = faults.get(str(item["id"]), "")
        if n > CALLS_PER_TURN:
            error = f"at most {CALLS_PER_TURN} calls at once; make this one again if you still need it"
        calls.append(Call(id=str(item["id"]), name=item["name"], args=item["args"], step=step + n, error=error))
    return numbered(calls, step, limit)
