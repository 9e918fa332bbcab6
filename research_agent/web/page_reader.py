"""Reads what was fetched, in children of ours: a page that hangs, crashes or exhausts its parser costs that page."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from research_agent.reading.page import Page
from research_agent.search.readers import Readers
from research_agent.web.net import Fetched

TIMEOUT_S = 45.0
_MOST_CHILDREN = 4


class PageReader:
    """A few children, started when first needed. Use it as a context manager."""

    def __init__(self, *, children: int | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._readers = Readers(timeout_s=timeout_s)
        self._pool = ThreadPoolExecutor(children or min(_MOST_CHILDREN, os.cpu_count() or 1), "page-reader")

    async def read(self, answer: Fetched) -> Page:
        """Raises Unreadable."""
        name = unquote(PurePosixPath(urlsplit(answer.url).path).name)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool,
            lambda: self._readers.read(answer.body, name, content_type=answer.content_type, charset=answer.charset),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._readers.kill()
        self._pool.shutdown(cancel_futures=True)
        self._readers.__exit__(kind, error, trace)
