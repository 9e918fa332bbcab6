"""Citations in a draft: handles in brackets become tokens that survive every later step, and the tokens become numbers at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from research_agent.memory.segment import Segment

TOKEN = re.compile("\ue000[0-9]+\ue001")
"""A citation: two private characters around the passage's place in the book. Text from outside loses such characters first."""
ANCHOR = re.compile("\ue002([0-9]+)\ue003")
"""Where a source stands in the list."""

_HANDLE = re.compile(r"(?<![A-Za-z0-9])(?:S[0-9]{3,9}|[0-9a-f]{24})(?![A-Za-z0-9])")
_BRACKET = re.compile(r"(?P<space>(?<![ \t])[ \t]*)\\?[\[【](?P<inside>[^\[\]【】\n]{1,400}?)\\?[\]】](?P<link>\([^()\s]{0,500}\))?")
_LOOSE = re.compile(
    rf"(?P<space>(?<![ \t])[ \t]*)(?:\((?P<inside>\s*{_HANDLE.pattern}(?:[\s,;]+{_HANDLE.pattern})*\s*)\)|(?P<bare>{_HANDLE.pattern}))"
)
_NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?![\w.])")
"""Beside a handle, it is as little a citation as alone (invented.py)."""
_FILLER = re.compile(r"(?i)(?:[\s,;:.&/|–—-]|and|sources?|handles?|findings?|evidence|see|cf)*")


def token(place: int) -> str:
    return f"\ue000{place}\ue001"


def anchor(number: int) -> str:
    return f"\ue002{number}\ue003"


def places(text: str) -> list[int]:
    """The passages that a text cites, in order, each once."""
    return list(dict.fromkeys(int(match.group()[1:-1]) for match in TOKEN.finditer(text)))


def bare(text: str) -> str:
    """A text without its citations."""
    return re.sub(rf"(?<![ \t])[ \t]*{TOKEN.pattern}", "", text)


@dataclass
class Book:
    """The passages that a draft cites, and the handles it cites in vain."""

    lookup: Callable[[str], Segment | None]
    passages: list[Segment] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)

    def place(self, segment: Segment) -> int:
        for place, known in enumerate(self.passages):
            if known.id == segment.id:
                return place
        self.passages.append(segment)
        return len(self.passages) - 1

    def resolve(self, handle: str) -> int | None:
        """The place of the observation a handle names. A finding stands for the observation it quotes."""
        segment = self.lookup(handle)
        if segment is not None and segment.kind == "finding" and segment.source:
            segment = self.lookup(segment.source)
        return self.place(segment) if segment is not None and segment.kind == "observation" else None

    def cite(self, text: str, *, loose: bool) -> str:
        """The text with tokens for its handles. `loose` also reads handles in parentheses and bare ones: not for quotations."""
        text = _BRACKET.sub(self._bracket, text)
        return _LOOSE.sub(self._loose, text) if loose else text

    def _bracket(self, match: re.Match[str]) -> str:
        handles = _HANDLE.findall(match["inside"])
        if not handles:
            return match.group()
        rest = _HANDLE.sub("", match["inside"])
        resolved = [self.resolve(handle) for handle in handles]
        if _FILLER.fullmatch(without_numbers := _NUMBER.sub("", rest)):
            self.struck += _NUMBER.findall(rest)
            rest = without_numbers
        if _FILLER.fullmatch(rest):
            self.struck += [handle for handle, place in zip(handles, resolved, strict=True) if place is None]
            return self._tokens(match["space"], resolved)
        if not any(place is not None for place in resolved):
            return match.group()  # brackets of prose in which something only looks like a handle
        words = " ".join(rest.strip(" \t,;:").split())
        return f"{match['space']}({words}){self._tokens(' ', resolved)}"

    def _loose(self, match: re.Match[str]) -> str:
        resolved = [self.resolve(handle) for handle in _HANDLE.findall(match["inside"] or match["bare"])]
        return match.group() if None in resolved else self._tokens(match["space"], resolved)

    @staticmethod
    def _tokens(space: str, resolved: Iterable[int | None]) -> str:
        cited = "".join(token(place) for place in dict.fromkeys(resolved) if place is not None)
        return space + cited if cited else ""


def numbered(text: str, number_of: Mapping[int, int], shape: Callable[[int], str]) -> str:
    """Each run of tokens as numbers, a source named twice in it once."""

    def run(match: re.Match[str]) -> str:
        numbers = dict.fromkeys(number_of[place] for place in places(match.group()))
        return "".join(shape(number) for number in numbers)

    return re.sub(rf"{TOKEN.pattern}(?:[ \t,;]*{TOKEN.pattern})*", run, text)
