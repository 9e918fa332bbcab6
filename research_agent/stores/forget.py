"""Forgetting a run: first what is on servers, then the pages it put into the cache, then its folder, and the proof that nothing is left.

Nothing goes before every server has answered, unless it was asked for without those that do not. From then on the run is marked, and what
is gone is in its record, until that goes last: a forget that was cut is known as one, and done again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from research_agent.config import Config
from research_agent.memory import ArchiveError, vectors
from research_agent.runs import Run

from . import cached, checkpoints, lock, places
from .address import PostgresUrl
from .errors import NoRecord, RunError
from .record import HALF_FORGOTTEN, RECORD, UNFINISHED, is_left_of_one

_ON_DISK = (
    "a Chroma server gives them to nobody any more, but keeps their bytes on its disk, and no client can have them erased: stop it, run "
    "`chroma vacuum --path ITS_FOLDER`, and remove the folders in there that its database's table `segments` does not name"
)

_LEFT = "it does not answer ({}): what it holds of the run, if anything, stays there, as {}"
_KEPT = "their bytes may still stand in it ({}): once no run works with it, delete it, which is safe"


_UNKNOWN = "its record was lost: whether a server holds something of it is not known"


@dataclass(frozen=True, slots=True)
class Removed:
    what: str
    where: str
    still: str = ""
    """What is left of it where no client reaches, and who can remove that; empty if nothing is."""

    def __str__(self) -> str:
        return f"{self.what} {self.where}"


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    holds: str
    still: str
    """Of what was removed, on its disk."""
    check: Callable[[], Awaitable[None]]
    remove: Callable[[], Awaitable[int]]
    """How many they were; it has looked whether they are gone."""
    known_as: str
    """How its operator finds them."""


async def forget(run: Run, *, without_servers: bool = False) -> list[Removed]:
    """What was removed, looked for again after. Raises RunError: if a server does not answer, before anything is removed.

    `without_servers`: what a server holds that does not answer stays there, and is told of.
    """
    with run.lock(forgets=True):
        try:
            record = run.read()
        except NoRecord:
            if not is_left_of_one(run.folder):
                raise
            return [_folder(run, still=_UNKNOWN)]
        if record.get("id") != run.id:  # anybody's file may bear the name of ours
            raise RunError(f"{run.folder} is not known to be a run's folder: its {RECORD} does not say so; nothing was removed")
        servers = _servers(run, record)
        gone: dict[str, int] = dict(record.get("forgotten", {}))
        left: list[Removed] = []
        if without_servers:
            servers, left = await _that_answer(servers)
        elif not gone:
            await _all_answer(run, servers)
        removed = [*await _from_servers(run, servers, gone), *left]
        removed += await asyncio.to_thread(_from_caches, run)
        _mark(run, gone, [*removed, "a part of its folder"])
        return [*removed, _folder(run)]


def _servers(run: Run, record: dict[str, Any]) -> list[_Server]:
    """Vectors first: they could be made anew."""
    store = places.recorded(record)
    urls, password = places.servers(record, store), Config.store_password(store)

    def chroma(url: str) -> _Server:
        check, remove = partial(asyncio.to_thread, vectors.check, url), partial(asyncio.to_thread, vectors.forget, url, run.id)
        return _Server(url, "vectors", _ON_DISK, check, remove, f"the collection {vectors.collection_name(run.id)}")

    def postgres(url: str) -> _Server:
        place = checkpoints.Place(run.checkpoints, run.id, PostgresUrl.parse(url), password)
        check, remove = partial(checkpoints.check, place), partial(checkpoints.forget, place)
        return _Server(url, "rows of checkpoints", "", check, remove, f"the rows whose thread_id is {run.id}")

    return [*map(chroma, urls["vectors"]), *map(postgres, urls["checkpoints"])]


async def _all_answer(run: Run, servers: list[_Server]) -> None:
    for server in servers:
        if fault := await _fault(server):
            raise RunError(f"nothing was removed: {fault}{_or_without(run)}")


async def _that_answer(servers: list[_Server]) -> tuple[list[_Server], list[Removed]]:
    """And what is left on the others."""
    faults = [(server, await _fault(server)) for server in servers]
    silent = [(server, fault) for server, fault in faults if fault]
    left = [Removed(f"no {server.holds}", f"on {server.url}", _LEFT.format(fault, server.known_as)) for server, fault in silent]
    return [server for server, fault in faults if not fault], left


async def _fault(server: _Server) -> str:
    """Why it does not answer; empty if it does."""
    try:
        await server.check()
    except (RunError, ArchiveError) as error:
        return str(error)
    return ""


async def _from_servers(run: Run, servers: list[_Server], gone: dict[str, int]) -> list[Removed]:
    """`gone`: how much of each went at an earlier attempt."""

    def removed() -> list[Removed]:
        known = [(gone[server.url], server) for server in servers if server.url in gone]
        return [Removed(f"{count} {server.holds}", f"on {server.url}", server.still if count else "") for count, server in known]

    for server in servers:
        _mark(run, gone, removed())
        try:
            gone[server.url] = gone.get(server.url, 0) + await server.remove()
        except (RunError, ArchiveError) as error:
            raise RunError(f"{error}. The run is half forgotten; {_gone(removed())}; {_ends(run)}{_or_without(run)}") from error
    return removed()


def _from_caches(run: Run) -> list[Removed]:
    """A cache is safe to delete, so one that cannot be looked through holds nobody up."""
    from research_agent.web import http_cache  # a second of libraries, and most runs of a folder have put nothing there

    removed = []
    for file, hashes in cached.listed(run.folder).items():
        try:
            if count := http_cache.remove(file, hashes):
                removed.append(Removed(f"{count} fetched pages", f"from the cache {file}"))
        except (sqlite3.Error, OSError) as error:
            removed.append(Removed("what it could of the fetched pages", f"from the cache {file}", _KEPT.format(error)))
    return removed


def _mark(run: Run, gone: dict[str, int], removed: Sequence[object]) -> None:
    with suppress(OSError):  # a full disk: forgetting makes room
        run.update(status=HALF_FORGOTTEN, reason=_gone(removed), forgotten=gone)


def _gone(removed: Sequence[object]) -> str:
    return f"gone: {'; '.join(map(str, removed)) or 'nothing yet, as far as is known'}"


def _ends(run: Run) -> str:
    return f"`research-agent forget {run.name}` ends it"


def _or_without(run: Run) -> str:
    return f"; where that server is gone for good: `research-agent forget --without-servers {run.name}`"


def _folder(run: Run, *, still: str = "") -> Removed:
    """The record goes last, and out of sight: without it, what is left would be listed as a damaged run, or not be found again."""
    files = [path for path in run.folder.rglob("*") if path.is_file() or path.is_symlink()]
    size_kb = sum(path.lstat().st_size for path in files) / 1000
    hidden = run.folder.with_name(f".{run.id}.{UNFINISHED}")  # what a kill leaves of it goes as a next run begins there
    try:
        for path in run.folder.iterdir():
            if path.name not in (RECORD, lock.LOCK):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        os.replace(run.folder, hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise RunError(f"{run.folder} is not wholly removed: {error.filename}: {error.strerror or error}; {_ends(run)}") from error
    if left := [path for path in (run.folder, hidden) if path.exists()]:
        raise RunError(f"{left[0]} is still there: somebody wrote into it meanwhile; remove it")
    return Removed(f"{len(files)} files ({size_kb:,.0f} kB)", f"in {run.folder}", still)
