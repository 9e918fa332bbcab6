"""The runs there are, as rows: a damaged one is among them, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research_agent.history.damaged import LEFT, seen_at_once
from research_agent.history.progress import progress
from research_agent.runs import RECORD, Run, RunError, is_run
from research_agent.stores.record import HALF_FORGOTTEN, PARTS

STATUSES = ("running", "waiting", "complete", "incomplete", "failed", "interrupted", HALF_FORGOTTEN, "damaged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    folder: str
    status: str
    reason: str = ""
    question: str = ""
    created: str = ""
    """ISO 8601, UTC."""
    steps: int = 0
    usd: float = 0.0
    parent: str = ""
    """The run it was forked from."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rows(out: Path, *, text: str = "", status: str = "") -> list[Row]:
    """The oldest first. `text`: whose question or id holds all of these words, whatever their case."""
    wanted = text.casefold().split()
    found = (_row(folder) for folder in _folders(out))
    return [row for row in found if (not status or row.status == status) and _holds(row, wanted)]


def _holds(row: Row, wanted: Sequence[str]) -> bool:
    held = f"{row.question} {row.id}".casefold()
    return all(word in held for word in wanted)


def _folders(out: Path) -> Iterator[Path]:
    if out.is_dir():
        for folder in sorted(out.iterdir()):
            if not folder.name.startswith(".") and (is_run(folder) or any((folder / name).exists() for name in PARTS)):
                yield folder


def _row(folder: Path) -> Row:
    run = Run(folder.absolute())
    try:
        record = run.read()
        status = _status(run, record)
        if status in ("running", "interrupted"):
            record = {**record, **progress(run)}
        if status in LEFT and (damage := seen_at_once(run)):
            status, record = "damaged", {**record, "reason": damage}
        parent = record.get("parent")
        return Row(
            id=run.id,
            folder=str(run.folder),
            status=status,
            reason=str(record.get("reason") or ""),
            question=str(record["question"]),
            created=str(record.get("created") or ""),
            steps=int(record.get("steps") or 0),
            usd=float(record.get("usd") or 0.0),
            parent=str(parent["id"]) if isinstance(parent, dict) else "",
        )
    except RunError as error:
        return Row(id=run.id, folder=str(run.folder), status="damaged", reason=str(error))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{folder / RECORD}: not a run's record: {type(error).__name__}: {error}"
        return Row(id=run.id, folder=str(run.folder), status="damaged", reason=reason)


def _status(run: Run, record: dict[str, Any]) -> str:
    try:
        return run.status_of(record)
    except OSError:  # a folder that cannot be written to: nobody works there
        return "interrupted"


def age(created: str, now: datetime | None = None) -> str:
    """`3 min`, `5 h`, `12 d`; `?` where it is not known, `now` where clocks went backwards."""
    try:
        then = datetime.fromisoformat(created)
    except ValueError:
        return "?"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now" if seconds < 1 else f"{int(seconds)} s"
