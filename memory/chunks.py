"""Where a text is cut: at paragraphs where it can, at sentences where it must, and inside one only when it has no end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .tokens import estimate_tokens

CHUNK_TOKENS = 200
"""What the common embedders read is 256 word pieces; the rest is silently not embedded."""
WINDOW_TOKENS = 60
"""What one vector stands for: two or three sentences. One fact in a vector of 200 tokens is drowned by what stands beside it."""
_HEADING_TOKENS = 8
"""A paragraph of less is the heading of what follows."""
_NOTHING = "-"
"""Is embedded where there is nothing to embed."""
Span = tuple[int, int]
"""Start and end in characters. The spans of one text cover it without a gap."""

_BORDER = re.compile(r"\n\s*\n\s*|\n|(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-ÞА-Я])|(?<=[。！？])")
_MARK = re.compile(r"[\n.!?。！？]")


def sentences(text: str, *, max_tokens: int = CHUNK_TOKENS) -> list[Span]:
    """Sentences and lines, each with the white space after it; one that is too long is cut between words."""
    spans: list[Span] = []
    start = 0
    for end in (*borders(text), len(text)):
        if end > start:
            spans.extend(_shorter(text, start, end, max_tokens))
            start = end
    return spans


@lru_cache(maxsize=16)  # a page is cut to be shown, and cut to be archived
def borders(text: str) -> tuple[int, ...]:
    """Where `_BORDER` ends, everywhere; looked for only where it can begin, for it fails slowly."""
    ends: list[int] = []
    at = 0
    while mark := _MARK.search(text, at):
        border = _BORDER.match(text, mark.start() if mark.group() == "\n" else mark.end())
        if border:
            ends.append(border.end())
        at = border.end() if border else mark.end()
    return tuple(ends)


def _shorter(text: str, start: int, end: int, max_tokens: int) -> Iterator[Span]:
    reach = 8 * max_tokens  # one word without end has a token in five characters
    while (cost := estimate_tokens(ahead := text[start : min(end, start + reach)])) > max_tokens or end - start > reach:
        size = min(max(len(ahead) * max_tokens // max(cost, 1), 1), len(ahead))
        space = text.rfind(" ", start + size // 2, start + size)
        cut = space + 1 if space > 0 else start + size
        yield start, cut
        start = cut
    if end > start:
        yield start, end


def chunks(text: str, *, size_tokens: int = CHUNK_TOKENS) -> list[Span]:
    """Spans of about `size_tokens`. A line's end is taken once a chunk is two thirds full."""
    spans: list[Span] = []
    start = end = held = 0
    for first, last in sentences(text, max_tokens=size_tokens):
        cost = estimate_tokens(text[first:last])
        full = held + cost > size_tokens * 1.15
        if held and (full or (held >= size_tokens * 2 / 3 and text[first - 1] == "\n")):
            spans.append((start, first))
            start, held = first, 0
        end = last
        held += cost
    if end > start:
        spans.append((start, end))
    return spans


def windows(text: str) -> list[Span]:
    """Spans of a chunk that are embedded each by itself: whole sentences of one paragraph, lines of a list or a table together."""
    spans: list[Span] = []
    start = end = held = 0
    for first, last in sentences(text, max_tokens=2 * WINDOW_TOKENS):
        cost = estimate_tokens(text[first:last])
        before = text[start:first]
        apart = held >= _HEADING_TOKENS and before.rstrip(" \t").endswith("\n\n")
        if held and (apart or held + cost > WINDOW_TOKENS or (held >= WINDOW_TOKENS / 3 and before.endswith("\n"))):
            spans.append((start, first))
            start, held = first, 0
        end = last
        held += cost
    if end > start:
        spans.append((start, end))
    return spans


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a segment, as it is indexed."""

    id: int
    segment: int
    """The segment's place in the ledger (`seq`)."""
    n: int
    title: str
    text: str
    key: str
    """`segment id:n`; its vectors are `segment id:n:window` in the index."""
    step: int = 0
    url: str = ""
    vectors: int = 0
    """So many of it are in the index."""
    asks: bool = False
    """It is a thought or a call: it may say what is asked, and seldom what answers."""

    @property
    def place(self) -> tuple[int, int]:
        """In the run. Calls made together are archived as they come back, in any order: their steps tell them apart, always the same."""
        return self.step, self.id

    def windows(self) -> dict[str, str]:
        """What is embedded, by key. One at least: what has no vector is waited for, and hosts refuse a text of blanks."""
        texts = [text for start, end in windows(self.text) if (text := self.text[start:end].strip())] or [_NOTHING]
        return {f"{self.key}:{w}": text for w, text in enumerate(texts)}
