"""The state of an investigation: plain JSON types only, and small. Texts live in the archive; the state holds their references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import add
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1
"""Of this state and of the nodes that wait on it, as each checkpoint names it. Raised when an older version could not go on from what
this one writes; fields that came since are optional, so that this one goes on from every older state."""

Status = Literal["open", "done", "failed"]


class SubQuestion(TypedDict):
    id: str
    """`1`, `2`, ...: also what findings and report sections name."""
    question: str
    status: Status
    answer: str
    """What the investigator said when it was done."""


class Call(TypedDict):
    """A tool call the model made, as the graph runs it."""

    id: str
    """The provider's, verbatim."""
    name: str
    args: dict[str, Any]
    step: int
    error: str
    """Why it cannot be run at all (arguments that are no JSON, say); empty if it can."""


NOT_JSON = "its arguments were cut off or are not valid JSON; make the call again"
"""The `error` of a call that came so."""
_REFUSED = re.compile(r"the limit of \d+ steps is reached")


def refusal(limit: int) -> str:
    """The `error` of a call that would go over the limit of steps: it is answered, and not made."""
    return f"the limit of {limit} steps is reached"


def is_refused(call: Call) -> bool:
    return is_refusal(call["error"])


def is_refusal(error: str) -> bool:
    return _REFUSED.fullmatch(error) is not None


def numbered(calls: Sequence[Call], after: int, limit: int) -> list[Call]:
    """The calls of a turn, each with its step. None goes over the limit; one that a lower limit refused may be made now."""
    found: list[Call] = []
    for n, call in enumerate(calls, after + 1):
        error = refusal(limit) if n > limit else "" if is_refused(call) else call["error"]
        found.append({**call, "step": min(n, limit), "error": error})
    return found


class TurnRef(TypedDict):
    """A message of the live window: where its body is, and what it costs."""

    ref: str
    """Content hash of the message as JSON, in the archive's bodies."""
    tokens: int
    step: int
    opens: bool
    """A whole turn starts here: the window is cut before such a message only."""
    segments: list[str]
    """Ids of the archived segments it shows whole."""
    exact: NotRequired[int]
    """Tokens, as the model's host counted them."""
    wrong: NotRequired[bool]
    """The result of a call that could not be run: no such tool, or wrong arguments."""


class Failure(TypedDict):
    step: int
    what: str
    reason: str
    final: NotRequired[bool]
    """No model that uses the same key will answer either."""


class Usage(TypedDict):
    """Totals of the run so far."""

    calls: int
    input: int
    cached: int
    output: int
    reasoning: int
    usd: float


class Learned(TypedDict):
    """Of the investigator's tokenizer (counting.py)."""

    weights: list[float]
    spread: list[float]
    """Their covariance, its lower triangle row by row."""
    fixed: NotRequired[float]
    """Tokens of the system rules and the tool schemas, once they are known."""


NO_USAGE = Usage(calls=0, input=0, cached=0, output=0, reasoning=0, usd=0.0)


def merge(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Results by call id: parallel tasks write their own key. `None` empties it, once the results are in the window."""
    return {} if new is None else {**(old or {}), **new}


class ResearchInput(TypedDict):
    question: str
    usage: NotRequired[Usage]
    """What was spent on it before; nothing if it is not given."""


class ResearchState(TypedDict, total=False):
    question: str
    brief: str
    plan: list[SubQuestion]
    feedback: str
    """A person's word on the last plan; empty if there is none."""
    attempt: int
    """Plans made so far."""
    head: list[TurnRef]
    """The fixed messages after the system prompt: the brief, and the memory block once there is one."""
    turns: list[TurnRef]
    summary: str
    """The archived summary that stands in the memory block, by its id; empty where no role makes one."""
    calls: list[Call]
    """Of the last model turn; each runs as a task of its own."""
    results: Annotated[dict[str, Any], merge]
    step: int
    """Tool calls so far."""
    turn: int
    """The investigator's model turns so far."""
    wrong: int
    """Wrong calls in a row."""
    opened: str
    """The sub-question whose opening message is in the conversation."""
    window: int | None
    """The window a host's overflow error taught, if one did."""
    usage: Usage
    seconds: float
    """Of work, over all resumes."""
    calibration: float
    """Reported prompt tokens over estimated ones."""
    learned: Learned
    measured: str
    """The model, and its host, that `calibration`, `learned`, `window` and the turns' `exact` are of."""
    given: int
    """The highest number that a sub-question had which a changed plan left out: what was found for it still bears that number."""
    reviews: int
    failures: Annotated[list[Failure], add]
    stopped: str
    """Why the investigation ended before its plan did; empty if it did not."""
    again: bool
    """A person wants the report once more: a key that was refused is tried again."""
    report: dict[str, Any]
    """The written draft: `answer`, and `sections` of `sub_question` and `text`, cited by handle; and `by`, a Writing."""


class Writing(TypedDict):
    """What goes with a draft wherever it goes: a later session may have another model."""

    model: str
    """The writer's name."""
    extractive: bool
    """No language model wrote it."""
    max_words: int | None
    """As it was asked for."""
    step: int
    findings: int
    """So far the investigation was, and so many it had noted."""


def highest(state: ResearchState) -> int:
    """The highest number that a sub-question ever had, also of what this run was forked from: the next is new."""
    return max(state.get("given", 0), *(int(item["id"]) for item in state.get("plan") or ()), 0)


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlanDraft(_Output):
    """What a planner returns."""

    brief: str = Field(description="What a good answer must contain, in one or two sentences.")
    sub_questions: list[str] = Field(description="The sub-questions, in the order to work on them.")


class ReviewDraft(_Output):
    """What a reviewer returns."""

    verdict: str = Field(description="One sentence: does the evidence answer the question?")
    follow_ups: list[str] = Field(description="Further sub-questions worth asking; usually none.")


class SectionDraft(_Output):
    sub_question: str = Field(description="The sub-question's number in the plan.")
    text: str = Field(description="Markdown; each claim followed by its source's handle in brackets.")


class ReportDraft(_Output):
    """What a writer returns."""

    answer: str = Field(description="The short answer, cited like the rest.")
    sections: list[SectionDraft]


DRAFTS: dict[str, type[_Output]] = {"plan": PlanDraft, "review": ReviewDraft, "report": ReportDraft}
"""Structured outputs by the name of their schema on the wire."""
