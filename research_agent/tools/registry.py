"""The tools of a run, by name: one line each. A tool that cannot work here is left out, and the reason is told once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING

from langchain_core.tools import BaseTool

from research_agent.assets.before import Before
from research_agent.config import Config
from research_agent.events import Event
from research_agent.graphs.ports import Archive
from research_agent.runs import Run

if TYPE_CHECKING:
    from research_agent.search.folder import FolderSearch
    from research_agent.search.health import Providers
    from research_agent.web.browser import Browser
    from research_agent.web.fetch import Web
    from research_agent.web.page_reader import PageReader


class Unavailable(Exception):
    """This tool cannot work on this machine: one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What tools are made of."""

    config: Config
    run: Run
    archive: Archive
    earlier: Sequence[Archive]
    web: Web
    pages: PageReader
    browser: Browser | None
    providers: Providers
    folder: FolderSearch | None
    before: Before
    warn: Callable[[str], None]


def _web_search(parts: Parts) -> BaseTool:
    from research_agent.tools.web_search import web_search_tool

    return web_search_tool(parts.providers)


def _scrape(parts: Parts) -> BaseTool:
    from research_agent.tools.scrape import scrape_tool

    open_file = parts.folder.open if parts.folder else None
    return scrape_tool(parts.web, parts.pages.read, open_file=open_file, draw=parts.browser.draw if parts.browser else None)


def _python(parts: Parts) -> BaseTool:
    from research_agent.assets.keep import Assets
    from research_agent.sandbox.bubblewrap import available
    from research_agent.tools.python import python_tool

    if parts.config.python.sandbox == "none":
        from research_agent.sandbox.plain import run

        parts.warn("python runs WITHOUT A SANDBOX (python.sandbox: none): what the model writes can do all that you can on this machine")
        return python_tool(parts.run.workspace, assets=Assets(parts.run.folder), before=parts.before, run=run)
    if reason := available():
        raise Unavailable(f"the python tool is off: {reason}")
    return python_tool(parts.run.workspace, assets=Assets(parts.run.folder), before=parts.before)


def _recall(parts: Parts) -> BaseTool:
    from research_agent.tools.recall import recall_tool

    return recall_tool(parts.archive, earlier=parts.earlier)


def _note(parts: Parts) -> BaseTool:
    from research_agent.tools.note import note_tool

    return note_tool(parts.archive)


TOOLS: dict[str, Callable[[Parts], BaseTool]] = {
    "web_search": _web_search,
    "scrape": _scrape,
    "python": _python,
    "recall": _recall,
    "note": _note,
}


@asynccontextmanager
async def open_tools(
    config: Config, archive: Archive, run: Run, emit: Callable[[Event], None], *, earlier: Sequence[Archive] = ()
) -> AsyncIterator[tuple[BaseTool, ...]]:
    """The run's tools, their clients open. The search folder is indexed first, with its progress as events. Raises SearchFailed.

    `earlier` are archives that may be recalled from.
    """
    from research_agent.search.folder import FolderSearch
    from research_agent.search.health import Providers
    from research_agent.search.registry import PROVIDERS, SearchOptions
    from research_agent.stores.cached import CachedList
    from research_agent.web.fetch import Manners, Web
    from research_agent.web.http_cache import FILE, HttpCache
    from research_agent.web.net import Client
    from research_agent.web.page_reader import PageReader

    search = config.search
    async with AsyncExitStack() as stack:
        kept = _usable(config.cache, stack, emit)
        options = SearchOptions(
            searxng_url=search.searxng_url or "",
            folder=search.folder or Path(),
            cache=kept,
            runs=config.out,
            keys=config.search_keys(),
        )
        providers = tuple(PROVIDERS[name](options) for name in search.providers)
        folder = next((provider for provider in providers if isinstance(provider, FolderSearch)), None)
        client = await stack.enter_async_context(Client(allow_hosts=config.scrape.allow_hosts))
        cache = await stack.enter_async_context(aclosing(HttpCache(kept, CachedList(run.folder, kept / FILE).add)))
        pages = stack.enter_context(PageReader())
        if folder is not None:
            stack.callback(folder.close)
            await _index(folder, emit)
        web = Web(client, cache=cache, manners=Manners(robots=config.scrape.robots))
        browser = await _browser(web, stack, emit) if config.scrape.browser else None
        asked = Providers(providers, merge=search.merge)
        parts = Parts(
            config=config,
            run=run,
            archive=archive,
            earlier=earlier,
            web=web,
            pages=pages,
            browser=browser,
            providers=asked,
            folder=folder,
            before=Before(run.workspace),
            warn=lambda text: emit({"type": "warning", "text": text}),
        )
        stack.callback(parts.before.close)
        stack.callback(shutil.rmtree, run.workspace / ".cache", ignore_errors=True)  # fonts and bytecode of the code that ran
        own = tuple(_made(parts, emit))
        yield own + await _of_servers(config, own, stack, emit)


async def _browser(web: Web, stack: AsyncExitStack, emit: Callable[[Event], None]) -> Browser | None:
    """Started when a page first needs it."""
    from research_agent.web.browser import Browser, NoBrowser, find

    try:
        return await stack.enter_async_context(Browser(find(), web.get))
    except NoBrowser as reason:
        emit({"type": "warning", "text": f"the browser for pages that scripts draw is off: {reason}"})
        return None


async def _of_servers(
    config: Config, own: tuple[BaseTool, ...], stack: AsyncExitStack, emit: Callable[[Event], None]
) -> tuple[BaseTool, ...]:
    if not config.mcp:
        return ()
    from research_agent.tools.mcp import Server, mcp_tools

    servers = tuple(
        Server(
            name=name,
            command=server.command,
            env=config.variables(server.env),
            url=server.url or "",
            key=next(iter(config.variables([server.api_key_env] if server.api_key_env else []).values()), None),
            tools=server.tools,
        )
        for name, server in config.mcp.items()
    )
    taken = frozenset({*TOOLS, *(tool.name for tool in own)})
    return await stack.enter_async_context(mcp_tools(servers, taken, lambda text: emit({"type": "warning", "text": text})))


async def _index(folder: FolderSearch, emit: Callable[[Event], None]) -> None:
    def progress(done: int, total: int, path: str) -> None:
        emit({"type": "index", "done": done, "total": total, "path": path})

    for path, reason in await folder.refresh(progress):
        emit({"type": "warning", "text": f"skipped {path}: {reason}"})
    if nothing := await folder.holds_nothing():
        emit({"type": "warning", "text": nothing})


def _usable(cache: Path, stack: AsyncExitStack, emit: Callable[[Event], None]) -> Path:
    """The cache; where it cannot be written, one for this session: what it spares is no reason to lose a run."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        why = f"the cache {cache} cannot be written ({error.strerror or error})"
        emit({"type": "warning", "text": f"{why}: what is read is not kept for other runs; `--set cache=DIR` names another folder"})
        return Path(stack.enter_context(TemporaryDirectory(prefix="research-agent-")))


def _made(parts: Parts, emit: Callable[[Event], None]) -> Iterator[BaseTool]:
    for name, make in TOOLS.items():
        if name == "python" and not parts.config.python.enabled:
            continue
        try:
            yield make(parts)
        except Unavailable as reason:
            emit({"type": "warning", "text": str(reason)})
