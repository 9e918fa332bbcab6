"""`web_search` over its providers: results, nothing, and failures are told apart."""

from __future__ import annotations

import json
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from langchain_core.tools import BaseTool, ToolException
from pydantic import ValidationError

from research_agent.graphs import observation
from research_agent.graphs.ports import Document, Observation
from research_agent.search.ddgs import Ddgs
from research_agent.search.health import Providers
from research_agent.search.provider import SearchFailed
from research_agent.search.registry import PROVIDERS, SearchOptions
from research_agent.search.searxng import Searxng
from research_agent.testing.site import Page, Site
from research_agent.tools.web_search import web_search_tool as tool_over


class Fixed:
    """A provider with one answer."""

    at_once = 4

    def __init__(self, name: str, answer: list[Document] | SearchFailed) -> None:
        self.name = name
        self.answer = answer

    async def search(self, query: str, *, limit: int) -> list[Document]:
        if isinstance(self.answer, SearchFailed):
            raise self.answer
        return self.answer


def web_search_tool(providers: list[Any]) -> BaseTool:
    return tool_over(Providers(providers))


def documents(*urls: str) -> list[Document]:
    return [Document(text=f"about {url}", url=url, title=url.upper()) for url in urls]


async def run(tool: BaseTool, **args: Any) -> tuple[str, Observation]:
    message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "web_search", "args": args})
    return message.content, message.artifact


async def test_the_first_provider_that_finds_something_answers() -> None:
    tool = web_search_tool([Fixed("empty", []), Fixed("full", documents("https://a/")), Fixed("never", documents("https://b/"))])
    content, artifact = await run(tool, query="q")
    assert [document.url for document in artifact.documents] == ["https://a/"]
    assert artifact.summary == "1 result"
    assert observation.parse(content)[0].text == "about https://a/"


async def test_a_failure_before_a_success_is_told() -> None:
    tool = web_search_tool([Fixed("first", SearchFailed("rate limit")), Fixed("second", documents("https://a/", "https://b/"))])
    _, artifact = await run(tool, query="q")
    assert artifact.summary == "2 results; failed: first: rate limit"


async def test_finding_nothing_is_no_failure() -> None:
    content, artifact = await run(web_search_tool([Fixed("one", []), Fixed("two", [])]), query="xyzzy")
    assert artifact == Observation(summary="no results")
    assert content.startswith("No results for 'xyzzy' (one, two)")


@pytest.mark.parametrize("failing_first", [True, False])
async def test_one_failed_and_another_found_nothing_tells_both(failing_first: bool) -> None:
    providers = [Fixed("bad", SearchFailed("HTTP 500")), Fixed("good", [])]
    content, artifact = await run(web_search_tool(providers if failing_first else providers[::-1]), query="q")
    assert artifact.documents == ()
    assert "(good)" in content
    assert "failed: bad: HTTP 500" in content


async def test_when_all_failed_each_reason_is_named() -> None:
    with pytest.raises(ToolException, match=r"one: rate limit; two: HTTP 500"):
        await run(web_search_tool([Fixed("one", SearchFailed("rate limit")), Fixed("two", SearchFailed("HTTP 500"))]), query="q")
    with pytest.raises(ToolException, match="no search provider"):
        await run(web_search_tool([]), query="q")


async def test_an_address_comes_once_and_no_more_than_asked_for() -> None:
    found = documents("https://a/x", "http://a/x/", "https://a/x#part", "https://b/", "docs/a.md", "docs/A.md")
    _, artifact = await run(web_search_tool([Fixed("folder", found)]), query="q", max_results=3)
    assert [document.url for document in artifact.documents] == ["https://a/x", "https://b/", "docs/a.md"]


@pytest.mark.parametrize("args", [{}, {"query": ""}, {"query": "q", "max_results": 0}, {"query": "q", "page": 2}])
async def test_arguments_that_do_not_fit_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await run(web_search_tool([Fixed("p", [])]), **args)


# --- SearXNG ---


def answer(*urls: str, **more: Any) -> str:
    return json.dumps({"query": "q", "results": [{"url": url, "title": "T", "content": "C", "engine": "x"} for url in urls], **more})


