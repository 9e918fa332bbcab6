"""The runs there are as a table: columns that stand under each other, whatever the width of their letters."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from research_agent.history.listing import Row, age
from research_agent.visible import one_line

LEAST_QUESTION, LEAST_ID = 20, 15


def listed(rows: Sequence[Row]) -> Iterator[str]:
    """On a terminal a long question is cut to its line; elsewhere it is whole."""
    columns = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None
    ids = [one_line(row.id) for row in rows]
    if columns is not None and columns < max(map(len, ids)) + 60:
        ids = _shortened(ids)
    table = [[id, row.status, age(row.created), str(row.steps), f"${row.usd:.2f}"] for id, row in zip(ids, rows, strict=True)]
    head = ["ID", "STATUS", "AGE", "STEPS", "COST"]
    widths = [max(cell_len(line[n]) for line in (head, *table)) for n in range(len(head))]
    room = None if columns is None else max(LEAST_QUESTION, columns - sum(widths) - 2 * len(widths))
    yield _line([*head, "QUESTION"], widths, room)
    for cells, row in zip(table, rows, strict=True):
        told = row.reason if row.status == "damaged" else row.question
        yield _line([*cells, one_line(told)], widths, room)


def _shortened(ids: Sequence[str]) -> list[str]:
    """What they begin with, as long as it tells each from the others: a command takes that as well."""
    length = next((n for n in range(LEAST_ID, max(map(len, ids))) if len({id[:n] for id in ids}) == len(ids)), None)
    return [id[:length] for id in ids]


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    *fixed, last = cells
    padded = [
        " " * (width - cell_len(cell)) + cell if n >= 2 else set_cell_size(cell, width)
        for n, (cell, width) in enumerate(zip(fixed, widths, strict=True))
    ]
    if room is not None and cell_len(last) > room:
        last = set_cell_size(last, room - 1).rstrip() + "…"
    return "  ".join([*padded, last]).rstrip()
