"""A run's checkpoints in a SQLite file: LangGraph's own saver, each operation one hop to a thread and not four, versions that are numbers.

The file is LangGraph's: its `SqliteSaver` and `AsyncSqliteSaver` read it, and this reads theirs.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from research_agent.memory.damage import Row

BUSY_TIMEOUT_S = 10.0
DAMAGE = (sqlite3.DatabaseError, ValueError, TypeError, KeyError, NotImplementedError)
"""What reading a damaged one raises: a value within a page may be damaged, and its database not know."""


class CheckpointFile(SqliteSaver):
    """`SqliteSaver` for async code. What it wrote is on disk when a call returns."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await asyncio.to_thread(lambda: list(self.list(config, filter=filter, before=before, limit=limit))):
            yield found

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    def get_next_version(self, current: Any, channel: None) -> Any:
        """A number. Theirs is a text of 49 characters, which every checkpoint repeats for every channel; a run begun so goes on so."""
        return super().get_next_version(current, channel) if isinstance(current, str) else (current or 0) + 1


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[CheckpointFile]:
    """Raises sqlite3.DatabaseError for a file that is none."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    saver = CheckpointFile(connection)
    try:
        yield saver
    finally:
        with saver.lock:  # a cancelled call's thread may still be writing
            connection.close()


def create(db: sqlite3.Connection) -> None:
    """Its tables."""
    SqliteSaver(db).setup()


def count(path: Path) -> int:
    """The checkpoints in a file that is whole."""
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM checkpoints").fetchone()[0])


async def reads(path: Path, run: str) -> bool:
    """Whether the newest checkpoint can be, where there is one."""
    async with opened(path) as saver:
        try:
            await saver.aget_tuple({"configurable": {"thread_id": run}})
        except DAMAGE:
            return False
    return True


def true(table: str, row: Row) -> bool:
    """Whether what a row holds can be read."""
    kind, value = row[-3:-1] if table == "checkpoints" else row[-2:]
    try:
        held = JsonPlusSerializer().loads_typed((kind, value))
        return table != "checkpoints" or (isinstance(held, dict) and isinstance(json.loads(row[-1]), dict))
    except DAMAGE:
        return False
