"""Addresses that nobody on the web should lead us to, however they are spelled and whatever leads there: what became of each.

    uv run python benchmarks/ssrf.py

A server that must never be asked stands on 127.0.0.1. Exits 1 if it was, or if anything was not refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from rich.console import Console
from rich.table import Table

from research_agent.testing.closed_addresses import ABSOLUTE, SPELLINGS, resolver
from research_agent.testing.site import Page, Site
from research_agent.web.fetch import Manners, Web
from research_agent.web.net import Client, FetchFailed, Refused

TIMEOUT_S = 5.0
Row = tuple[str, str, str]
"""What, its outcome, and the reason."""


async def outcome(fetch: Awaitable[object]) -> tuple[str, str]:
    try:
        got = await fetch
    except Refused as error:
        return "refused", str(error)
    except FetchFailed as error:
        return "failed", str(error)
    return "FETCHED", repr(got)[:60]


async def spelled(outer: Site) -> list[tuple[str, str, str, str]]:
    """Each spelling asked for, and each led to by a redirect."""
    rows = []
    async with Client(allow_hosts=[outer.host], resolver=resolver, timeout_s=TIMEOUT_S) as client:
        for url in SPELLINGS:
            direct, reason = await outcome(client.get(url))
            led = ""
            if url in ABSOLUTE and url.isascii() and url.isprintable():
                outer.pages["/go"] = Page(status=302, headers={"Location": url})
                led, _ = await outcome(client.get(outer.url("/go")))
            rows.append((url, direct, led, reason))
    return rows


async def tricks(outer: Site, inner: Site) -> list[Row]:
    secret = inner.url("/secret")
    rows: list[Row] = []

    async def tried(what: str, fetch: Awaitable[object]) -> None:
        rows.append((what, *await outcome(fetch)))

    async with Client(allow_hosts=[outer.host], resolver=resolver, timeout_s=TIMEOUT_S) as client:
        for status in (301, 302, 303, 307, 308):
            outer.pages["/go"] = Page(status=status, headers={"Location": secret})
            await tried(f"a {status} from a named host to another port of its machine", client.get(outer.url("/go")))
        outer.pages["/one"] = Page(status=302, headers={"Location": "/two"})
        outer.pages["/two"] = Page(status=302, headers={"Location": "three"})
        outer.pages["/three"] = Page(status=302, headers={"Location": secret})
        await tried("the last of three redirects", client.get(outer.url("/one")))
        outer.pages["/go"] = Page(status=302, headers={"Location": f"//127.0.0.1:{inner.port}/secret"})
        await tried("a redirect without a scheme", client.get(outer.url("/go")))
        outer.pages["/go"] = Page(status=302, headers={"Location": f"HTTP://LOCALHOST:{inner.port}/secret"})
        await tried("a redirect in capitals", client.get(outer.url("/go")))
        outer.pages["/robots.txt"] = Page(status=302, headers={"Location": secret})
        await tried("a robots.txt that leads there", Web(client, manners=Manners(delay_s=0)).get(outer.url("/page")))
        del outer.pages["/robots.txt"]
    for what, answers in (
        ("a name that is public when first asked, private when connected to", [["93.184.216.34"], ["127.0.0.1"]]),
        ("a name with a private address first, a public one second", [["127.0.0.1", "93.184.216.34"]]),
        ("a name that changes from a public to a private address between two fetches", [["93.184.216.34"], ["127.0.0.1"]]),
    ):
        twice = "between" in what
        async with Client(resolver=_in_turn(answers), timeout_s=1.0) as client:
            target = f"http://rebind.test:{inner.port}/secret"
            if twice:
                await outcome(client.get(target))
            await tried(what, client.get(target))
    before = dict(os.environ)
    os.environ.update(HTTP_PROXY=inner.url(), http_proxy=inner.url(), ALL_PROXY=inner.url(), NO_PROXY="")
    async with Client(resolver=resolver, timeout_s=TIMEOUT_S) as client:
        await tried("a proxy in the environment, asked for a metadata address", client.get("http://169.254.169.254/latest/meta-data/"))
    os.environ.clear()
    os.environ.update(before)
    return rows


def _in_turn(answers: Sequence[Sequence[str]]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    left = [*answers]

    async def resolver(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolver


async def run(console: Console) -> bool:
    with Site({"/secret": "secret"}) as inner, Site() as outer:
        first = await spelled(outer)
        second = await tricks(outer, inner)
        asked = [visit.path for visit in inner.visits]
    table = Table("address", "asked for", "by redirect", "reason")
    for url, direct, led, reason in first:
        table.add_row(ascii(url)[1:-1], direct, led, reason[:78])
    console.print(table)
    table = Table("trick", "outcome", "reason")
    for row in second:
        table.add_row(*row[:2], row[2][:78])
    console.print(table)
    direct_refused, led_refused = (sum(row[i] == "refused" for row in first) for i in (1, 2))
    reached = sum(outcome == "FETCHED" for _, outcome, _ in second)
    led_all = sum(bool(row[2]) for row in first)
    console.print(
        f"{direct_refused} of {len(first)} spellings refused, {led_refused} of {led_all} redirects to them; "
        f"{reached} of {len(second)} tricks got through; the server was asked {len(asked)} times"
    )
    return direct_refused == len(first) and led_refused == led_all and not reached and not asked


def main() -> None:
    raise SystemExit(not asyncio.run(run(Console(width=150))))


if __name__ == "__main__":
    main()
