"""Forgetting a run: first what is on servers, then its folder, and the proof that nothing is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from research_agent.config import Config
from research_agent.memory.vectors import forget as forget_vectors

from . import checkpoints, places
from .address import PostgresUrl

if TYPE_CHECKING:
    from research_agent.runs import Run


@dataclass(frozen=True, slots=True)
class Removed:
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} {self.where}"


async def forget(run: Run) -> list[Removed]:
    """What was removed, looked for again after. Raises RunError or ArchiveError if a server is not reached: then the folder stays."""
    with run.lock():
        record = run.read()
        store, servers = places.recorded(record), places.servers(record, places.recorded(record))
        removed = []
        for url in servers["checkpoints"]:
            place = checkpoints.Place(run.checkpoints, run.id, PostgresUrl.parse(url), Config.store_password(store))
            removed.append(Removed(f"{await checkpoints.forget(place)} rows of checkpoints", f"on {url}"))
        for url in servers["vectors"]:
            removed.append(Removed(f"{await asyncio.to_thread(forget_vectors, url, run.id)} vectors", f"on {url}"))
    return [*removed, _folder(run)]


def _folder(run: Run) -> Removed:
    from research_agent.history.forgetting import forget as forget_folder

    return Removed("all of", str(forget_folder(run)))
