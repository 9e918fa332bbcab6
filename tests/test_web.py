"""A guest of the web: robots.txt, politeness, retries, and a cache that obeys the headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from research_agent.testing.site import Page, Site, Visit
from research_agent.web.fetch import Manners, Web
from research_agent.web.http_cache import HttpCache
from research_agent.web.net import Client, FetchFailed, Refused
from research_agent.web.robots import parse


@asynccontextmanager
async def over(site: Site, *, cache: Path | None = None, delay_s: float = 0.0, at_once: int = 2, robots: bool = True) -> AsyncIterator[Web]:
    async with Client(allow_hosts=[site.host], timeout_s=5) as client:
        if cache is None:
            yield Web(client, manners=Manners(at_once=at_once, delay_s=delay_s, robots=robots))
            return
        async with aclosing(HttpCache(cache)) as kept:
            yield Web(client, cache=kept, manners=Manners(at_once=at_once, delay_s=delay_s, robots=robots))


def asked(site: Site) -> list[str]:
    return [visit.path for visit in site.visits if visit.path != "/robots.txt"]


# --- robots.txt ---

GOOGLE = """
User-agent: *
Allow: /p
Disallow: /
Allow: /folder1$
Disallow: /*.php$
Disallow: /*?sort=
Disallow: /fish*.html
Allow: /$
"""


@pytest.mark.parametrize(
    ("path", "forbidden"),
    [
        ("/page", False),
        ("/page.php", True),
        ("/page.php?x=1", False),
        ("/folder1", False),
        ("/folder1/x", True),
        ("/other", True),
        ("/", False),
        ("/page?sort=up", True),
        ("/robots.txt", False),
    ],
)
def test_the_longest_rule_decides(path: str, forbidden: bool) -> None:
    assert parse(GOOGLE, "research-agent").forbids(path) is forbidden


@pytest.mark.parametrize(
    ("text", "path", "forbidden"),
    [
        ("", "/x", False),
        ("User-agent: *\nDisallow:", "/x", False),
        ("User-agent: *\nDisallow: /", "/x", True),
        ("User-agent: other\nDisallow: /", "/x", False),
        ("User-agent: Research-Agent\nAllow: /\n\nUser-agent: *\nDisallow: /", "/x", False),
        ("User-agent: research-agent/0.1\nDisallow: /x", "/x", True),
        ("User-agent: a\nUser-agent: research-agent\nDisallow: /x", "/x/y", True),
        ("User-agent: research-agent\nDisallow: /a\nUser-agent: *\nDisallow: /b\nUser-agent: research-agent\nDisallow: /c", "/c", True),
        ("User-agent: research-agent\nDisallow: /a\n\nUser-agent: *\nDisallow: /b", "/b", False),
        ("user-agent : * # all\r\ndisallow : /x # this", "/x", True),
        ("User-agent: *\nDisallow: /caf%C3%A9", "/caf%c3%a9/1", True),
        ("User-agent: *\nDisallow: /café", "/caf%C3%A9", True),
        ("User-agent: *\nDisallow: /a%2Fb", "/a/b", False),
        ("User-agent: *\nDisallow: x", "/x", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", False),
        ("Disallow: /x", "/x", False),
        ("\ufeffUser-agent: *\nSitemap: http://s/\nDisallow: /x", "/x", True),
    ],
)
def test_groups_and_spellings_of_robots_txt(text: str, path: str, forbidden: bool) -> None:
    assert parse(text, "research-agent").forbids(path) is forbidden


def test_no_robots_txt_takes_long() -> None:
    robots = parse("User-agent: *\n" + "Disallow: /" + "*a" * 500 + "$\n" * 200, "research-agent")
    started = time.monotonic()
    assert not robots.forbids("/" + "a" * 3000 + "b")
    assert time.monotonic() - started < 1


async def test_what_robots_txt_forbids_is_refused_and_the_rest_is_not() -> None:
    with Site(
        {"/robots.txt": Page("User-agent: *\nDisallow: /no"), "/yes": "y", "/no": "n", "/go": Page(status=302, headers={"Location": "/no"})}
    ) as site:
        site.pages["/robots.txt"] = Page("User-agent: *\nDisallow: /no", content_type="text/plain")
        async with over(site) as web:
            assert (await web.get(site.url("/yes"))).body == b"y"
            for path in ("/no", "/no?x=1", "/go"):
                with pytest.raises(Refused, match=r"robots\.txt of 127\.0\.0\.1 asks us not to fetch /no"):
                    await web.get(site.url(path))
        assert asked(site) == ["/yes", "/go"]
        assert len(site.visits) == 3  # robots.txt is asked for once
        async with over(site, robots=False) as web:
            assert (await web.get(site.url("/no"))).body == b"n"


@pytest.mark.parametrize(("status", "open_"), [(404, True), (403, True), (429, False), (500, False), (503, False)])
async def test_a_site_whose_robots_txt_is_out_of_order_is_left_alone(status: int, open_: bool) -> None:
    with Site({"/robots.txt": Page("x", status=status, headers={"Retry-After": "60"}), "/page": "p"}) as site:
        async with over(site) as web:
            if open_:
                assert (await web.get(site.url("/page"))).body == b"p"
            else:
                with pytest.raises(Refused, match=f"cannot be had now .HTTP {status}"):
                    await web.get(site.url("/page"))


async def test_a_page_that_stands_for_robots_txt_forbids_nothing() -> None:
    with Site({"/robots.txt": "<html>User-agent: *\nDisallow: /", "/page": "p"}) as site:
        async with over(site) as web:
            assert (await web.get(site.url("/page"))).body == b"p"


# --- politeness ---


async def test_a_host_sees_few_requests_at_once_and_others_do_not_wait_for_it() -> None:
    running = [0, 0]

    def slow(visit: Visit) -> Page:
        running[0] += 1
        running[1] = max(running)
        time.sleep(0.05)
        running[0] -= 1
        return Page("p")

    with Site({f"/{n}": slow for n in range(6)}) as site:
        async with over(site, robots=False) as web:
            await asyncio.gather(*(web.get(site.url(f"/{n}")) for n in range(6)))
    assert running[1] <= 2


async def test_requests_to_one_host_keep_their_distance() -> None:
    with Site({"/a": "a", "/b": "b", "/c": "c"}) as site, Site({"/d": "d"}) as other:
        async with Client(allow_hosts=["127.0.0.1"]) as client:
            web = Web(client, manners=Manners(delay_s=0.1, robots=False))
            started = time.monotonic()
            await web.get(other.url("/d"))
            alone_s = time.monotonic() - started
            await asyncio.gather(*(web.get(site.url(path)) for path in ("/a", "/b", "/c")))
            assert alone_s < 0.1
            assert time.monotonic() - started >= 0.2


async def test_a_crawl_delay_is_kept() -> None:
    with Site({"/a": "a", "/b": "b"}) as site:
        site.pages["/robots.txt"] = Page("User-agent: *\nCrawl-delay: 0.2", content_type="text/plain")
        async with over(site) as web:
            await web.get(site.url("/a"))
            started = time.monotonic()
            await web.get(site.url("/b"))
            assert time.monotonic() - started >= 0.15


# --- passing failures ---


@pytest.mark.parametrize(
    ("first", "times"),
    [
        (Page("busy", status=503), 2),
        (Page("slow down", status=429, headers={"Retry-After": "0"}), 2),
        (Page("slow down", status=429, headers={"Retry-After": "60"}), 1),
        (Page("oops", status=500), 1),
        (Page("gone", status=404), 1),
    ],
)
async def test_only_what_may_pass_is_tried_again_and_only_once(first: Page, times: int) -> None:
    with Site({"/a": first}) as site:
        async with over(site, robots=False) as web:
            assert (await web.get(site.url("/a"))).status == first.status
        assert len(site.visits) == times


async def test_a_closed_port_fails_after_the_second_try() -> None:
    with Site() as site:
        url, host = site.url("/"), site.host
    async with Client(allow_hosts=[host]) as client:
        with pytest.raises(FetchFailed, match="no connection"):
            await Web(client, manners=Manners(robots=False)).get(url)


# --- the cache ---

HOUR = {"Cache-Control": "max-age=3600"}


@pytest.mark.parametrize(
    ("headers", "times"),
    [
        (HOUR, 1),
        ({"Expires": formatdate(time.time() + 3600, usegmt=True), "Date": formatdate(usegmt=True)}, 1),
        ({"Cache-Control": "private, max-age=3600"}, 1),
        ({**HOUR, "Vary": "User-Agent"}, 1),
        ({"Cache-Control": "no-store"}, 2),
        ({"Cache-Control": "no-cache"}, 2),
        ({"Cache-Control": "max-age=0"}, 2),
        ({**HOUR, "Age": "4000"}, 2),
        ({**HOUR, "Vary": "*"}, 2),
        ({"Expires": "0"}, 2),
    ],
)
async def test_an_answer_is_kept_as_long_as_its_headers_allow(tmp_path: Path, headers: dict[str, str], times: int) -> None:
    with Site({"/a": Page("page", headers=headers)}) as site:
        for _ in range(2):  # a second run finds what the first one kept
            async with over(site, cache=tmp_path, robots=False) as web:
                got = await web.get(site.url("/a"))
                assert (got.body, got.status, got.content_type, got.url) == (b"page", 200, "text/html", site.url("/a"))
        assert len(site.visits) == times


async def test_a_stale_answer_is_asked_for_again_by_its_mark_and_kept_if_confirmed(tmp_path: Path) -> None:
    def page(visit: Visit) -> Page:
        headers = {"ETag": '"v1"', "Cache-Control": "max-age=0"}
        return Page(status=304, headers=headers) if visit.headers.get("if-none-match") == '"v1"' else Page("body of v1", headers=headers)

    with Site({"/a": page}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            first = await web.get(site.url("/a"))
            again = await web.get(site.url("/a"))
            assert (first.body, again.body, again.status) == (b"body of v1", b"body of v1", 200)
            site.pages["/a"] = Page("body of v2", headers={"ETag": '"v2"'})
            assert (await web.get(site.url("/a"))).body == b"body of v2"
        assert [visit.headers.get("if-none-match") for visit in site.visits] == [None, '"v1"', '"v1"']


async def test_last_modified_serves_as_a_mark_too(tmp_path: Path) -> None:
    since = formatdate(time.time() - 10, usegmt=True)

    def page(visit: Visit) -> Page:
        headers = {"Last-Modified": since, "Cache-Control": "no-cache"}
        return Page(status=304, headers=headers) if visit.headers.get("if-modified-since") == since else Page("old", headers=headers)

    with Site({"/a": page}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            assert [(await web.get(site.url("/a"))).body for _ in range(2)] == [b"old", b"old"]
        assert len(site.visits) == 2


async def test_what_was_kept_says_when_it_was_fetched_and_survives_compression(tmp_path: Path) -> None:
    import gzip

    with Site({"/a": Page(gzip.compress(b"hello " * 1000), headers={**HOUR, "Content-Encoding": "gzip"})}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            first = await web.get(site.url("/a"))
            await asyncio.sleep(1.1)
            again = await web.get(site.url("/a"))
        assert (again.body, again.retrieved_at) == (b"hello " * 1000, first.retrieved_at)


async def test_a_redirect_is_kept_and_its_goal_checked_each_time(tmp_path: Path) -> None:
    with Site({"/a": Page(status=301, headers={"Location": "/b", **HOUR}), "/b": Page("b", headers=HOUR)}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            for _ in range(2):
                assert (await web.get(site.url("/a"))).url == site.url("/b")
        assert asked(site) == ["/a", "/b"]


async def test_a_page_of_a_private_host_is_not_given_to_a_run_that_may_not_ask_it(tmp_path: Path) -> None:
    with Site({"/a": Page("secret", headers=HOUR)}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            await web.get(site.url("/a"))
        async with Client() as client, aclosing(HttpCache(tmp_path)) as cache:
            with pytest.raises(Refused, match="loopback"):
                await Web(client, cache=cache, manners=Manners(robots=False)).get(site.url("/a"))


async def test_a_cache_file_that_is_none_costs_nothing_but_the_fetch(tmp_path: Path) -> None:
    (tmp_path / "http-2.sqlite").write_bytes(b"not a database" * 100)
    with Site({"/a": Page("page", headers=HOUR)}) as site:
        async with over(site, cache=tmp_path, robots=False) as web:
            assert [(await web.get(site.url("/a"))).body for _ in range(2)] == [b"page", b"page"]
