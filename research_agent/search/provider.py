"""What a search provider is. A search that failed and a search that found nothing are different things."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol
from urllib.parse import urlsplit

from research_agent.graphs.ports import Document
from research_agent.visible import one_line

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


FOLDER = "folder"
"""The one provider whose addresses are paths."""
MAX_SNIPPET_CHARS, MAX_TITLE_CHARS, MAX_URL_CHARS, MAX_DATE_CHARS = 4_000, 300, 2_000, 40


def result(*, url: str, title: str | None, snippet: str | None, date: str | None, retrieved_at: str) -> Document:
    """A row of an engine. Its date stands before the snippet, as engines print it: there it is archived, recalled and quoted with it."""
    text, when = one_line(snippet or "", MAX_SNIPPET_CHARS), one_line(date or "", MAX_DATE_CHARS)
    return Document(
        text=f"({when}) {text}" if when else text, url=url, title=one_line(title or "", MAX_TITLE_CHARS), retrieved_at=retrieved_at
    )


def pages(results: Iterable[Document]) -> list[Document]:
    """Of an engine's results those whose addresses lead to pages."""
    return [document for document in results if _is_page(document.url)]


def _is_page(url: str) -> bool:
    """Whether an engine may name this address: http(s), of a host, on one line. A path or a `javascript:` is nobody's page."""
    if len(url) > MAX_URL_CHARS or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


def day(timestamp: str | None) -> str:
    """The day of an ISO 8601 time; whatever else a date may be, as it is."""
    return (timestamp or "").partition("T")[0]
