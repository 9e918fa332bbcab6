"""What a search provider is. A search that failed and a search that found nothing are different things."""

from __future__ import annotations

from typing import Literal, Protocol

from research_agent.graphs.ports import Document

Why = Literal["passing", "rate_limit", "refused"]
"""`passing`: may work the next time. `refused`: will not work in this run (a wrong key, no credit left, a format switched off)."""


class SearchFailed(Exception):
    """The search itself did not work: one line with the reason."""

    def __init__(self, reason: str, why: Why = "passing", *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.why = why
        self.retry_after_s = retry_after_s
        """What a rate limit said of when it ends, if it did."""


class Provider(Protocol):
    name: str
    at_once: int
    """How many searches it takes at the same time."""

    async def search(self, query: str, *, limit: int) -> list[Document]:
        """At most `limit` documents, best first; each `text` is the snippet or the best passages. Raises SearchFailed."""
        ...


def result(*, url: str, title: str | None, snippet: str | None, date: str | None, retrieved_at: str) -> Document:
    """A row of an engine. Its date stands before the snippet, as engines print it: there it is archived, recalled and quoted with it."""
    text = " ".join((snippet or "").split())
    return Document(
        text=f"({date.strip()}) {text}" if date and date.strip() else text, url=url, title=title or "", retrieved_at=retrieved_at
    )


def day(timestamp: str | None) -> str:
    """The day of an ISO 8601 time; whatever else a date may be, as it is."""
    return (timestamp or "").partition("T")[0]
