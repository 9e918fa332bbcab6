"""A new run's folder that is seen whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research_agent import runs
from research_agent.runs import Run, RunError


@contextmanager
def made(out: Path, question: str, **record: Any) -> Iterator[Run]:
    """A run's folder to be filled, out of sight; it is in `out` when this ends well, and gone when it does not."""
    hidden = out.resolve() / f".making-{secrets.token_hex(4)}"
    try:
        run = runs.create(hidden, question, **record)
        yield run
        os.replace(run.folder, out.resolve() / run.id)
    except OSError as error:
        raise RunError(f"cannot make a run's folder in {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def steps_before(run: Run) -> int:
    """Of a fork: the steps that were made before it began."""
    return int((run.read().get("parent") or {}).get("step", 0))
