"""The hosted search APIs, against doubles that demand what the real ones demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from research_agent.graphs.ports import Document
from research_agent.search.brave import Brave
from research_agent.search.exa import Exa
from research_agent.search.provider import SearchFailed
from research_agent.search.registry import PROVIDERS, SearchOptions
from research_agent.search.serper import Serper
from research_agent.search.tavily import Tavily
from research_agent.testing.site import Page, Site, Visit

KEY = SecretStr("test-key-1234567890")


def reply(value: object, status: int = 200, **headers: str) -> Page:
    return Page(json.dumps(value), content_type="application/json", status=status, headers=headers)


def tavily(visit: Visit) -> Page:
    if visit.method != "POST":
        return reply({"detail": "Method Not Allowed"}, 405)
    if visit.headers.get("authorization") != f"Bearer {KEY.get_secret_value()}":
        return reply({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401)
    asked = json.loads(visit.body)
    if not isinstance(asked["query"], str) or not 0 <= asked["max_results"] <= 20 or visit.headers["content-type"] != "application/json":
        return reply({"detail": {"error": "Invalid request"}}, 400)
    rows = [
        {"url": "https://a/", "title": f"on {asked['query']}", "content": "A\ncontent", "score": 0.9, "raw_content": None},
        {"url": "https://b/", "title": "B", "content": "new", "score": 0.8, "published_date": "Tue, 05 Mar 2024 10:00:00 GMT"},
    ]
    return reply({"query": asked["query"], "answer": None, "results": rows[: asked["max_results"]], "response_time": 1.0})


def brave(visit: Visit) -> Page:
    if visit.headers.get("x-subscription-token") != KEY.get_secret_value():
        error = {"id": "1", "status": 422, "code": "SUBSCRIPTION_TOKEN_INVALID", "detail": "The provided subscription token is invalid."}
        return reply({"type": "ErrorResponse", "error": error}, 422)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(visit.path).query, strict_parsing=True).items()}
    if not 1 <= int(asked["count"]) <= 20 or len(asked["q"]) > 400 or len(asked["q"].split()) > 50:
        return reply({"error": {"status": 422, "detail": "Unable to validate request parameter(s)"}}, 422)
    rows = [
        {"url": "https://a/", "title": f"on {asked['q'][:8]}", "description": "A content", "page_age": "2024-03-05T10:00:00", "age": "x"},
        {"url": "https://b/", "title": "B", "description": "new", "age": "3 days ago"},
    ]
    return reply({"type": "search", "query": {"original": asked["q"]}, "web": {"type": "search", "results": rows[: int(asked["count"])]}})


def serper(visit: Visit) -> Page:
    if visit.method != "POST" or visit.headers.get("x-api-key") != KEY.get_secret_value():
        return reply({"message": "Unauthorized.", "statusCode": 403}, 403)
    asked = json.loads(visit.body)
    rows = [
        {"link": "https://a/", "title": f"on {asked['q']}", "snippet": "A content", "position": 1, "date": "Mar 5, 2024"},
        {"link": "https://b/", "title": "B", "position": 2},
    ]
    return reply({"searchParameters": {**asked, "type": "search"}, "organic": rows[: asked["num"]], "credits": 1})


def exa(visit: Visit) -> Page:
    if visit.method != "POST" or visit.headers.get("x-api-key") != KEY.get_secret_value():
        return reply({"error": "Invalid API key", "tag": "INVALID_API_KEY"}, 401)
    asked = json.loads(visit.body)
    highlights = {"highlights": ["one", "two"], "highlightScores": [0.9, 0.8]} if asked["contents"]["highlights"] is True else {}
    rows = [
        {
            "id": "https://a/",
            "url": "https://a/",
            "title": f"on {asked['query']}",
            "publishedDate": "2024-03-05T00:00:00.000Z",
            **highlights,
        },
        {"id": "https://b/", "url": "https://b/", "title": None, "publishedDate": None, "author": None},
    ]
    return reply({"requestId": "1", "results": rows[: asked["numResults"]]})


@dataclass(frozen=True)
class Api:
    make: Callable[..., Any]
    path: str
    double: Callable[[Visit], Page]
    texts: tuple[str, str]
    errors: dict[int, Any] = field(default_factory=dict)


APIS = {
    "tavily": Api(Tavily, "/search", tavily, ("A content", "(Tue, 05 Mar 2024 10:00:00 GMT) new")),
    "brave": Api(Brave, "/res/v1/web/search", brave, ("(2024-03-05) A content", "(3 days ago) new")),
    "serper": Api(Serper, "/search", serper, ("(Mar 5, 2024) A content", "")),
    "exa": Api(Exa, "/search", exa, ("(2024-03-05) one [...] two", "")),
}
every_api = pytest.mark.parametrize("name", APIS)


async def failure(name: str, page: Page | Callable[[Visit], Page], key: SecretStr = KEY) -> SearchFailed:
    with Site({APIS[name].path: page}) as site, pytest.raises(SearchFailed) as failed:
        await APIS[name].make(key, url=site.url("")).search("q", limit=5)
    assert KEY.get_secret_value() not in str(failed.value)
    return failed.value


@every_api
async def test_results_have_title_address_snippet_and_date(name: str) -> None:
    api = APIS[name]
    with Site({api.path: api.double}) as site:
        found = await api.make(KEY, url=site.url("")).search("deep & sea", limit=5)
        assert len(await api.make(KEY, url=site.url("")).search("q", limit=1)) == 1
    assert [document.url for document in found] == ["https://a/", "https://b/"]
    assert tuple(document.text for document in found) == api.texts
    assert found[0].title == "on deep & sea"[: 11 if name == "brave" else None]
    assert found[0].retrieved_at.endswith("+00:00")


@every_api
async def test_more_than_an_api_gives_and_a_very_long_query_are_no_error(name: str) -> None:
    with Site({APIS[name].path: APIS[name].double}) as site:
        assert await APIS[name].make(KEY, url=site.url("")).search("word " * 200, limit=100)


@every_api
async def test_a_wrong_key_is_refused_for_good(name: str) -> None:
    failed = await failure(name, APIS[name].double, SecretStr("wrong"))
    assert failed.why == "refused"
    assert "key" in str(failed)


@every_api
async def test_a_rate_limit_says_how_long(name: str) -> None:
    failed = await failure(name, reply({"error": "Too many requests"}, 429, **{"Retry-After": "7"}))
    assert (failed.why, failed.retry_after_s) == ("rate_limit", 7.0)


async def test_brave_tells_the_end_of_its_limit_in_windows() -> None:
    detail = {"type": "ErrorResponse", "error": {"code": "RATE_LIMITED", "detail": "Request rate limit exceeded for plan."}}
    windows = {"X-RateLimit-Remaining": "0, 1200", "X-RateLimit-Reset": "1, 1419704"}
    assert (await failure("brave", reply(detail, 429, **windows))).retry_after_s == 1.0


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("tavily", reply({"detail": {"error": "This request exceeds your plan's set usage limit."}}, 432)),
        ("serper", reply({"message": "Not enough credits", "statusCode": 400}, 400)),
        ("exa", reply({"error": "You have exceeded your credits limit", "tag": "NO_MORE_CREDITS"}, 402)),
    ],
)
async def test_no_credit_left_is_told_and_not_tried_again(name: str, page: Page) -> None:
    failed = await failure(name, page)
    assert failed.why == "refused"
    assert "no credit left" in str(failed)


@every_api
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page("<html>gateway</html>", status=502), "HTTP 502"),
        (reply({"error": "boom"}, 500), "HTTP 500: boom"),
        (Page("<html>"), "did not answer with search results"),
        (reply({"results": [{}], "organic": [{}], "web": {}}), "did not answer with search results"),
    ],
)
async def test_other_failures_have_their_reason(name: str, page: Page, reason: str) -> None:
    failed = await failure(name, page)
    assert failed.why == "passing"
    assert reason in str(failed)


@every_api
async def test_a_key_does_not_follow_a_redirect(name: str) -> None:
    with Site({"/": "else"}) as other:
        failed = await failure(name, Page(status=307, headers={"Location": other.url("/")}))
        assert "HTTP 307" in str(failed)
        assert other.visits == []


@every_api
async def test_finding_nothing_is_an_empty_list(name: str) -> None:
    empty = {"tavily": {"results": []}, "brave": {"type": "search"}, "serper": {"organic": []}, "exa": {"results": []}}[name]
    with Site({APIS[name].path: reply(empty)}) as site:
        assert await APIS[name].make(KEY, url=site.url("")).search("q", limit=5) == []


@every_api
def test_a_provider_is_made_with_its_key_and_does_not_show_it(name: str) -> None:
    options = SearchOptions(keys={name: KEY})
    assert PROVIDERS[name](options).name == name
    assert KEY.get_secret_value() not in repr(options)


FIELDS = {
    "tavily": ("results", "content"),
    "brave": ("web", "description"),
    "serper": ("organic", "snippet"),
    "exa": ("results", "highlights"),
}


def rows(name: str, *given: object) -> Page:
    key = FIELDS[name][0]
    return reply({"web": {"results": given}} if name == "brave" else {key: given})


def row(name: str, url: object = "https://a/", title: object = "A", snippet: str = "s") -> dict[str, object]:
    return {"link" if name == "serper" else "url": url, "title": title, FIELDS[name][1]: [snippet] if name == "exa" else snippet}


NO_ANSWERS = [
    b"<html>Just a moment...</html>",
    b"",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"web": {"results": [1, 2]}, "results": [1], "organic": [null]}',
    b"\xff\xfe",
    b'{"results": [{"url": "' + b"x" * 6_000_000,
]


@every_api
@pytest.mark.parametrize("body", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
async def test_an_answer_that_is_none_is_a_failure_in_one_line(name: str, body: bytes) -> None:
    failed = await failure(name, Page(body, content_type="application/json"))
    assert "\n" not in str(failed)
    assert len(str(failed)) < 200


async def found(name: str, page: Page) -> Document:
    with Site({APIS[name].path: page}) as site:
        (document,) = await APIS[name].make(KEY, url=site.url("")).search("q", limit=9)
    return document


@every_api
async def test_one_broken_row_does_not_cost_the_others(name: str) -> None:
    document = await found(name, rows(name, 1, None, {"title": "no address"}, row(name, url=["x"]), row(name, "https://good/", None)))
    assert document.url == "https://good/"


@every_api
async def test_what_an_engine_puts_into_a_row_is_cut_and_cleaned(name: str) -> None:
    document = await found(name, rows(name, row(name, title="\x1b[31mred\u202e\n" + "t" * 9_000, snippet="s" * 1_000_000)))
    assert document.title.startswith("red t")
    assert len(document.title) <= 300
    assert len(document.text) <= 4_100