async def test_searxng_on_loopback_answers() -> None:
    with Site({"/sx/search": Page(answer("https://a/", "https://b/"), content_type="application/json")}) as site:
        found = await PROVIDERS["searxng"](SearchOptions(searxng_url=site.url("/sx/"))).search("deep sea & co", limit=1)
    assert [(document.url, document.title, document.text) for document in found] == [("https://a/", "T", "C")]
    assert found[0].retrieved_at
    assert site.visits[0].path == "/sx/search?q=deep+sea+%26+co&format=json"


async def test_searxng_that_finds_nothing_is_an_empty_list() -> None:
    with Site({"/search": answer()}) as site:
        assert await Searxng(site.url()).search("q", limit=5) == []


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page("Forbidden", status=403), "JSON format switched off"),
        (Page("Too Many", status=429), "HTTP 429"),
        (Page("oops", status=500), "HTTP 500"),
        (Page("<html>"), "did not answer with search results"),
        (Page('{"results": [{}]}'), "did not answer with search results"),
        (Page(answer(unresponsive_engines=[["google", "CAPTCHA"], ["bing", "timeout"]])), r"google: CAPTCHA, bing: timeout"),
        (Page(status=302, headers={"Location": "http://169.254.169.254/"}), "link-local or metadata"),
        (Page(answer(), delay_s=0.6), r"0\.3 s|in time"),
    ],
)
async def test_searxng_failures_have_their_reason(page: Page, reason: str) -> None:
    with Site({"/search": page}) as site, pytest.raises(SearchFailed, match=reason):
        await Searxng(site.url(), timeout_s=0.3).search("q", limit=5)


# --- ddgs: the library stands in the way of the network, so its face is replaced ---


@pytest.fixture
def ddgs_says(monkeypatch: pytest.MonkeyPatch):
    from ddgs import exceptions

    def says(result: Any) -> ModuleType:
        class DDGS:
            def __init__(self, timeout: int) -> None: ...

            def text(self, query: str, max_results: int) -> list[dict[str, str]]:
                if isinstance(result, Exception):
                    raise result
                return result() if callable(result) else result

        module = ModuleType("ddgs")
        module.DDGS = DDGS
        module.exceptions = exceptions
        monkeypatch.setitem(sys.modules, "ddgs", module)
        return exceptions

    return says


async def test_ddgs_rows_become_documents(ddgs_says) -> None:
    ddgs_says([{"title": "T", "href": "https://a/", "body": "B"}, {"title": "no address", "body": "B"}])
    (found,) = await Ddgs().search("q", limit=5)
    assert (found.title, found.url, found.text) == ("T", "https://a/", "B")


async def test_ddgs_tells_nothing_found_from_failed(ddgs_says) -> None:
    exceptions = ddgs_says([])
    ddgs_says(exceptions.DDGSException("No results found."))
    assert await Ddgs().search("q", limit=5) == []
    ddgs_says(exceptions.RatelimitException("202 Ratelimit"))
    with pytest.raises(SearchFailed, match="rate limit") as limited:
        await Ddgs().search("q", limit=5)
    assert limited.value.why == "rate_limit"
    ddgs_says(exceptions.DDGSException("https://html.duckduckgo.com/html/ 202 Ratelimit"))
    with pytest.raises(SearchFailed) as eager:
        await Ddgs().search("q", limit=5)
    assert eager.value.why == "rate_limit"
    ddgs_says(exceptions.TimeoutException("timed out"))
    with pytest.raises(SearchFailed, match="in time"):
        await Ddgs().search("q", limit=5)
    ddgs_says(exceptions.DDGSException("error sending\nrequest"))
    with pytest.raises(SearchFailed, match="error sending request"):
        await Ddgs().search("q", limit=5)


async def test_ddgs_is_not_waited_for_without_end(ddgs_says) -> None:
    ddgs_says(lambda: time.sleep(0.4) or [])
    with pytest.raises(SearchFailed, match=r"no answer in 0\.1 s"):
        await Ddgs(timeout_s=0.1).search("q", limit=5)
