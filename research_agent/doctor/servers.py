"""The servers that a config keeps its stores on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from research_agent.config import Config
from research_agent.doctor.row import Row
from research_agent.stores import checkpoints
from research_agent.stores.errors import RunError

_NOBODY = "doctor"
"""No run has this id."""


async def rows(config: Config) -> AsyncIterator[Row]:
    """One for each that `store` names."""
    if config.store.checkpoints is not None:
        yield await _postgres(config)
    if config.store.vectors:
        yield await asyncio.to_thread(_chroma, config.store.vectors)


async def _postgres(config: Config) -> Row:
    place = checkpoints.Place(Path(), _NOBODY, config.store.checkpoints, Config.store_password(config.store))
    try:
        await checkpoints.forget(place)
    except RunError as error:
        return Row("checkpoints", "fail", str(error), "start the server, or change store.checkpoints or store.password_env")
    return Row("checkpoints", "ok", f"PostgreSQL at {place} answers, and its tables can be read and written")


def _chroma(url: str) -> Row:
    from research_agent.memory.errors import IndexFailed
    from research_agent.memory.vectors import check

    try:
        check(url)
    except IndexFailed as error:
        return Row("vectors server", "fail", str(error), "start it (`chroma run`), or change store.vectors")
    return Row("vectors server", "ok", f"the Chroma server at {url} answers")
