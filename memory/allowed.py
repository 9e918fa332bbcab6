"""Which segments of a run may be recalled, and that as SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .segment import Kind
from .words import folded


@dataclass(frozen=True, slots=True)
class Filter:
    run: str
    kinds: Sequence[Kind] = ()
    source: str = ""
    """An id, a handle, or a part of a URL or title."""
    since_step: int = 0
    exclude: frozenset[str] = frozenset()

    @property
    def narrow(self) -> bool:
        return bool(self.kinds or self.source or self.since_step or self.exclude)


def where_of(allowed: Filter) -> tuple[str, list[Any]]:
    """The condition on a segment `s`, and its values."""
    where: list[str] = ["s.run = ?"]
    values: list[Any] = [allowed.run]
    if allowed.kinds:
        where.append("s.kind IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(allowed.kinds)))
    if allowed.since_step:
        where.append("s.step >= ?")
        values.append(allowed.since_step)
    if allowed.exclude:
        where.append("s.id NOT IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(allowed.exclude)))
    if allowed.source:
        where.append("(s.id = ? OR instr(folded(s.url), ?) OR instr(folded(s.title), ?))")
        values.extend((allowed.source, folded(allowed.source), folded(allowed.source)))
    return " AND ".join(where), values
