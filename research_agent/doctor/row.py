"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Row:
    """`fail`: a run would not work, or not as configured. `warn`: it works with less. `skip`: not tried."""

    check: str
    state: State
    found: str
    remedy: str = ""
