"""`scrape`: one page or file, read to text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.reading.page import Page, Unreadable
from research_agent.web.barriers import SHELL, barrier
from research_agent.web.browser import NoBrowser, NotDrawn
from research_agent.web.net import Fetched, FetchFailed, Refused

OpenFile = Callable[[str], Awaitable[Document]]
"""A path, as the folder search shows it, to that file's text. Raises LookupError, OSError or Unreadable."""

Read = Callable[[Fetched], Awaitable[Page]]
"""Raises Unreadable."""

Draw = Callable[[Fetched], Awaitable[Fetched]]
"""An empty shell to what its scripts make of it. Raises NoBrowser and NotDrawn."""

CONTENT_CHARS = 40_000
"""What `content` holds of a page at most; the artifact holds the whole."""


class ScrapeArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, description="The page's address, http or https; or a file's path as search results show it.")
    fresh: bool = Field(default=False, description="Run this call again, although it was made before with the same arguments.")


class Fetcher(Protocol):
    async def get(self, url: str) -> Fetched:
        """Raises Refused and FetchFailed."""
        ...


def scrape_tool(fetcher: Fetcher, read: Read, *, open_file: OpenFile | None = None, draw: Draw | None = None) -> BaseTool:
    """Addresses without a scheme go to `open_file`, where there is one; empty shells to `draw`. What is not the page is a failure."""

    async def scrape(url: str, fresh: bool = False) -> tuple[str, Observation]:
        url = url.strip()
        document = await _open(open_file, url) if open_file and "://" not in url else await _fetch(fetcher, read, draw, url)
        shown = document.text[:CONTENT_CHARS]
        more_tokens = -(-(len(document.text) - len(shown)) // 4)
        block = Shown(handle="", title=document.title, url=document.url, text=shown, more_tokens=more_tokens)
        return render([block]), Observation(documents=(document,), summary=f"{len(document.text.split()):,} words")

    return StructuredTool.from_function(
        coroutine=scrape,
        name="scrape",
        description="Read a web page, a PDF or a file as text. Use it on the search results worth reading whole.",
        args_schema=ScrapeArgs,
        response_format="content_and_artifact",
    )


async def _open(open_file: OpenFile, path: str) -> Document:
    try:
        return await open_file(path)
    except (LookupError, OSError) as error:
        raise ToolException(
            f"not opened: {error}. Give a path as search results show it, or an address that starts with https://"
        ) from error
    except Unreadable as error:
        raise ToolException(f"{path} cannot be read: {error}") from error


async def _fetch(fetcher: Fetcher, read: Read, draw: Draw | None, url: str) -> Document:
    try:
        answer = await fetcher.get(url)
    except (Refused, FetchFailed) as error:
        raise ToolException(f"not fetched: {error}") from error
    if not 200 <= answer.status < 300 or answer.status == 206:
        raise ToolException(_http_error(answer))
    page, barred = await _page(answer, read, url)
    if barred == SHELL:
        page, barred = await _drawn(answer, read, draw, url)
    if barred or page is None:
        raise ToolException(f"{answer.url} answered with {barred}. Nothing of it is kept; look for the same facts elsewhere")
    return Document(text=_headed(page), url=answer.url, title=page.title, retrieved_at=answer.retrieved_at)


async def _page(answer: Fetched, read: Read, url: str) -> tuple[Page | None, str]:
    """What was read, or what the answer is instead. Raises ToolException where it is nothing at all."""
    try:
        page = await read(answer)
    except Unreadable as error:
        if str(error) != "no text":
            raise ToolException(f"{answer.url} cannot be read: {error}") from error
        if b"<" in answer.body and (what := barrier(answer, asked=url, title="", text="")):
            return None, what
        if b"<script" in answer.body.lower():
            return None, SHELL
        raise ToolException(f"{answer.url} answered, but has no readable text") from error
    return page, barrier(answer, asked=url, title=page.title, text=page.text) if "html" in (page.kind, answer.content_type[-4:]) else ""


async def _drawn(answer: Fetched, read: Read, draw: Draw | None, url: str) -> tuple[Page | None, str]:
    if draw is None:
        return None, f"{SHELL}, which are not run here (scrape.browser)"
    try:
        page, barred = await _page(await draw(answer), read, url)
    except (NoBrowser, NotDrawn) as error:
        return None, f"{SHELL}, and {error}"
    return page, f"{SHELL}, and stays one when they have run" if barred == SHELL else barred


def _headed(page: Page) -> str:
    """The text, under what the page declares of itself: there it is archived, recalled and weighed with it."""
    told = {"by": page.author, "published": page.published, "language": page.language}
    head = " · ".join(f"{name} {value}" for name, value in told.items() if value)
    return f"[{head}]\n\n{page.text}" if head else page.text


def _http_error(answer: Fetched) -> str:
    said = f"HTTP {answer.status}"
    if answer.status in (404, 410):
        return f"no such page ({said}): {answer.url}"
    if answer.status in (401, 402, 407):
        return f"the page wants a login or a payment ({said}): {answer.url}"
    if answer.status in (403, 429, 451, 503, 999):
        wait = answer.headers.get("retry-after", "")
        later = f", to be tried again after {wait[:40]}" if wait else ""
        return f"the site turns us away ({said}{later}); look for the same facts elsewhere: {answer.url}"
    if answer.status == 206:
        return f"the site sent a part of the page only ({said}), though the whole was asked for: {answer.url}"
    return f"the site answered with an error ({said}): {answer.url}"
