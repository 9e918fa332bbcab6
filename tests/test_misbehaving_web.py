"""Every case of the misbehaving web through the tool that reads pages: none hangs, none lies."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from langchain_core.tools import ToolException

from research_agent.testing.misbehaving import CASES, Case, MisbehavingWeb
from research_agent.tools.scrape import scrape_tool
from research_agent.web.barriers import barrier
from research_agent.web.fetch import Manners, Web
from research_agent.web.http_cache import HttpCache
from research_agent.web.net import Fetched
from research_agent.web.page_reader import PageReader


@pytest.fixture(scope="module")
def web() -> Iterator[MisbehavingWeb]:
    with MisbehavingWeb() as web:
        yield web


@pytest.fixture(scope="module")
def pages() -> Iterator[PageReader]:
    with PageReader(timeout_s=20) as pages:
        yield pages


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.host}{case.path}")
async def test_a_misbehaving_page_is_read_or_refused_with_its_reason(
    case: Case, web: MisbehavingWeb, pages: PageReader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = HttpCache(tmp_path_factory.mktemp("cache"))
    started = time.monotonic()
    async with web.client() as client:
        tool = scrape_tool(Web(client, cache=cache, manners=Manners(delay_s=0)), pages.read)
        try:
            message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": web.url(case)}})
        except ToolException as error:
            outcome, told = "failure", str(error)
            assert "\n" not in told
        else:
            (document,) = message.artifact.documents
            outcome, told = "text", document.text
    await cache.aclose()
    assert outcome == case.outcome, told
    assert re.search(case.says, told), told
    assert not case.never or case.never not in told
    assert time.monotonic() - started < 12


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "piece", ["/cdn-cgi/challenge-platform/", "<meta ", "<input ", "<iframe ", "awswaf.com/", "page ", "<div id=", "cookies "]
)
def test_no_page_takes_long_to_be_judged(piece: str) -> None:
    source = piece * (300_000 // len(piece))
    started = time.monotonic()
    barrier(Fetched("http://a.test/p", 200, {}, source.encode(), ""), asked="http://a.test/p", title=source[:200], text=source[:1_000])
    assert time.monotonic() - started < 2
