"""Search through Tavily: POST https://api.tavily.com/search with a bearer key (docs.tavily.com)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, SecretStr

from research_agent.graphs.ports import Document
from research_agent.search.api import ask, each
from research_agent.search.provider import result

URL = "https://api.tavily.com"
MAX_RESULTS = 20


class _Row(BaseModel):
    url: str
    title: str | None = None
    content: str | None = None
    published_date: str | None = None
    """Of news only."""


class _Answer(BaseModel):
    results: Annotated[list[_Row], each(_Row)]


class Tavily:
    name = "tavily"
    at_once = 4

    def __init__(self, key: SecretStr, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def search(self, query: str, *, limit: int) -> list[Document]:
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        body = {"query": query, "max_results": min(limit, MAX_RESULTS), "search_depth": "basic"}
        answer, at = await ask(f"{self._url}/search", _Answer, headers=headers, body=body)
        return [
            result(url=row.url, title=row.title, snippet=row.content, date=row.published_date, retrieved_at=at)
            for row in answer.results[:limit]
        ]
