"""Search through Brave: GET https://api.search.brave.com/res/v1/web/search with a subscription token (api-dashboard.search.brave.com)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, SecretStr

from research_agent.graphs.ports import Document
from research_agent.search.api import ask, each
from research_agent.search.provider import day, result

URL = "https://api.search.brave.com"
MAX_RESULTS = 20
MAX_CHARS, MAX_WORDS = 400, 50
"""Of a query; a longer one is a 422."""


class _Row(BaseModel):
    url: str
    title: str | None = None
    description: str | None = None
    page_age: str | None = None
    age: str | None = None


class _Web(BaseModel):
    results: Annotated[list[_Row], each(_Row)]


class _Answer(BaseModel):
    web: _Web | None = None
    """Not there when nothing was found."""


class Brave:
    name = "brave"
    at_once = 1
    """The free plan takes one a second."""

    def __init__(self, key: SecretStr, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def search(self, query: str, *, limit: int) -> list[Document]:
        short = " ".join(query.split()[:MAX_WORDS])[:MAX_CHARS]
        asked = urlencode({"q": short, "count": min(limit, MAX_RESULTS), "text_decorations": "false"})
        headers = {"X-Subscription-Token": self._key.get_secret_value()}
        answer, at = await ask(f"{self._url}/res/v1/web/search?{asked}", _Answer, headers=headers)
        return [
            result(url=row.url, title=row.title, snippet=row.description, date=day(row.page_age) or row.age, retrieved_at=at)
            for row in (answer.web.results if answer.web else [])[:limit]
        ]
