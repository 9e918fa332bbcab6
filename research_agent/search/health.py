"""Several search providers as one that holds: fail-over, rests after rate limits, merging, one result an address.

A provider that says it is asked too often rests as long as it says, else twice as long each time; one that fails again and again
rests too; one that refuses the key is not asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from urllib.parse import parse_qsl, urlencode, urlsplit

from research_agent.graphs.ports import Document
from research_agent.search.provider import FOLDER, Provider, SearchFailed, pages
from research_agent.visible import one_line

FIRST_REST_S = 30.0
LONGEST_REST_S = 900.0
FAILURES_BEFORE_REST = 3
LONGEST_SEARCH_S = 60.0
LONGEST_WAIT_S = 45.0
"""If all rest, the first to be back is waited for, this long at most."""

_TRACKING = ("utm_", "fbclid", "gclid", "msclkid", "mc_cid", "mc_eid")


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one search."""

    documents: tuple[Document, ...]
    silent: tuple[str, ...]
    """Providers that answered, and found nothing."""
    failed: tuple[str, ...]
    """`name: reason` of those that did not answer."""


@dataclass(slots=True)
class _Health:
    provider: Provider
    places: asyncio.Semaphore
    rests_until_s: float = 0.0
    reason: str = ""
    in_a_row: int = 0
    refused: bool = False


@dataclass(slots=True)
class _Tally:
    silent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Providers:
    """Asks `providers` in their order until one finds something; with `merge`, all at once, their results in turns."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        merge: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._all = [_Health(provider, asyncio.Semaphore(provider.at_once)) for provider in providers]
        self._merge = merge
        self._clock = clock
        self._sleep = sleep

    async def search(self, query: str, *, limit: int) -> Found:
        """Raises nothing: that every provider failed is `Found` without documents and without silent ones."""
        await self._wait_if_all_rest()
        tally = _Tally()
        if self._merge:
            lists = await asyncio.gather(*(self._ask(health, query, limit, tally) for health in self._all))
        else:
            lists = []
            for health in self._all:
                lists.append(await self._ask(health, query, limit, tally))
                if lists[-1]:
                    break
        merged = (document for row in zip_longest(*lists) for document in row if document is not None)
        return Found(tuple(distinct(merged)[:limit]), tuple(tally.silent), tuple(tally.failed))

    async def _ask(self, health: _Health, query: str, limit: int, tally: _Tally) -> Sequence[Document]:
        name = health.provider.name
        async with health.places:
            if resting := self._resting(health):
                tally.failed.append(f"{name}: {resting}")
                return ()
            try:
                documents = await _searched(health.provider, query, limit)
            except SearchFailed as error:
                self._failed(health, error)
                tally.failed.append(f"{name}: {error}")
                return ()
        health.in_a_row = 0
        if name != FOLDER:  # only the folder's results are files
            documents = pages(documents)
        if not documents:
            tally.silent.append(name)
        return documents

    def _resting(self, health: _Health) -> str:
        """Why it is not asked now; empty if it is. Looked at when its turn has come: those before may have met the limit."""
        if health.refused:
            return f"not asked again: {health.reason}"
        left_s = health.rests_until_s - self._clock()
        return f"not asked for another {left_s:.0f} s: {health.reason}" if left_s > 0 else ""

    def _failed(self, health: _Health, error: SearchFailed) -> None:
        health.reason = str(error)
        health.refused = error.why == "refused"
        health.in_a_row += 1
        times = health.in_a_row - 1 if error.why == "rate_limit" else health.in_a_row - FAILURES_BEFORE_REST
        if times < 0:
            return
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(times, 10))
        if error.why == "rate_limit" and error.retry_after_s is not None:
            rest_s = error.retry_after_s
        health.rests_until_s = self._clock() + rest_s

    async def _wait_if_all_rest(self) -> None:
        """A search that can only fail now may succeed in a moment: waiting is cheaper than a model that gives up."""
        usable = [health.rests_until_s - self._clock() for health in self._all if not health.refused]
        if usable and 0 < min(usable) <= LONGEST_WAIT_S:
            await self._sleep(min(usable))


async def _searched(provider: Provider, query: str, limit: int) -> list[Document]:
    """Raises SearchFailed, whatever went wrong there: a provider may be anyone's, and its fault must not cost the others' results."""
    try:
        async with asyncio.timeout(LONGEST_SEARCH_S):
            return await provider.search(query, limit=limit)
    except SearchFailed:
        raise
    except TimeoutError as error:
        raise SearchFailed(f"no answer in {LONGEST_SEARCH_S:g} s") from error
    except Exception as error:
        raise SearchFailed(one_line(f"{type(error).__name__}: {error}", 200)) from error


def distinct(documents: Iterable[Document]) -> list[Document]:
    """One document an address: engines return a page with and without its fragment, slash, `s`, `www.` or campaign."""
    seen: dict[str, Document] = {}
    for document in documents:
        seen.setdefault(_key(document.url), document)
    return list(seen.values())


def _key(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.scheme not in ("http", "https"):
        return url.partition("#")[0]
    host = parts.netloc.lower().removeprefix("www.")
    told = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not name.lower().startswith(_TRACKING)]
    return f"{host}{parts.path.rstrip('/')}?{urlencode(told)}"
