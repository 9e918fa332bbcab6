"""Is everything here that a run needs? One row a check, each with what to do about it. Nothing is written but in a folder of its own."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from research_agent.config import Config, ConfigError, ModelConfig
from research_agent.doctor import servers
from research_agent.doctor.row import Row
from research_agent.settings.shapes import PROVIDERS

if TYPE_CHECKING:
    from research_agent.graphs.ports import Model

Found = TypeVar("Found")

CHECK_S = 20.0
"""A check that takes longer has failed."""
LOW_MB, VERY_LOW_MB = 2_000, 200


OnRow = Callable[[Row], None]
Say = Callable[[str], None]


async def diagnose(path: Path | None, overrides: Sequence[str], *, offline: bool, on_row: OnRow, say: Say) -> bool:
    """Checks the machine and, with a config, what it names; True if everything needed works. `say` is told what will be asked, first."""
    works = True
    async for row in _rows(path, overrides, offline, say):
        works = works and row.state != "fail"
        on_row(row)
    return works


async def _rows(path: Path | None, overrides: Sequence[str], offline: bool, say: Say) -> AsyncIterator[Row]:
    config = None
    if path is not None:
        try:
            config = Config.load(path, question="Is everything here?", overrides=overrides)
            yield Row("config", "ok", str(path))
        except ConfigError as error:
            yield Row(
                "config", "fail", " ".join(str(error).split()), "change the config, or set the variable it names; the rest is the machine"
            )
    yield _python()
    yield await _timed("sandbox", lambda: _sandbox(config))
    yield await _timed("stores", _stores)
    yield await _timed("vectors", _vectors)
    if config is not None and not offline:
        async for row in servers.rows(config):
            yield row
    yield _disk(config.out if config else Path("runs"))
    yield await _timed("embedder", lambda: _embedder(config, offline))
    if config is None:
        yield _keys()
        return
    async for row in _search(config, offline, say):
        yield row
    async for row in _models(config, offline, say):
        yield row


async def within(check: str, work: Coroutine[Any, Any, Row], seconds: float = CHECK_S) -> Row:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return Row(check, "fail", f"no answer in {seconds:g} s", "see what it waits for, then try again")


async def _timed(check: str, look: Callable[[], Row]) -> Row:
    """A check that may block. Its thread is a daemon's: one that never comes back keeps nobody here."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    rows: list[Row] = []

    def work() -> None:
        try:
            rows.append(look())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this machine is what was asked for
            rows.append(Row(check, "fail", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", "install research-agent anew"))
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    async def waited() -> Row:
        threading.Thread(target=work, daemon=True).start()
        await done.wait()
        return rows[0]

    return await within(check, waited())


def _python() -> Row:
    from research_agent import __version__

    return Row(
        "python", "ok", f"research-agent {__version__}, Python {'.'.join(map(str, sys.version_info[:3]))}, SQLite {sqlite3.sqlite_version}"
    )


def _sandbox(config: Config | None) -> Row:
    from research_agent.sandbox.bubblewrap import available

    if config is not None and not config.python.enabled:
        return Row("sandbox", "skip", "python.enabled is false")
    if reason := available():
        remedy = "install bubblewrap (apt install bubblewrap), or set python.enabled to false"
        return Row("sandbox", "warn", f"the python tool will be off: {reason}", remedy)
    return Row("sandbox", "ok", "bubblewrap runs code without a network")


def _stores() -> Row:
    """A run's ledger and its checkpoints, made, read and deleted."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    from research_agent.memory import Archive, Segment

    async def remembered(folder: Path) -> bool:
        archive = Archive.open(folder, run="doctor")
        try:
            await archive.archive([Segment(run="doctor", step=1, kind="observation", text="Nine moons.", trust="own")])
            return bool(await archive.recall("moons", budget_tokens=100))
        finally:
            await archive.close()

    with tempfile.TemporaryDirectory() as name:
        if not asyncio.run(remembered(Path(name))):
            return Row(
                "stores", "fail", "what was archived is not found again: this SQLite has no FTS5", "use a Python whose sqlite3 has FTS5"
            )
        with SqliteSaver.from_conn_string(str(Path(name) / "checkpoints.sqlite")) as saver:
            saver.setup()
    return Row("stores", "ok", "ledger and checkpoints are written and read")


def _vectors() -> Row:
    import numpy as np

    from research_agent.memory.vectors import Vectors

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        vectors = Vectors.open(Path(name) / "vectors", run="doctor", identity="doctor", dimensions=2)
        vectors.upsert(["one"], np.array([[1.0, 0.0]], dtype=np.float32))
        found = vectors.query(np.array([1.0, 0.0], dtype=np.float32), 1)
        vectors.close()
    if [key for key, _ in found] != ["one"]:
        return Row("vectors", "fail", "Chroma does not find what was put into it", "install chromadb anew")
    return Row("vectors", "ok", "Chroma finds what was put into it")


def _disk(out: Path) -> Row:
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Row("disk", "fail", f"runs cannot be written to {there}: {error.strerror}", "set out (--out) to a folder of yours")
    free_mb = shutil.disk_usage(there).free / 1e6
    found = f"{free_mb / 1e3:,.1f} GB free for runs in {out}"
    if free_mb < LOW_MB:
        return Row("disk", "fail" if free_mb < VERY_LOW_MB else "warn", found, "free some: a long run takes 10 to 100 MB, its caches more")
    return Row("disk", "ok", found)


def _embedder(config: Config | None, offline: bool) -> Row:
    from research_agent.memory.embedders import choose, remedy
    from research_agent.memory.errors import EmbedderUnavailable, EmbeddingFailed

    wanted = config.memory.embedder if config else "auto"
    if offline and wanted.startswith("openai:"):
        return Row("embedder", "skip", f"{wanted}: offline")
    started = time.monotonic()
    try:
        choice = choose(wanted, api_key=config.embedder_key() if config else "")
        if choice.embedder is None:
            fine = wanted == "none"
            return Row("embedder", "ok" if fine else "warn", choice.reason.partition(f" ({remedy()})")[0], "" if fine else remedy())
        vectors = choice.embedder.embed(["How many moons?"])
    except (EmbedderUnavailable, EmbeddingFailed) as error:
        return Row("embedder", "fail", str(error), "set memory.embedder to auto, or make this one reachable")
    return Row("embedder", "ok", f"{choice.embedder.identity}: {vectors.shape[1]} dimensions, {time.monotonic() - started:.1f} s")


def _keys() -> Row:
    models = [ModelConfig(provider=provider) for provider in PROVIDERS]  # type: ignore[arg-type]
    there = [str(model.key_variable) for model in models if model.key_variable and Config.api_key(model)]
    if there:
        return Row("keys", "ok", f"set: {', '.join(there)}; `research-agent doctor CONFIG` tries one")
    return Row("keys", "ok", "none is set: the extractive model and models of your own need none")


async def _search(config: Config, offline: bool, say: Say) -> AsyncIterator[Row]:
    from research_agent.search.registry import PROVIDERS as SEARCHES
    from research_agent.search.registry import SearchOptions

    options = SearchOptions(searxng_url=config.search.searxng_url or "", keys=config.search_keys())
    web = [name for name in config.search.providers if name != "folder"]
    if web and not offline:
        say(f"asks {', '.join(web)} one search each")
    rows = []
    for name in config.search.providers:
        if name == "folder":
            rows.append(await _timed("search: folder", lambda: _folder(config)))
        elif offline:
            rows.append(Row(f"search: {name}", "skip", "offline"))
        else:
            rows.append(await within(f"search: {name}", _asked(name, SEARCHES[name](options))))
    works = any(row.state == "ok" for row in rows)
    for row in rows:  # one that works is enough
        yield Row(row.check, "warn", row.found, row.remedy) if row.state == "fail" and works else row


async def _asked(name: str, provider: Any) -> Row:
    from research_agent.search.provider import SearchFailed

    check, started = f"search: {name}", time.monotonic()
    try:
        found = await provider.search("moons of Jupiter", limit=3)
    except SearchFailed as error:
        remedy = "check its key or address" if error.why == "refused" else "wait a while, or add another to search.providers"
        return Row(check, "fail", str(error), remedy)
    if not found:
        return Row(check, "warn", "it answers, but finds nothing", "look at its engines")
    return Row(check, "ok", f"{len(found)} results in {time.monotonic() - started:.1f} s")


def _folder(config: Config) -> Row:
    folder = config.search.folder or Path()
    some = 0
    for path in folder.rglob("*"):
        some += path.is_file()
        if some == 1_000:
            break
    if not some:
        return Row("search: folder", "fail", f"{folder} holds no file", "set search.folder to the folder of your documents")
    return Row("search: folder", "ok", f"{folder}: {'1,000 files or more' if some == 1_000 else f'{some} files'}")


async def _models(config: Config, offline: bool, say: Say) -> AsyncIterator[Row]:
    from research_agent.doctor.model import cost, examine
    from research_agent.models.load import CannotLoad, load_roles

    try:
        models = load_roles(config)
    except CannotLoad as error:
        yield Row("model", "fail", str(error), "change the model in the config")
        return
    distinct: dict[int, Model] = {id(model): model for model in models.values()}
    for number, model in distinct.items():
        roles = [role for role, played in models.items() if id(played) == number]
        given = config.model_for(roles[0])
        of = "" if len(distinct) == 1 else f" ({', '.join(roles)})"
        if not offline and given.provider != "extractive":
            say(f"asks {model.name} at {model.host} two short questions: {cost(model)}")
        async for row in examine(model, given, has_key=Config.api_key(given) is not None, offline=offline):
            yield Row(f"{row.check}{of}", row.state, row.found, row.remedy)
