"""Search providers by the name a config gives them. A new one is a file, a line here, and a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from research_agent.search.brave import Brave
from research_agent.search.ddgs import Ddgs
from research_agent.search.exa import Exa
from research_agent.search.folder import FolderSearch
from research_agent.search.provider import Provider
from research_agent.search.searxng import Searxng
from research_agent.search.serper import Serper
from research_agent.search.tavily import Tavily


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a factory may need of the config."""

    searxng_url: str = ""
    folder: Path = Path()
    cache: Path = Path(".research_agent")
    runs: Path = Path("runs")
    """Runs that lie inside the folder are not searched: an investigation does not read its own reports."""
    keys: Mapping[str, SecretStr] = field(default_factory=dict)
    """By provider, of those that need one."""


PROVIDERS: dict[str, Callable[[SearchOptions], Provider]] = {
    "folder": lambda options: FolderSearch(options.folder, options.cache, exclude=[options.runs]),
    "ddgs": lambda options: Ddgs(),
    "searxng": lambda options: Searxng(options.searxng_url),
    "tavily": lambda options: Tavily(options.keys["tavily"]),
    "brave": lambda options: Brave(options.keys["brave"]),
    "serper": lambda options: Serper(options.keys["serper"]),
    "exa": lambda options: Exa(options.keys["exa"]),
}
