"""Search through `ddgs`, which asks several public engines and needs no key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from research_agent.graphs.ports import Document
from research_agent.search.provider import SearchFailed, day, result
from research_agent.visible import one_line
from research_agent.web.net import utc_now

TIMEOUT_S = 25.0
_LIMITED = re.compile(r"\b(?:202|429)\b|rate.?limit", re.IGNORECASE)
"""DuckDuckGo answers 202, and an empty page, to whom it finds too eager."""


def _ask(query: str, limit: int) -> list[Mapping[str, str]]:
    """Rows of `title`, `href`, `body`. Blocks. Raises SearchFailed; finding nothing, which is an exception there, is an empty list here."""
    from ddgs import DDGS
    from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

    try:
        return list(DDGS(timeout=10).text(query, max_results=limit))
    except RatelimitException as error:
        raise SearchFailed("rate limit", "rate_limit") from error
    except TimeoutException as error:
        raise SearchFailed("the search engines did not answer in time") from error
    except DDGSException as error:
        if "no results found" in str(error).lower():
            return []
        reason = one_line(str(error), 200) or type(error).__name__
        raise SearchFailed(reason, "rate_limit" if _LIMITED.search(reason) else "passing") from error


class Ddgs:
    name = "ddgs"
    at_once = 2

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    async def search(self, query: str, *, limit: int) -> list[Document]:
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await asyncio.to_thread(_ask, query, limit)
        except TimeoutError as error:
            raise SearchFailed(f"no answer in {self._timeout_s:g} s") from error
        now = utc_now()
        found = [_result(row, now) for row in rows]
        return [document for document in found if document.url][:limit]


def _result(row: Mapping[str, object], now: str) -> Document:
    """Rows of several engines, whatever these put into them."""
    url, title, body, date = (str(row.get(name) or "") for name in ("href", "title", "body", "date"))
    return result(url=url, title=title, snippet=body, date=day(date), retrieved_at=now)
