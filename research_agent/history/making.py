"""A new run's folder that is seen whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research_agent import runs
from research_agent.runs import Run


@contextmanager
def made(out: Path, question: str, **record: Any) -> Iterator[Run]:
    """A run's folder to be filled, out of sight; it is in `out` when this ends well, and gone when it does not."""
    with runs.built(out, question, **record) as run:
        yield run


def steps_before(run: Run) -> int:
    """Of a fork: the steps that were made before it began."""
    return int((run.read().get("parent") or {}).get("step", 0))
