"""Search through Exa: POST https://api.exa.ai/search with a key (docs.exa.ai)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, SecretStr

from research_agent.graphs.ports import Document
from research_agent.search.api import ask, each
from research_agent.search.provider import day, result

URL = "https://api.exa.ai"
MAX_RESULTS = 20
GAP = " [...] "


class _Row(BaseModel):
    url: str
    title: str | None = None
    highlights: list[str] | None = None
    publishedDate: str | None = None


class _Answer(BaseModel):
    results: Annotated[list[_Row], each(_Row)]


class Exa:
    name = "exa"
    at_once = 4

    def __init__(self, key: SecretStr, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def search(self, query: str, *, limit: int) -> list[Document]:
        headers = {"x-api-key": self._key.get_secret_value()}
        # Highlights are the passages that serve the query; without `contents` a result is a bare address.
        body = {"query": query, "numResults": min(limit, MAX_RESULTS), "contents": {"highlights": True}}
        answer, at = await ask(f"{self._url}/search", _Answer, headers=headers, body=body)
        return [
            result(url=row.url, title=row.title, snippet=GAP.join(row.highlights or ()), date=day(row.publishedDate), retrieved_at=at)
            for row in answer.results[:limit]
        ]
