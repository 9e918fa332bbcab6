"""Proper names in running text: what a trail can follow from one document to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from .prose import sentences

_CAPITAL = r"[^\W_a-z][^\s,;:()\[\]\"“”<>|*#]*"
_BETWEEN = r"(?:of|the|de|la|le|du|von|van|and|for|from|in|on|at|to|a|al|del|der|&|y)"
_NAME = re.compile(rf"(?<!\w){_CAPITAL}(?:[ \t]+(?:{_BETWEEN}[ \t]+){{0,2}}{_CAPITAL})*")
_QUOTED = re.compile(r"(?<!\w)[\"“]{1,2}(?=\w)([^\"“”\n]{2,80})(?<=[\w.!?)])[\"”]{1,2}(?!\w)")
_OPENING_WORDS = """
the a an in on at it its he his she her they their this that these those there as by for from with when while after before during since
although though however also but and or if both many most some several other one two three first second then to under over who what
which where why how is are was were did do does will would can could has have had not no yes of de la van von i we you our your my
according based see let whatever whoever whenever wherever
"""
_OPENERS = frozenset(_OPENING_WORDS.split())
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_DATE_WORD = rf"(?:\d+(?:st|nd|rd|th)?|{'|'.join((_MONTHS + ' ' + _DAYS).split())})"
_CALENDAR = re.compile(rf"{_DATE_WORD}(?:[\s,]+{_DATE_WORD})*[\s,]*", re.IGNORECASE)
_NUMBER = re.compile(r"\W*\d[\d.,:%–/-]*\S{0,3}")
_JOINED = re.compile(r" (?:and|in) ")
_ORDINARY = re.compile(r",?\s+(?!(?:is|was|are|were|has|had)\b)[a-z]")
_QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")


def bare(title: str) -> str:
    """A title as running text would name it: lower case, without `(film)`."""
    return _QUALIFIER.sub("", title).strip().lower()


@lru_cache(maxsize=8192)
def names(text: str) -> tuple[str, ...]:
    """Proper names and quoted titles, each once, as they appear; dates and numbers are none."""
    found: dict[str, str] = {}
    for sentence in sentences(text):
        for name, opens in _in_sentence(sentence):
            if not opens:
                found.setdefault(name.lower(), name)
    place = {name: text.find(name) for name in found.values()}
    return tuple(sorted(found.values(), key=lambda name: place[name]))


def _in_sentence(sentence: str) -> Iterator[tuple[str, bool]]:
    """Each name, and whether it may be capital only because it opens the sentence: `Besides, ...`"""
    for match in _QUOTED.finditer(sentence):
        yield match[1].strip(" .,"), False
    for match in _NAME.finditer(sentence):
        whole = match.group()
        opens = not sentence[: match.start()].strip("\"'“‘([ ") and " " not in whole and bool(_ORDINARY.match(sentence, match.end()))
        parts = _JOINED.split(whole)
        for part in dict.fromkeys((whole, *parts) if not any(map(_is_date, parts)) else parts):
            name = _trim(part)
            if len(name) >= 3 and not _is_date(name):
                yield name, opens


def _is_date(text: str) -> bool:
    return bool(_CALENDAR.fullmatch(text) or _NUMBER.fullmatch(text))


def _trim(name: str) -> str:
    """Without the words a sentence starts with, and the stops it ends with."""
    words = re.sub(r"['’]s$", "", name.strip(" .,'’‘!?–-")).split()
    while words and words[0].lower() in _OPENERS:
        words.pop(0)
    while words and words[-1].lower() in _OPENERS:
        words.pop()
    return " ".join(words).strip(" .,'’‘!?–-")
