"""The web as a guest: robots.txt obeyed, few requests to a host at once, none twice without need, passing failures tried once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from research_agent.search.api import retry_after_s
from research_agent.web.http_cache import HttpCache
from research_agent.web.net import AGENT, USER_AGENT, Client, Fetched, FetchFailed, Refused, TooManyRedirects, checked, follow, origin
from research_agent.web.robots import Robots, parse
from research_agent.web.unpack import accepted

MAX_REDIRECTS = 8
ROBOTS_S = 3600.0
"""How long what a robots.txt said holds."""
LONGEST_DELAY_S = 10.0
"""Of a robots.txt's Crawl-delay, what is kept."""
RETRY_WAIT_S = 0.5
LONGEST_RETRY_WAIT_S = 5.0
_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Manners:
    """How a host is treated."""

    at_once: int = 2
    delay_s: float = 0.25
    """Between the starts of two requests."""
    robots: bool = True


@dataclass(slots=True)
class _Host:
    places: asyncio.Semaphore
    next_s: float = 0.0
    robots: Robots = field(default_factory=Robots)
    robots_until_s: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Web:
    """Fetches pages through `client`. Belongs to one event loop, as it does."""

    def __init__(self, client: Client, *, cache: HttpCache | None = None, manners: Manners | None = None) -> None:
        self._client = client
        self._cache = cache
        self._manners = manners or Manners()
        self._hosts: dict[tuple[str, str, int], _Host] = {}

    async def get(self, url: str) -> Fetched:
        """Follows redirects; each stop on the way is asked of its own robots.txt. Raises Refused and FetchFailed."""
        return await follow(checked(url), self._stop, most=MAX_REDIRECTS)

    async def _stop(self, url: httpx.URL) -> Fetched:
        host = self._host(url)
        if self._manners.robots:
            robots = await self._robots(url, host)
            if robots.closed:
                raise Refused(f"nothing of {url.host} is fetched: {robots.closed}")
            if robots.forbids(url.raw_path.decode("ascii")):
                raise Refused(f"the robots.txt of {url.host} asks us not to fetch {url.path[:200]}")
        return await self._through_cache(url, host)

    async def _through_cache(self, url: httpx.URL, host: _Host) -> Fetched:
        async def send(headers: Mapping[str, str]) -> Fetched:
            return await self._politely(url, host, headers)

        if self._cache is None:
            return await send({})
        # Apart from what a run without that host's name in its config may see.
        key = f"{'named' if self._client.is_named(url) else 'public'} {url}"
        return await self._cache.fetch(key, str(url), {"user-agent": USER_AGENT, "accept-encoding": accepted()}, send)

    async def _politely(self, url: httpx.URL, host: _Host, headers: Mapping[str, str]) -> Fetched:
        async with self._place(host):
            try:
                answer = await self._client.fetch(str(url), headers=headers)
            except FetchFailed as error:
                if not error.passing:
                    raise
                wait_s = RETRY_WAIT_S
            else:
                given_s = retry_after_s(answer.headers)
                wait_s = RETRY_WAIT_S if given_s is None else given_s
                if answer.status not in _PASSING or wait_s > LONGEST_RETRY_WAIT_S:
                    return answer
            await asyncio.sleep(wait_s)
            return await self._client.fetch(str(url), headers=headers)

    @asynccontextmanager
    async def _place(self, host: _Host) -> AsyncIterator[None]:
        async with host.places:
            now_s = time.monotonic()
            start_s = max(now_s, host.next_s)
            host.next_s = start_s + max(self._manners.delay_s, min(host.robots.delay_s, LONGEST_DELAY_S))
            await asyncio.sleep(start_s - now_s)
            yield

    def _host(self, url: httpx.URL) -> _Host:
        return self._hosts.setdefault(origin(url), _Host(asyncio.Semaphore(self._manners.at_once)))

    async def _robots(self, url: httpx.URL, host: _Host) -> Robots:
        async with host.asking:
            if time.monotonic() > host.robots_until_s:
                host.robots = await self._ask_robots(url.copy_with(raw_path=b"/robots.txt"))
                host.robots_until_s = time.monotonic() + ROBOTS_S
        return host.robots

    async def _ask_robots(self, url: httpx.URL) -> Robots:
        """Raises Refused and FetchFailed: a host that cannot be reached for it cannot be reached for the page either.

        One that redirects leads to nowhere that may be read is one that is not there (RFC 9309, 2.3.1.2).
        """

        async def stop(target: httpx.URL) -> Fetched:
            return await self._through_cache(target, self._host(target))

        try:
            answer = await follow(url, stop, most=5)
        except (TooManyRedirects, Refused):
            return Robots()
        if answer.status == 429 or answer.status >= 500:  # RFC 9309, 2.3.1.4: then everything is forbidden
            return Robots(closed=f"its robots.txt cannot be had now (HTTP {answer.status})")
        if answer.status != 200 or "html" in answer.content_type:
            return Robots()
        return parse(answer.body.decode("utf-8", "replace"), AGENT)
