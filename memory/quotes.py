"""Whether words stand in a text. Every word, in order; how they are set (spaces, quote marks, dashes, emphasis, case) does not matter."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

MIN_WORDS = 3
"""Fewer words say too little to be evidence, unless they are a whole line."""

_WORD = re.compile(r"\w+")
_ELLIPSIS = re.compile(r"\s*[\[(]?(?:\.\s?\.\s?\.|…)[\])]?\s*")
_PIECE = re.compile(
    r"(?P<word>[A-Za-z0-9]+)"
    r"|(?P<skip>(?m:^)[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+)+"  # the marks that open a Markdown line
    r"|(?<=\])\([^()\s]*\)"  # a link's target
    r"|</?(?:b|i|em|strong|sup|sub|span|a|u|code)\b[^<>]*>"
    r"|[*_`\\\[\]\u00ad\u200b-\u200f\u2060\ufeff])"
    r"|(?P<space>\n|[^\S\n]+|\|)"
    r"|(?P<dash>[-\u2010-\u2015\u2212\ufe58\uff0d]+\s*)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_QUOTE_MARKS = "'\"‘’‚‛“”„‟′″´«»‹›＇＂"
_EDGES = " '.,;:!?"
_MINUS = "-\u2212\u2013"
_EMPHASIS = "*_`"


@dataclass(frozen=True, slots=True)
class _Plain:
    """A text with its setting taken out, and where each piece of it came from."""

    text: str
    starts: list[int]
    """Of each piece, in `text`."""
    spans: list[tuple[int, int]]
    """Of each piece, in the original."""

    def original(self, start: int, end: int) -> tuple[int, int]:
        """A stretch of `text` as a stretch of the original."""
        return self._at(start)[0], self._at(end - 1)[1]

    def _at(self, index: int) -> tuple[int, int]:
        piece = bisect_right(self.starts, index) - 1
        start, end = self.spans[piece]
        length = (self.starts[piece + 1] if piece + 1 < len(self.starts) else len(self.text)) - self.starts[piece]
        if length != end - start:  # a character that became several, or several that became one
            return start, end
        offset = start + index - self.starts[piece]
        return offset, offset + 1


def _plain(text: str) -> _Plain:
    pieces: list[str] = []
    starts: list[int] = []
    spans: list[tuple[int, int]] = []
    length, last = 0, " "
    for match in _PIECE.finditer(text):
        kind, piece = match.lastgroup, match[0]
        if kind == "skip" or (kind == "space" and last in " -"):
            continue
        if kind == "space":
            piece = " "
        elif kind == "dash":
            piece = "-"
            if last == "-":
                continue
            if last == " " and pieces:  # a dash with spaces around it is a dash without
                pieces.pop(), starts.pop(), spans.pop()
                length -= 1
        else:
            piece = piece.lower() if kind == "word" else _folded(piece)
            if not piece:
                continue
        pieces.append(piece)
        starts.append(length)
        spans.append(match.span())
        length += len(piece)
        last = piece[-1]
    return _Plain("".join(pieces), starts, spans)


def _folded(char: str) -> str:
    if char in _QUOTE_MARKS:
        return "'"
    if unicodedata.decomposition(char).startswith(("<super>", "<sub>", "<fraction>")):
        return char  # 10² is not 102
    return unicodedata.normalize("NFKD", char.casefold())


def locate(quote: str, text: str) -> str | None:
    """The quote as it stands in `text`, or None. An ellipsis may join stretches of it that follow each other."""
    exact = quote.strip()
    at = text.find(exact)
    if at >= 0 and len(_WORD.findall(exact)) >= MIN_WORDS and _whole_words(text, at, at + len(exact)):
        return _cut(text, at, at + len(exact))  # copied as it was asked for: the rest is a hundred times slower
    source = _plain(text)
    whole = _find(quote, source, text, 0)
    if whole:
        return _cut(text, *whole)
    parts = [part for part in _ELLIPSIS.split(quote) if part.strip()]
    if len(parts) < 2:
        return None
    found: list[str] = []
    at = 0
    for part in parts:
        stretch = _find(part, source, text, at)
        if stretch is None:
            return None
        found.append(_cut(text, *stretch))
        at = stretch[1]
    return " … ".join(found)


def _find(quote: str, source: _Plain, text: str, after: int) -> tuple[int, int] | None:
    """The first stretch of `text`, from `after` on, that says the quote."""
    quote = _plain(quote).text
    short = len(_WORD.findall(quote)) < MIN_WORDS
    for wanted in dict.fromkeys((quote.strip(), quote.strip(_EDGES))):
        at = source.text.find(wanted) if wanted else -1
        while at >= 0:
            start, end = source.original(at, at + len(wanted))
            if start >= after and _whole_words(text, start, end) and not (short and not _whole_line(text, start, wanted)):
                return start, end
            at = source.text.find(wanted, at + 1)
    return None


def _whole_words(text: str, start: int, end: int) -> bool:
    """A stretch that begins or ends inside a word or a number is another word."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return not (_goes_on(text[start], before[::-1]) or _signed(text[start], before) or _goes_on(text[end - 1], after))


