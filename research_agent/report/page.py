"""A report's parts as Markdown, citations still as tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote, urlsplit

from research_agent.memory.segment import Segment
from research_agent.report.citations import anchor
from research_agent.report.inert import block, clean, line


@dataclass(frozen=True, slots=True)
class Listed:
    """A source in the list, with the quotes that stand under it."""

    number: int
    segment: Segment
    folder: str = ""
    quotes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    title: str
    notes: Sequence[str]
    """Markdown of our own, each a paragraph."""
    answer: str
    sections: Sequence[tuple[str, str]]
    """Heading and text."""
    sources: Sequence[Listed]
    files: Sequence[str]
    """What code made and the text does not show."""
    flags: Sequence[str]
    failures: Sequence[str]
    footer: str = ""

    def markdown(self) -> str:
        parts = [f"# {line(self.title)}", *(f"> {note}" for note in self.notes), "## Short answer", block(self.answer)]
        for heading, text in self.sections:
            parts += [f"## {line(heading)}", block(text)]
        if self.sources:
            parts += ["## Sources", "\n\n".join(map(_source, self.sources))]
        if self.files:
            parts += ["## Files", "\n".join(f"- {file}" for file in self.files)]
        if self.flags:
            parts += ["## To check", "\n".join(f"- {flag}" for flag in self.flags)]
        if self.failures:
            parts += ["## What did not work", "\n".join(f"- {failure}" for failure in self.failures)]
        if self.footer:
            parts.append(self.footer)
        return "\n\n".join(part for part in parts if part) + "\n"


def quoted(text: str) -> str:
    """A quote as it stands under its source."""
    return f"> {line(text)}"


def _source(listed: Listed) -> str:
    indent = " " * (len(str(listed.number)) + 2)
    head = f"{listed.number}. {anchor(listed.number)}{_reference(listed.segment, listed.folder)}"
    return "\n\n".join([head, *(indent + quoted(text) for text in listed.quotes)])


def _reference(segment: Segment, folder: str) -> str:
    """Title as a link, where it leads, and when it was read: `[Title](https://h/p), h, retrieved 2026-11-22`."""
    url = clean(segment.url).strip()
    target, place = _target(url, folder)
    title = " ".join(clean(segment.title).split()) or place or f"{segment.tool or 'output'} of step {segment.step}"
    parts = [f"[{line(title, in_link=True)}](<{target}>)" if target else line(title)]
    if place and place != title:
        parts.append(line(place))
    if segment.retrieved_at:
        parts.append(f"retrieved {line(segment.retrieved_at[:10])}")
    if segment.earlier_run:
        parts.append(f"read by the earlier run {line(segment.earlier_run)}")
    return ", ".join(parts)


def _target(url: str, folder: str) -> tuple[str, str]:
    """What may be linked to, and its host or file name. Only http(s) and absolute paths are linked."""
    scheme = re.match(r"(?i)([a-z][a-z0-9+.-]+):", url)
    if scheme is None and not url.startswith("//"):
        path = PurePath(folder, url)
        return (
            quote(str(path), safe="/@+=,;:()!$'~-_.") if url and path.is_absolute() else "",
            path.name if url else "",
        )
    if scheme is None or scheme[1].lower() not in ("http", "https"):
        return "", ""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return "", ""
    return (quote(url, safe="/@+=,;:()!$'~-_.?#&%[]*"), host) if host else ("", "")
