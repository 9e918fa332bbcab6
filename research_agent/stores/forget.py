"""Forgetting a run: first what is on servers, then its folder, and the proof that nothing is left."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from research_agent.config import Config
from research_agent.memory.vectors import forget as forget_vectors

from . import checkpoints, places
from .address import PostgresUrl
from .errors import RunError

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
        files = [path for path in run.folder.rglob("*") if path.is_file() or path.is_symlink()]
        size_kb = sum(path.lstat().st_size for path in files) / 1000
        # Out of sight first: a folder that is half deleted would be listed as a damaged run.
        hidden = run.folder.with_name(f".forgotten-{run.id}")
        try:
            os.replace(run.folder, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise RunError(f"{run.folder} is not wholly removed: {error.filename}: {error.strerror or error}; forget it again") from error
    if left := [path for path in (run.folder, hidden) if path.exists()]:
        raise RunError(f"{left[0]} is still there: somebody wrote into it meanwhile; remove it")
    return [*removed, Removed(f"{len(files)} files ({size_kb:,.0f} kB)", f"in {run.folder}")]
