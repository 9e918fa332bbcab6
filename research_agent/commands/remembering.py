"""What the `memory` commands do. Searching and exporting only read: they work beside a running run, and where nothing can be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from research_agent import runs
from research_agent.config import Config
from research_agent.graphs.observation import render
from research_agent.graphs.window import shown
from research_agent.memory import Archive, Embedder, parse_handle
from research_agent.memory.embedders import choose
from research_agent.memory.remedy import rebuild_of
from research_agent.memory.transfer import check, head
from research_agent.redact import Redactor
from research_agent.runs import Run, RunError
from research_agent.stores import places
from research_agent.stores.record import has_record

Say = Callable[[str], None]


def _embedder(spec: str) -> Embedder | None:
    return choose(spec, api_key=Config.key_of(spec)).embedder


def _spec(run: Run) -> str:
    return str(run.read().get("config", {}).get("memory", {}).get("embedder", "auto"))


def _server(run: Run) -> str:
    """Of its vectors; empty where they are in its folder."""
    return places.recorded(run.read()).vectors or ""


@asynccontextmanager
async def _read(run: Run, embedder: Embedder | None = None) -> AsyncIterator[Archive]:
    archive = Archive.open(run.folder, run=run.id, embedder=embedder, vectors=_server(run), read_only=True)
    try:
        yield archive
    finally:
        await archive.close()


async def search(id: str, out: Path, query: str, tokens: int, *, say: Say) -> list[str]:
    """What a run remembers, as text. Why it went by words although there is an embedder is said."""
    run = runs.find(id, out)
    async with _read(run) as archive:
        if segment := archive.get(query):
            return [render([shown(segment, segment.text)])]
    async with _read(run, _embedder(_spec(run))) as archive:
        if failure := await asyncio.to_thread(archive.opened):
            words = failure if "by words" in failure else f"{failure}: recall ranks by words"
            say(f"{words}; {rebuild_of(run.folder)} makes them anew" if archive.damaged else words)
        passages = await archive.recall(query, budget_tokens=tokens)
        nothing = f"{query}: no such handle in {run.id}" if parse_handle(query.strip()) else "nothing on that"
        return [render([shown(passage.segment, passage.text)]) for passage in passages] or [nothing]


async def rebuild(id: str, out: Path, spec: str) -> str:
    """Makes the index anew from the ledger; says what it did. `spec`: by this embedder, which the run then keeps."""
    run = runs.find(id, out)
    if not (run.folder / "ledger.sqlite").is_file():  # to open it is to make it, and an empty one looks like a memory
        raise RunError(f"there is no memory in {run.folder}: its ledger.sqlite is gone, and an index is made of nothing else")
    with run.lock():
        embedder = _embedder(spec or _spec(run))
        archive = Archive.open(run.folder, run=run.id, embedder=embedder, vectors=_server(run), accept_loss=True)
        try:
            await archive.rebuild()
            stats, mended = archive.stats(), archive.mended
        finally:
            await archive.close()
        if stats.failure:
            raise RunError(f"{run.id}: {stats.indexed:,} of {stats.chunks:,} vectors were made, then: {stats.failure}")
        if spec:
            config = run.read().get("config", {})
            run.update(config={**config, "memory": {**config.get("memory", {}), "embedder": spec}})
    vectors = f"{stats.indexed:,} vectors by {embedder.identity}" if embedder else "no vectors, for there is no embedder"
    told = f"rebuilt the index of {run.id}: {stats.segments:,} segments in {stats.chunks:,} pieces, {vectors}"
    return f"{told}; {mended}" if mended else told


async def export(id: str, out: Path, file: Path) -> str:
    run = runs.find(id, out)
    async with _read(run) as archive:
        count = await asyncio.to_thread(archive.export, file, about={"question": str(run.read().get("question", ""))})
    return f"exported {count:,} segments of {run.id} to {file}"


def _folder(into: Path) -> Run:
    try:
        if into.exists() and any(into.iterdir()) and not (into / "ledger.sqlite").is_file():
            raise RunError(f"{into} holds something else: import into a new folder")
        if has_record(into) and Run(into.resolve()).read().get("status") != "imported":
            raise RunError(f"{into} is a run of its own: import into a new folder, and name it in memory.also")
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{into} cannot be made: {error.strerror or error}") from error
    return Run(into.resolve())


async def import_(file: Path, into: Path, spec: str, *, say: Say) -> str:
    """A folder like a run's, of an export. It is looked at whole before anything is made."""
    await asyncio.to_thread(check, file)
    about, redact, choice = head(file), Redactor(), choose(spec, api_key=Config.key_of(spec))
    if choice.embedder is None:
        say(choice.reason)
    run = _folder(into)
    with run.lock():
        archive = Archive.open(run.folder, run=run.id, embedder=choice.embedder)
        try:
            count = await archive.import_(file, redact=redact)
            await archive.flush()
            stats = archive.stats()
        finally:
            await archive.close()
        if not has_record(run.folder):
            question = redact(str(about["about"].get("question", "")))
            memory = {"memory": {"embedder": spec}}
            run.update(id=run.id, question=question, status="imported", reason=f"from {about['run']}", created=runs.now(), config=memory)
    if stats.failure:
        say(f"its vectors were not made: {stats.failure}")
    return f"imported {count:,} new segments into {run.folder}; {stats.segments:,} are there"