def _goes_on(edge: str, beyond: str) -> bool:
    """`beyond`: the next two characters outwards. A number goes on over a point or a comma: `3` is not `3.5`."""
    if not edge.isalnum() or not beyond:
        return False
    return beyond[0].isalnum() or bool(unicodedata.combining(beyond[0])) or (edge.isdigit() and beyond[0] in ".," and beyond[1:].isdigit())


def _signed(edge: str, before: str) -> bool:
    """`5` is not `-5`; but it is the end of `3-5`."""
    return edge.isdigit() and before[-1:] != "" and before[-1] in _MINUS and not before[:-1].isalnum()


def _whole_line(text: str, at: int, wanted: str) -> bool:
    reach = 4 * len(wanted) + 40  # with its marks; a longer line need not be looked at
    start, end = text.rfind("\n", max(0, at - reach), at) + 1, text.find("\n", at, at + reach)
    if (start == 0 and at > reach) or (end < 0 and len(text) > at + reach):
        return False
    return _plain(text[start : end if end >= 0 else len(text)]).text.strip(_EDGES) == wanted.strip(_EDGES)


def _cut(text: str, start: int, end: int) -> str:
    """With the emphasis that opens or closes inside it."""
    inside = text[start:end]
    while start > 0 and text[start - 1] in _EMPHASIS and text[start - 1] in inside:
        start -= 1
    while end < len(text) and text[end] in _EMPHASIS and text[end] in inside:
        end += 1
    return text[start:end]


def closest(quote: str, text: str, *, max_chars: int = 500) -> str:
    """The passage of `text` that shares the most with the quote, rare words counting most; empty if it shares nothing."""
    words = [(match[0].casefold(), match.start(), match.end()) for match in _WORD.finditer(text)]
    wanted = {word.casefold() for word in _WORD.findall(quote)}
    counts = Counter(word for word, _, _ in words if word in wanted)
    hits = [(word, start, end) for word, start, end in words if word in wanted]
    if not hits:
        return ""
    reach = min(max_chars, len(quote) * 3 // 2 + 20)
    best_score, best = 0.0, (hits[0][1], hits[0][2])
    inside: Counter[str] = Counter()
    score, first = 0.0, 0
    for word, _, end in hits:
        if not inside[word]:
            score += 1 / counts[word]
        inside[word] += 1
        while end - hits[first][1] > reach and hits[first][2] < end:
            gone = hits[first][0]
            inside[gone] -= 1
            if not inside[gone]:
                score -= 1 / counts[gone]
            first += 1
        if score > best_score + 1e-9:
            best_score, best = score, (hits[first][1], end)
    return _widened(text, *best, max_chars)


def _widened(text: str, start: int, end: int, max_chars: int) -> str:
    """To the sentences it stands in, as far as the room goes."""
    room = max(0, max_chars - (end - start)) // 2
    before, after = text[max(0, start - room) : start], text[end : end + room]
    opening = max((match.end() for match in re.finditer(r"[.!?]\s+|\n", before)), default=0 if start <= room else before.find(" ") + 1)
    closing = re.search(r"[.!?](?=\s|$)|\n", after)
    last = closing.end() if closing else (len(after) if end + room >= len(text) else max(0, after.rfind(" ")))
    return (before[opening:] + text[start:end] + after[:last]).strip()
