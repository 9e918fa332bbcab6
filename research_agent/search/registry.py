"""Search providers by the name a config gives them. A new one is a file, a line here, and a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from research_agent.search.ddgs import Ddgs
from research_agent.search.provider import Provider
from research_agent.search.searxng import Searxng


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a factory may need of the config."""

    searxng_url: str = ""


PROVIDERS: dict[str, Callable[[SearchOptions], Provider]] = {
    "ddgs": lambda options: Ddgs(),
    "searxng": lambda options: Searxng(options.searxng_url),
}
