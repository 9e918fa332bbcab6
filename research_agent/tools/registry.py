"""The tools of a run, by name: one line each. A tool that cannot work here is left out, and the reason is told once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.tools import BaseTool

from research_agent.config import Config
from research_agent.events import Event
from research_agent.graphs.ports import Archive
from research_agent.runs import Run
from research_agent.search.provider import Provider

if TYPE_CHECKING:
    import httpx

    from research_agent.search.folder import FolderSearch


class Unavailable(Exception):
    """This tool cannot work on this machine: one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What tools are made of."""

    config: Config
    run: Run
    archive: Archive
    client: httpx.AsyncClient
    providers: tuple[Provider, ...]
    folder: FolderSearch | None


@dataclass(frozen=True, slots=True)
class Toolbox:
    tools: tuple[BaseTool, ...]


def _web_search(parts: Parts) -> BaseTool:
    from research_agent.tools.web_search import web_search_tool

    return web_search_tool(parts.providers)


def _scrape(parts: Parts) -> BaseTool:
    from research_agent.tools.scrape import scrape_tool

    return scrape_tool(parts.client, open_file=parts.folder.open if parts.folder else None)


def _python(parts: Parts) -> BaseTool:
    from research_agent.sandbox import available
    from research_agent.tools.python import python_tool

    if reason := available():
        raise Unavailable(f"the python tool is off: {reason}")
    return python_tool(parts.run.assets)


def _recall(parts: Parts) -> BaseTool:
    from research_agent.tools.recall import recall_tool

    return recall_tool(parts.archive)


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
async def open_tools(config: Config, archive: Archive, run: Run, emit: Callable[[Event], None]) -> AsyncIterator[Toolbox]:
    """The run's tools, their clients open. The search folder is indexed first, with its progress as events."""
    from research_agent.net import open_client
    from research_agent.search.registry import open_providers

    async with open_client(allow_hosts=config.scrape.allow_hosts) as client, open_providers(config.search, config.cache) as providers:
        folder = next((provider for provider in providers if provider.name == "folder"), None)
        if folder is not None:
            skipped = await folder.refresh(lambda done, total, path: emit({"type": "index", "done": done, "total": total, "path": path}))
            for item in skipped:
                emit({"type": "warning", "text": f"skipped {item.path}: {item.reason}"})
        parts = Parts(config=config, run=run, archive=archive, client=client, providers=tuple(providers), folder=folder)
        tools = []
        for name, make in TOOLS.items():
            if name == "python" and not config.python.enabled:
                continue
            try:
                tools.append(make(parts))
            except Unavailable as reason:
                emit({"type": "warning", "text": str(reason)})
        yield Toolbox(tuple(tools))
