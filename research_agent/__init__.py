"""A long-context research agent with a memory. Names load when they are first used: importing this costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research_agent.agent import Agent as Agent
    from research_agent.config import Config as Config
    from research_agent.config import ConfigError as ConfigError
    from research_agent.ending import Result as Result
    from research_agent.graphs.build import build_research_graph as build_research_graph
    from research_agent.runs import RunError as RunError

__version__ = "0.1.0"
__all__ = ["Agent", "Config", "ConfigError", "Result", "RunError", "__version__", "build_research_graph"]

_HOMES = {
    "Agent": "agent",
    "Config": "config",
    "ConfigError": "config",
    "Result": "ending",
    "RunError": "runs",
    "build_research_graph": "graphs.build",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
