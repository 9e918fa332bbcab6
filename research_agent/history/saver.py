"""A run's own checkpoint file, as a saver that goes on with whatever versions it finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    class Saver(AsyncSqliteSaver):
        def get_next_version(self, current: Any, channel: Any) -> Any:
            return current + 1 if isinstance(current, int) else super().get_next_version(current, channel)

    async with Saver.from_conn_string(str(path)) as saver:
        yield saver
