"""Async work from code that is not: the one edge between them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")


def now(work: Coroutine[Any, Any, Result]) -> Result:
    """Its result. Inside a running loop (a notebook's, say) the work gets a thread, and a loop, of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _to_its_end(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, _to_its_end, work).result()


def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, which in a main thread sets a handler of signals, and with it spells out the task with all its messages."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
