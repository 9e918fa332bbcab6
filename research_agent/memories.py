"""The memory of a run, opened as its config says, and those of the earlier runs that it may recall from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from research_agent import runs
from research_agent.config import Config, ConfigError
from research_agent.memory import Archive, EmbedderUnavailable
from research_agent.memory.embedders import Choice, Embedder, choose
from research_agent.runs import Run, RunError
from research_agent.stores import places

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Memories:
    archive: Archive
    earlier: tuple[Archive, ...]
    """Read only."""


async def chosen(config: Config) -> Choice:
    """The embedder, before anything is made or asked. Raises ConfigError for one that is named and not here."""
    try:
        return await asyncio.to_thread(choose, config.memory.embedder, api_key=config.embedder_key())
    except EmbedderUnavailable as error:
        raise ConfigError(f"memory.embedder: {config.memory.embedder!r} cannot be had: {error}; allowed: auto, none, onnx, ...") from error


@asynccontextmanager
async def open_memories(config: Config, run: Run, choice: Choice, warn: Warn, *, begun: bool) -> AsyncIterator[Memories]:
    """Raises ArchiveError and RunError, each in one line. A run that was `begun` goes on by words while its vectors' server is down: what
    they lack is made up for, but a server that never answered may be another than was meant.
    """
    if choice.embedder is None and config.memory.embedder == "auto":
        warn(choice.reason)
    if choice.embedder is None and config.store.vectors:
        warn(f"store.vectors: {config.store.vectors} is not used: there is no embedder to make vectors")
    async with AsyncExitStack() as stack:
        vectors = config.store.vectors or ""
        loop = asyncio.get_running_loop()

        def failed(why: str) -> None:
            loop.call_soon_threadsafe(warn, f"the memory works without vectors for now, recall goes by words: {why}")

        opening = partial(Archive.open, run.folder, run=run.id, embedder=choice.embedder, vectors=vectors, on_failure=failed)
        archive = opening(changed=config.memory.changed, patient=begun)
        stack.push_async_callback(archive.close, flush=False)  # who ends well has waited for its vectors; who is stopped does not
        if archive.mended:
            warn(archive.mended)
        earlier = [await stack.enter_async_context(_earlier(name, config, run, choice.embedder, warn)) for name in config.memory.also]
        yield Memories(archive, tuple(earlier))


@asynccontextmanager
async def _earlier(name: str, config: Config, run: Run, embedder: Embedder | None, warn: Warn) -> AsyncIterator[Archive]:
    found = runs.find(name, config.out)
    if found.folder == run.folder:
        raise RunError(f"memory.also: {name} is this run itself")
    found.refuse_half_forgotten()
    vectors = places.recorded(found.read()).vectors or ""
    archive = Archive.open(found.folder, run=found.id, embedder=embedder, vectors=vectors, read_only=True)
    try:
        if failure := await asyncio.to_thread(archive.opened):
            remedy = (
                f"; `research-agent memory rebuild {found.name} --embedder {config.memory.embedder}` makes vectors that this run can use"
            )
            warn(f"memory.also: {failure}{'' if 'written' in failure else remedy}. What {found.id} read is recalled by words")
        yield archive
    finally:
        await archive.close()
