"""Sentences of a Markdown text, as spans that keep it whole. A citation after the full stop belongs to the sentence before it."""

from __future__ import annotations

import re
from itertools import pairwise

from research_agent.report.citations import TOKEN

FENCE = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_CITED = rf"(?:[ \t]*{TOKEN.pattern})*"
_END = re.compile(
    rf"[.!?…][\"'”’»)\]*_]*{_CITED}(?=\s|$)|"
    rf"[。！？][”」』）]*{_CITED}|(?<![ \t]){_CITED}[ \t]*\n(?=[ \t]*\n|[ \t]*(?:[-*+>|#]|\d+[.)])[ \t|]?)"
)
_HEAD = re.compile(r"\*\*[^*\n]+\*\*:?$|#{1,6}\s[^\n]*$|\|[-|:\s]+$")
_NO_END = re.compile(
    r"(?:^|[\s(\"'“])(?:[A-Z]|[A-Z]\.[A-Z]|Dr|Mrs?|Ms|Prof|St|vs|cf|e\.g|i\.e|ca|approx|No|Nos|Fig|Eq|Vol|al|Inc|Ltd|Jr|Sr)\.$"
)


def spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, list item, table row or fenced block that is not blank; in order, without gaps but blank ones."""
    found: list[tuple[int, int]] = []
    at = 0
    for fence in FENCE.finditer(text):
        found += _prose(text, at, fence.start())
        found.append((fence.start(), fence.end()))
        at = fence.end()
    return found + _prose(text, at, len(text))


def fences(text: str) -> list[tuple[str, bool]]:
    """The text in pieces, and of each whether it is a fenced block."""
    found, at = list[tuple[str, bool]](), 0
    for fence in FENCE.finditer(text):
        found += [(text[at : fence.start()], False), (fence.group(), True)]
        at = fence.end()
    return [*found, (text[at:], False)]


def split(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in spans(text)]


def without_last(text: str) -> str:
    """The text without its last sentence, and without a heading or table head that then stands over nothing; empty at the end."""
    found = spans(text)[:-1]
    while found and _HEAD.match(text[slice(*found[-1])].strip()):
        found.pop()
    return text[: found[-1][1]].rstrip() if found else ""


def _prose(text: str, start: int, end: int) -> list[tuple[int, int]]:
    cuts = [match.end() for match in _END.finditer(text, start, end) if not _abbreviated(text, match)]
    edges = [start, *cuts, end]
    return [(a, b) for a, b in pairwise(edges) if text[a:b].strip()]


def _abbreviated(text: str, match: re.Match[str]) -> bool:
    return match.group() == "." and _NO_END.search(text[max(0, match.start() - 12) : match.end()]) is not None
