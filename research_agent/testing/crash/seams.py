"""The places where a kill hurts most, by name: where one thing has been done and the next that belongs to it has not.

`arm("ledger.add.after", hit=3)` kills this process, by SIGKILL, when it comes there for the third time. It wraps the function that stands
there, in this process only: the code that users run knows nothing of it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

When = Literal["before", "after", "half"]


@dataclass(frozen=True, slots=True)
class Place:
    """A function, and the argument that must hold a word for it to count."""

    module: str
    name: str
    """`function`, or `Class.method`."""
    whens: tuple[When, ...] = ("before", "after")
    word: str = ""


PLACES: dict[str, Place] = {
    "planning": Place("research_agent.graphs.plan", "ask"),
    "thinking": Place("research_agent.graphs.investigate", "call"),
    "turn.archived": Place("research_agent.graphs.investigate", "_archived"),
    "ledger.add": Place("research_agent.memory.ledger", "Ledger.add"),
    "ledger.segment": Place("research_agent.memory.ledger", "Ledger._add"),  # after: within the transaction
    "ledger.body": Place("research_agent.memory.ledger", "Ledger.put_body"),
    "checkpoint": Place("research_agent.stores.checkpoint_file", "CheckpointFile.aput"),
    "checkpoint.writes": Place("research_agent.stores.checkpoint_file", "CheckpointFile.aput_writes"),
    "tool": Place("research_agent.graphs.act", "_run"),  # after: it has returned, and nothing of it is archived
    "workspace": Place("research_agent.assets.before", "_copied", ("after",)),
    "note": Place("research_agent.graphs.act", "_noted"),
    "shown": Place("research_agent.graphs.act", "written"),
    "compaction": Place("research_agent.graphs.investigate", "compact"),
    "review": Place("research_agent.graphs.review", "ask_within"),
    "writing": Place("research_agent.graphs.write", "ask_within"),
    "event": Place("research_agent.stores.lines", "Lines.append", ("before", "half", "after")),  # also of the call in flight
    "run.made": Place("research_agent.runs", "Run.update", ("before",)),
    "run.json": Place("os", "replace", word="run.json"),
    "findings.json": Place("os", "replace", word="findings.json"),
    "report.md": Place("os", "replace", word="report.md"),
    "reopened": Place("research_agent.session", "Session._reopen"),
    "vectors": Place("research_agent.memory.vectors", "Vectors.upsert"),
    "vectors.marked": Place("research_agent.memory.ledger", "Ledger.mark_indexed"),
}
SEAMS: tuple[str, ...] = tuple(f"{name}.{when}" for name, place in PLACES.items() for when in place.whens)


def arm(seam: str, hit: int = 1) -> None:
    """Kills this process when it comes to `seam` for the `hit`-th time."""
    name, _, when = seam.rpartition(".")
    place = PLACES[name]
    owner: Any = importlib.import_module(place.module)
    *classes, attribute = place.name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    original = inspect.getattr_static(owner, attribute)
    setattr(owner, attribute, _wrapped(original, when, place.word, _countdown(hit)))


def _countdown(hit: int) -> Callable[[], None]:
    left = hit

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _wrapped(original: Callable[..., Any], when: str, word: str, reached: Callable[[], None]) -> Callable[..., Any]:
    def meant(args: tuple[Any, ...]) -> bool:
        return not word or any(str(arg).endswith(word) for arg in args)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def waited(*args: Any, **kwargs: Any) -> Any:
            if when == "before" and meant(args):
                reached()
            value = await original(*args, **kwargs)
            if when == "after" and meant(args):
                reached()
            return value

        return waited

    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        if when == "before" and meant(args):
            reached()
        if when == "half":  # a write that is cut in its middle
            original(*args[:-1], args[-1][: len(args[-1]) // 2])
            reached()
            return original(*args[:-1], args[-1][len(args[-1]) // 2 :])
        value = original(*args, **kwargs)
        if when == "after" and meant(args):
            reached()
        return value

    return called
