"""Search through Serper, which asks Google: POST https://google.serper.dev/search with a key (serper.dev)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, SecretStr

from research_agent.graphs.ports import Document
from research_agent.search.api import ask, each
from research_agent.search.provider import result

URL = "https://google.serper.dev"
MAX_RESULTS = 20


class _Row(BaseModel):
    link: str
    title: str | None = None
    snippet: str | None = None
    date: str | None = None


class _Answer(BaseModel):
    organic: Annotated[list[_Row], each(_Row)] = []


class Serper:
    name = "serper"
    at_once = 4

    def __init__(self, key: SecretStr, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def search(self, query: str, *, limit: int) -> list[Document]:
        headers = {"X-API-KEY": self._key.get_secret_value()}
        body = {"q": query, "num": min(limit, MAX_RESULTS)}
        answer, at = await ask(f"{self._url}/search", _Answer, headers=headers, body=body)
        return [
            result(url=row.link, title=row.title, snippet=row.snippet, date=row.date, retrieved_at=at) for row in answer.organic[:limit]
        ]
