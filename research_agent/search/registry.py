"""Search providers by the name a config gives them. A new one is a file, a line here, and a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from research_agent.search.ddgs import Ddgs
from research_agent.search.folder import FolderSearch
from research_agent.search.provider import Provider
from research_agent.search.searxng import Searxng


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a factory may need of the config."""

    searxng_url: str = ""
    folder: Path = Path()
    cache: Path = Path(".research_agent")
    runs: Path = Path("runs")
    """Runs that lie inside the folder are not searched: an investigation does not read its own reports."""


PROVIDERS: dict[str, Callable[[SearchOptions], Provider]] = {
    "folder": lambda options: FolderSearch(options.folder, options.cache, exclude=[options.runs]),
    "ddgs": lambda options: Ddgs(),
    "searxng": lambda options: Searxng(options.searxng_url),
}
