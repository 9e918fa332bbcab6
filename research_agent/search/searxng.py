"""Search through a SearXNG instance of one's own."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from research_agent.graphs.ports import Document
from research_agent.search.api import MAX_BYTES, each, retry_after_s
from research_agent.search.provider import SearchFailed, day, result
from research_agent.web.net import Client, FetchFailed, Refused

TIMEOUT_S = 20.0


class _Row(BaseModel):
    url: str
    title: str | None = ""
    content: str | None = ""
    publishedDate: str | None = None


class _Answer(BaseModel):
    results: Annotated[list[_Row], each(_Row)]
    unresponsive_engines: list[list[str]] = []
    """Pairs of engine and reason."""


class Searxng:
    name = "searxng"
    at_once = 4

    def __init__(self, base_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`base_url` is the operator's own choice, so it may well be a private address."""
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).hostname or ""
        self._timeout_s = timeout_s

    async def search(self, query: str, *, limit: int) -> list[Document]:
        url = f"{self._base_url}/search?{urlencode({'q': query, 'format': 'json'})}"
        try:
            async with Client(allow_hosts=[self._host], timeout_s=self._timeout_s, max_bytes=MAX_BYTES) as client:
                answer = await client.get(url, headers={"Accept": "application/json"})
        except (FetchFailed, Refused) as error:
            raise SearchFailed(str(error)) from error
        if answer.status == 403:
            raise SearchFailed("this instance has the JSON format switched off (search.formats in its settings.yml)", "refused")
        if answer.status == 429:
            wait_s = retry_after_s(answer.headers)
            raise SearchFailed("this instance limits how often it is asked (HTTP 429)", "rate_limit", retry_after_s=wait_s)
        if answer.status != 200:
            raise SearchFailed(f"HTTP {answer.status}")
        try:
            parsed = _Answer.model_validate_json(answer.body)
        except ValidationError as error:
            raise SearchFailed("the instance did not answer with search results in JSON") from error
        if not parsed.results and parsed.unresponsive_engines:
            engines = ", ".join(": ".join(engine) for engine in parsed.unresponsive_engines)
            raise SearchFailed(f"its engines did not answer ({engines[:200]})")
        return [
            result(url=row.url, title=row.title, snippet=row.content, date=day(row.publishedDate), retrieved_at=answer.retrieved_at)
            for row in parsed.results[:limit]
        ]
