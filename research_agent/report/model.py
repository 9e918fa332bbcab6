"""What a report is made of, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from research_agent.assets.keep import Asset
from research_agent.graphs.state import Failure, SubQuestion
from research_agent.memory.segment import Segment

Verdict = Literal["supported", "weak", "unsupported", "uncited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding and the archived observation that holds its quote."""

    id: str
    claim: str
    quote: str
    source: Segment
    sub_question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigation:
    """A run that has ended, as its report sees it."""

    question: str
    plan: Sequence[SubQuestion]
    draft: Mapping[str, Any] | None
    """`answer`, and `sections` of `sub_question` and `text`, cited by handle; None when it was never written."""
    findings: Sequence[Found] = ()
    lookup: Callable[[str], Segment | None]
    """An archived segment by handle or id."""
    assets: Sequence[Asset] = ()
    """What the run's code made."""
    data_of: Callable[[Asset], bytes] = field(default=lambda asset: b"")
    status: Literal["complete", "incomplete", "failed"] = "complete"
    reason: str = ""
    failures: Sequence[Failure] = ()
    model: str = ""
    """The writer's name."""
    extractive: bool = False
    """No language model wrote the draft: it is made of quotations."""
    max_words: int | None = None
    """Of the whole Markdown file, counted between whitespace."""
    folder: str = ""
    """What the relative paths among the sources are relative to; without it they are named, not linked."""
    finished_at: str = ""
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One sentence of the report beside what it cites."""

    sentence: str
    sources: tuple[int, ...]
    verdict: Verdict
    missing: tuple[str, ...] = ()
    """Names and numbers that nothing it cites holds."""
    evidence: str = ""
    """The words nearest to it in what it cites."""


@dataclass(frozen=True, slots=True)
class Report:
    markdown: str
    html: str
    answer: str
    """The short answer as it stands in the Markdown, its citations numbered."""
    sources: tuple[dict[str, Any], ...]
    """`number, id, url, title, retrieved_at, tool`, and `run` where an earlier one read it: those cited first, then findings' only."""
    findings: tuple[dict[str, Any], ...]
    """`id, claim, quote, source, sub_question`; source is a number."""
    audit: tuple[Checked, ...]
    struck: tuple[str, ...]
    """Cited handles that name nothing that was read; they are removed from the text."""
    words: int
