"""What a search provider is. A search that failed and a search that found nothing are different things."""

from __future__ import annotations

from typing import Protocol

from research_agent.graphs.ports import Document


class SearchFailed(Exception):
    """The search itself did not work: one line with the reason."""


class Provider(Protocol):
    name: str

    async def search(self, query: str, *, limit: int) -> list[Document]:
        """At most `limit` documents, best first; each `text` is the snippet or the best passages. Raises SearchFailed."""
        ...
