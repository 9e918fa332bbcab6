"""Why a run ended before its plan, as its state and its record say it: what that means for whoever goes on with it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from research_agent.graphs.state import Failure, is_refusal

STOPPED, UNWRITTEN = "stopped", "the writer failed"
"""How the reason of a run begins that a person stopped, and of one whose report is not as it should be."""
_ASKED = ("plan", "review", "summary", "write")
"""What failed of a model that was asked, and not of a tool."""
NOTHING_NOTED = " before anything was noted for a report"
_LIMIT = re.compile(r"the limit of (?:\$(?P<usd>[\d.e+-]+)|(?P<number>[\d.e+-]+) (?P<unit>steps|minutes)) was reached")
_REMEDY = re.compile(r" \(|: (?:start|check|name|top|wait|raise|word|set)\b|; |, then `")
"""Where the cause ends in what is said of a host or a store, and begins what it answered, or what to do about it (graphs.failures)."""
_ENOUGH = re.compile(r"limits\.usd=([\d.e+-]+) pays for")


def by_limit(reason: str) -> bool:
    return _LIMIT.match(reason) is not None


def raised(reason: str) -> str:
    """Of a limit that was reached, the option that sets what would do, or doubles it: with the same one there is nothing to go on with."""
    if enough := _ENOUGH.search(reason):
        return f" --set limits.usd={float(enough[1]):g}"
    reached = _LIMIT.match(reason)
    if not reached:
        return ""
    return f" --set limits.{reached['unit'] or 'usd'}={2 * float(reached['usd'] or reached['number']):g}"


def for_reader(reason: str) -> str:
    """The same for whoever reads the report: what happened, without what an operator is to type."""
    if reached := _LIMIT.match(reason):
        return reached[0]
    if reason.startswith(STOPPED):
        return "it was stopped before its end"
    if reason.startswith(UNWRITTEN):
        return "no text was written on all that was found"
    if reason.startswith("PostgreSQL at "):
        return "the database that keeps its progress could not be reached"
    return _REMEDY.split(reason, maxsplit=1)[0]


def not_overcome(failures: Sequence[Failure], stopped: str, *, written: bool) -> list[Failure]:
    """What did not work to the end. A call over the limit was made later, or the limit is told as what it is; a model that failed was
    asked again, unless the run `stopped` there; and a report that is `written` has a writer."""

    def stands(failure: Failure) -> bool:
        if failure["what"] == "model":
            return failure["reason"] == stopped
        return not is_refusal(failure["reason"]) and not (failure["what"] == "write" and written)

    return [failure for failure in failures if stands(failure)]


def told_to_reader(failures: Sequence[Failure]) -> list[Failure]:
    """Of a model's, the cause; of the one that ended the run nothing, for the report begins with it."""
    return [{**f, "reason": for_reader(f["reason"])} if f["what"] in _ASKED else f for f in failures if f["what"] != "model"]
