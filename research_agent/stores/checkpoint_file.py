"""A run's checkpoints in a SQLite file: LangGraph's own saver, each operation one hop to a thread and not four, versions that are numbers.

The file is LangGraph's: its `SqliteSaver` and `AsyncSqliteSaver` read it, and this reads theirs.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

BUSY_TIMEOUT_S = 10.0


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
