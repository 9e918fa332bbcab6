"""`scrape`: one page or file, read to text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.net import Client, Fetched, FetchFailed, Refused
from research_agent.reading import Page, Unreadable, read

OpenFile = Callable[[str], Awaitable[Document]]
"""A path, as the folder search shows it, to that file's text. Raises LookupError, OSError or Unreadable."""

CONTENT_CHARS = 40_000
"""What `content` holds of a page at most; the artifact holds the whole."""


class ScrapeArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, description="The page's address, http or https; or a file's path as search results show it.")


def scrape_tool(client: Client, *, open_file: OpenFile | None = None) -> BaseTool:
    """Fetches with `client`; addresses without a scheme go to `open_file`, where there is one."""

    async def scrape(url: str) -> tuple[str, Observation]:
        url = url.strip()
        document = await _open(open_file, url) if open_file and "://" not in url else await _fetch(client, url)
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


async def _fetch(client: Client, url: str) -> Document:
    try:
        answer = await client.get(url)
    except (Refused, FetchFailed) as error:
        raise ToolException(f"not fetched: {error}") from error
    if not 200 <= answer.status < 300:
        raise ToolException(_http_error(answer))
    page = await _read(answer)
    return Document(text=page.text, url=answer.url, title=page.title, retrieved_at=answer.retrieved_at)


async def _read(answer: Fetched) -> Page:
    name = unquote(PurePosixPath(urlsplit(answer.url).path).name)
    try:
        # In a thread: a long PDF takes seconds.
        return await asyncio.to_thread(read, answer.body, name=name, content_type=answer.content_type, charset=answer.charset)
    except Unreadable as error:
        if str(error) == "no text":
            raise ToolException(f"{answer.url} answered, but has no readable text: empty, or drawn by scripts") from error
        raise ToolException(f"{answer.url} cannot be read: {error}") from error


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
    return f"the site answered with an error ({said}): {answer.url}"
