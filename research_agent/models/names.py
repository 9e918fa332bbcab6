"""Proper names in running text: what a trail can follow from one document to the next."""

from __future__ import annotations

import re
from functools import lru_cache

_CAPITAL = r"[^\W_a-z][^\s,;:()\[\]\"“”<>|*#]*"
_BETWEEN = r"(?:of|the|de|la|le|du|von|van|and|for|from|in|on|at|to|a|al|del|der|&|y)"
_NAME = re.compile(rf"(?<!\w){_CAPITAL}(?:[ \t]+(?:{_BETWEEN}[ \t]+){{0,2}}{_CAPITAL})*")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{2,80})[\"”]")
_OPENING_WORDS = """
the a an in on at it its he his she her they their this that these those there as by for from with when while after before during since
although though however also but and or if both many most some several other one two three first second then to under over who what
which where why how is are was were did do does will would can could has have had not no yes of de la van von i we you our your my
according based see
"""
_OPENERS = frozenset(_OPENING_WORDS.split())
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_CALENDAR = re.compile(rf"(?:(?:\d+(?:st|nd|rd|th)?|{'|'.join((_MONTHS + ' ' + _DAYS).split())})[\s,]*)+", re.IGNORECASE)
_NUMBER = re.compile(r"\W*\d[\d.,:%–/-]*\S{0,3}")
_JOINED = re.compile(r" (?:and|in) ")
_QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")


def bare(title: str) -> str:
    """A title as running text would name it: lower case, without `(film)`."""
    return _QUALIFIER.sub("", title).strip().lower()


@lru_cache(maxsize=8192)
def names(text: str) -> tuple[str, ...]:
    """Proper names and quoted titles, each once, as they appear; dates and numbers are none."""
    found: dict[str, tuple[int, str]] = {}
    for match in _QUOTED.finditer(text):
        if name := match[1].strip(" .,"):
            found.setdefault(name.lower(), (match.start(), name))
    for match in _NAME.finditer(text):
        whole = match.group()
        for part in dict.fromkeys((whole, *_JOINED.split(whole))):
            name = _trim(part)
            if len(name) >= 3 and not _CALENDAR.fullmatch(name) and not _NUMBER.fullmatch(name):
                found.setdefault(name.lower(), (match.start(), name))
    return tuple(name for _, name in sorted(found.values(), key=lambda item: item[0]))


def _trim(name: str) -> str:
    """Without the words a sentence starts with, and the stops it ends with."""
    words = re.sub(r"['’]s$", "", name.strip(" .,'’‘!?–-")).split()
    while words and words[0].lower() in _OPENERS:
        words.pop(0)
    while words and words[-1].lower() in _OPENERS:
        words.pop()
    return " ".join(words).strip(" .,'’‘!?–-")
