"""The citation audit: each sentence beside what it cites, by the words they share and the names and numbers they do not.

It reads words, not meaning: a sentence that turns its source around in the source's own words passes, a free paraphrase may be
called weak. It finds invented names and numbers, and citations that have nothing to do with their sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from research_agent.report.citations import bare
from research_agent.report.model import Verdict
from research_agent.report.sentences import split

SUPPORTED = 0.6
WEAK = 0.3
"""Shares of a sentence's own words that stand together in what it cites."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?:[A-Z][\w’'-]+)(?:\s+(?:(?:of|the|de|von|van|&)\s*)?[A-Z][\w’'-]+)*")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_MARKUP = re.compile(r"^[\s>*_#|+-]+|\*\*|__|`")
_STOP = frozenset(
    _WORD.findall(
        "a an the and or but nor of in on at to for from by with without as is are was were be been being it its this that these those "
        "there which who whom whose what when where how why than then so such not no also very more most some any each other into over "
        "under about between through during before after only same has have had do does did can could may might will would should must he "
        "she they them his her their we our you your i"
    )
)


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    missing: tuple[str, ...] = ()
    evidence: str = ""


def judge(sentence: str, sources: Sequence[tuple[Sequence[str], str]]) -> Judgement:
    """A cited sentence against its sources: of each the quotes noted from it, and its whole text. Several may bear it out together."""
    sentence = plain(sentence)
    wanted = _words(sentence)
    best = [_nearest(wanted, (*((quote, _words(quote)) for quote in quotes), *_windows(text))) for quotes, text in sources]
    held = frozenset[str]().union(*map(_words, best))
    share = len(wanted & held) / len(wanted) if wanted else 1.0
    missing = _missing(sentence, [piece for quotes, text in sources for piece in (*quotes, text)])
    verdict: Verdict = "supported" if share >= SUPPORTED else "weak" if share >= WEAK else "unsupported"
    return Judgement("weak" if missing and verdict == "supported" else verdict, missing, " … ".join(best))


def plain(sentence: str) -> str:
    """A sentence without its citations and Markdown's marks."""
    return _MARKUP.sub("", bare(sentence)).strip(" |\n\t")


def nearest(sentence: str, passage: str) -> str:
    """The sentence of a passage that shares most words with one of the report."""
    return _nearest(_words(bare(sentence)), _sentences(passage))


_Piece = tuple[str, frozenset[str]]
"""A text and its words."""


def _nearest(wanted: frozenset[str], pieces: Sequence[_Piece]) -> str:
    return max(pieces, key=lambda piece: (len(wanted & piece[1]), -len(piece[1])), default=("", wanted))[0]


@lru_cache(maxsize=256)
def _sentences(passage: str) -> tuple[_Piece, ...]:
    return tuple((sentence, _words(sentence)) for sentence in split(passage))


@lru_cache(maxsize=256)
def _windows(passage: str) -> tuple[_Piece, ...]:
    """Each sentence with the one after it: a claim often joins two."""
    found = _sentences(passage)
    return tuple((f"{a} {b}", one | other) for (a, one), (b, other) in pairwise(found)) or found


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    words: set[str] = set()
    for word in set(_WORD.findall(text.casefold())):
        if not word.isascii() and _CJK.search(word):
            words.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        elif word not in _STOP:
            words.add(_stem(word))
    return frozenset(words)


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    word = word.removesuffix("'s").removesuffix("’s")
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _missing(sentence: str, texts: Sequence[str]) -> tuple[str, ...]:
    held = frozenset().union(*(_words(text) for text in texts))
    numbers = frozenset().union(*(_numbers(text) for text in texts))
    start = re.match(r"\W*", sentence)
    first = start.end() if start else 0
    found: dict[str, None] = {}
    for name in _NAME.finditer(sentence):
        words = name.group().split()
        if name.start() == first and not re.search(r"\d|[a-z][A-Z]|[A-Z]{2}", words[0]):
            words = words[1:]  # it may be capital only because it opens the sentence
        while words and words[0].islower():
            words = words[1:]
        if words and not _words(" ".join(words)) <= held:
            found[" ".join(words)] = None
    for number in _NUMBER.findall(sentence):
        if len(number) > 1 and number.replace(",", "") not in numbers and not any(number in name for name in found):
            found[number] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def _numbers(text: str) -> frozenset[str]:
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))
