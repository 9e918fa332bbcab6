"""A run's checkpoints: SQLite in its folder, or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import id as ids

from research_agent.graphs import state
from research_agent.memory import damage
from research_agent.memory.remedy import name_of

from .address import PostgresUrl
from .errors import RunError, StoreError

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint

    from . import postgres

Warn = Callable[[str], None]
_STATE = "state"
"""In a checkpoint's metadata: the version of the state in it. Those of before it was numbered are of the first."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's checkpoints are."""

    file: Path
    run: str
    server: PostgresUrl | None = None
    """None: in the file."""
    password: str = ""

    def __str__(self) -> str:
        return str(self.server or self.file)

    def __repr__(self) -> str:
        return f"Place({self})"


@asynccontextmanager
async def open_checkpoints(place: Place, warn: Warn, before: Place | None = None) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Raises RunError if another process works on the run or a newer version wrote it, StoreError for a database that cannot be used.

    `before`: where they were at the last session; if that was elsewhere, they are brought along.
    """
    async with _opened(place, warn) as saver:
        if before is not None and str(before) != str(place) and await saver.aget_tuple(_thread(place.run)) is None:
            async with _opened(before, warn) as source:
                await _carry(source, saver, place.run)
        if (newest := await saver.aget_tuple(_thread(place.run))) is not None:
            refuse_newer(newest.metadata, place.run)
            none_before(newest.checkpoint["id"])
        yield saver


@asynccontextmanager
async def _opened(place: Place, warn: Warn) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    if place.server is not None:
        async with postgres_of().opened(_server(place, place.server), place.run, warn, name=name_of(place.file.parent)) as there:
            yield there
        return
    from research_agent.stores import checkpoint_file

    if not (damage.sound(place.file) and await checkpoint_file.reads(place.file, place.run)):
        await asyncio.to_thread(mend, place.file, warn)
    async with checkpoint_file.opened(place.file) as here:
        yield here


def mend(file: Path, warn: Warn, copy_of: Path | None = None) -> None:
    """Of a damaged file what can be read. What ran after the newest checkpoint in it is in the ledger: tools answer from there.

    Raises StoreError where that is nothing; of a copy it names the file that it is of.
    """
    from research_agent.stores import checkpoint_file

    new, saved = damage.rescue(file, checkpoint_file.create, ("checkpoints", "writes"), checkpoint_file.true)
    if not checkpoint_file.count(new):
        new.unlink()
        told = copy_of or file
        begin = f"move it away, and `research-agent resume {name_of(told.parent)}` begins again from what the ledger holds"
        raise StoreError(f"{told} is damaged, and none of its checkpoints can be read: {begin}")
    kept = damage.adopt(new, file)
    warn(f"{file.name} was damaged, and the run goes on from what can be read of it: {saved}; the damaged one is {kept.name}")


async def _carry(source: BaseCheckpointSaver[Any], target: BaseCheckpointSaver[Any], run: str) -> None:
    """All checkpoints of a run and what was written since, the newest last: cut short, it is done again."""
    found = [item async for item in source.alist(_thread(run))]
    texts = isinstance(target.get_next_version(None, None), str)
    for item in reversed(found):
        checkpoint = _numbered(item.checkpoint) if texts else item.checkpoint
        settings = item.config["configurable"]
        parent = item.parent_config["configurable"]["checkpoint_id"] if item.parent_config else None
        into = _thread(run, checkpoint_ns=settings["checkpoint_ns"], **({"checkpoint_id": parent} if parent else {}))
        after = await target.aput(into, checkpoint, item.metadata, checkpoint["channel_versions"])
        tasks: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in item.pending_writes or ():
            tasks.setdefault(task, []).append((channel, value))
        for task, writes in tasks.items():
            await target.aput_writes(after, writes, task)


def _numbered(checkpoint: Checkpoint) -> Checkpoint:
    """Its versions as the texts that some savers write where others write numbers: the two cannot be compared."""

    def text(versions: ChannelVersions) -> ChannelVersions:
        return {name: version if isinstance(version, str) else f"{int(version):032}.{0.0:016}" for name, version in versions.items()}

    seen = {node: text(versions) for node, versions in checkpoint["versions_seen"].items()}
    return {**checkpoint, "channel_versions": text(checkpoint["channel_versions"]), "versions_seen": seen}


def _thread(run: str, **more: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run, **more}}


def thread_of(run: str) -> RunnableConfig:
    """Where a session works: what it writes names the version of its state, wherever the checkpoints are and are carried to."""
    return {**_thread(run), "metadata": {_STATE: state.VERSION}}


def none_before(checkpoint: str) -> None:
    """From now on no checkpoint has an id before this one's, whatever the clock says, which may have been set back since.

    An id is the time at which it was made, and LangGraph takes the greatest for the newest: work would be done again.
    """
    ids._last_v6_timestamp = max(ids._last_v6_timestamp or 0, ids.UUID(checkpoint).time)  # type: ignore[assignment]


def refuse_newer(metadata: Mapping[str, Any] | None, run: str) -> None:
    """`metadata` is of the newest checkpoint. Raises RunError."""
    version = (metadata or {}).get(_STATE, 1)
    if version > state.VERSION:
        newest = f"this one reads up to {state.VERSION}"
        raise RunError(f"the state of run {run} has version {version}, written by a newer research-agent; {newest}: update it")


async def check(place: Place) -> None:
    """Raises RunError if a server's checkpoints of a run cannot be reached, or another process works on them."""
    if place.server is not None:
        async with postgres_of().opened(_server(place, place.server), place.run, _quiet, wait_s=0):
            pass


async def forget(place: Place) -> int:
    """Removes a run's rows from the server and looks whether they are gone; how many they were. A file goes with the folder."""
    if place.server is None:
        return 0
    async with postgres_of().opened(_server(place, place.server), place.run, _quiet, wait_s=0) as saver:
        count: int = await saver.rows()
        await saver.adelete_thread(place.run)
        if left := await saver.rows():
            raise StoreError(f"PostgreSQL at {place.server.place} still has {left} rows of run {place.run}")
        return count


def postgres_of() -> Any:
    """The module for PostgreSQL. Raises StoreError, which names the extra."""
    try:
        from . import postgres
    except ImportError as error:
        wanted = "pip install '.[postgres]'"
        raise StoreError(f"store.checkpoints names a PostgreSQL server, and its client cannot be loaded ({error}): {wanted}") from error
    return postgres


def _server(place: Place, url: PostgresUrl) -> postgres.Server:
    server: postgres.Server = postgres_of().Server(url, place.password)
    return server


def _quiet(text: str) -> None:
    del text
