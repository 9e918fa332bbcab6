"""A segment: one thing thought, called, read, found, planned or answered. Frozen, and keyed so that writing it twice is writing it once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["reasoning", "call", "observation", "finding", "plan", "answer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Trust = Literal["own", "untrusted"]
"""`own`: written by the agent or the user. `untrusted`: came from outside; it never re-enters a prompt as instructions."""

MAX_ORDINALS = 100
"""Segments of one kind that one step may have: a handle is the step and two digits."""

MAX_STEP = 10**12
"""What a database's whole numbers hold, with room for a handle's two digits."""

_EARLIER = "earlier run "
_HANDLE = re.compile(r"\[?S(\d+)(\d\d)\]?")


def handle(step: int, ordinal: int) -> str:
    """What the model calls an observation: `S1203` is step 12's fourth. Depends on nothing but where it stands in the run."""
    if not 0 <= ordinal < MAX_ORDINALS:
        raise ValueError(f"ordinal {ordinal}: a step has at most {MAX_ORDINALS} segments of one kind")
    return f"S{step}{ordinal:02d}"


def parse_handle(text: str) -> tuple[int, int] | None:
    """Step and ordinal of a handle, bare or in brackets; None for anything else."""
    match = _HANDLE.fullmatch(text.strip())
    return (int(match[1]), int(match[2])) if match else None


def thread_of(run: str) -> str:
    """The `thread` of what was taken over from an earlier run; `main` if there is none."""
    return f"{_EARLIER}{run}" if run else "main"


def content_hash(text: str) -> str:
    """SHA-256 of the text, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One thing of one run. `id` follows from run, thread, step, kind and ordinal, so a repeated write changes nothing."""

    run: str
    thread: str = "main"
    step: int
    """The tool call it belongs to, counted from 1 over the run; 0 is before the first."""
    kind: Kind
    ordinal: int = 0
    text: str
    """Whole and redacted."""
    trust: Trust
    sub_question: str = ""
    tool: str = ""
    url: str = ""
    title: str = ""
    retrieved_at: str = ""
    """ISO 8601, UTC."""
    tokens: int = 0
    args_hash: str = ""
    """Of a call's canonical arguments, or of all that a finding says: finds the same one made before."""
    quote: str = ""
    """A finding's exact words."""
    source: str = ""
    """A finding's source: the id of the observation that holds the quote."""
    supersedes: str = ""

    @property
    def id(self) -> str:
        key = "\x1f".join((self.run, self.thread, str(self.step), self.kind, str(self.ordinal)))
        return hashlib.sha256(key.encode()).hexdigest()[:24]

    @property
    def earlier_run(self) -> str:
        """The run that read it, where that was not this one; empty otherwise."""
        return self.thread.removeprefix(_EARLIER) if self.thread.startswith(_EARLIER) else ""

    @property
    def handle(self) -> str:
        return handle(self.step, self.ordinal)


def check(segment: Segment, run: str) -> None:
    """Raises ValueError, in one line that names what is allowed, for what an archive of this run could not find or show again."""
    ordinals = MAX_ORDINALS if segment.kind == "observation" else MAX_STEP
    for name, right, allowed in (
        ("run", segment.run == run, f"this is the archive of run {run!r}"),
        ("kind", segment.kind in KINDS, ", ".join(KINDS)),
        ("trust", segment.trust in get_args(Trust), ", ".join(get_args(Trust))),
        ("step", _is_below(segment.step, MAX_STEP), f"a whole number from 0 to {MAX_STEP - 1}"),
        ("ordinal", _is_below(segment.ordinal, ordinals), f"for kind {segment.kind!r}, a whole number from 0 to {ordinals - 1}"),
    ):
        if not right:
            raise ValueError(f"a segment's {name} cannot be {getattr(segment, name)!r}; allowed: {allowed}")


def _is_below(number: object, limit: int) -> bool:
    return isinstance(number, int) and 0 <= number < limit


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of an archived segment, as recall returns it."""

    segment: Segment
    text: str
    """Of the segment's own words; `[...]` stands where some between are left out."""
    score: float
    """Best first when sorted by it; comparable within one recall only."""
