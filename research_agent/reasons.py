"""Why a run ended before its plan, as its state and its record say it: what that means for whoever goes on with it."""

from __future__ import annotations

import re

NOTHING_NOTED = " before anything was noted for a report"
_LIMIT = re.compile(r"the limit of (?:\$(?P<usd>[\d.e+-]+)|(?P<number>[\d.e+-]+) (?P<unit>steps|minutes)) was reached")
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
