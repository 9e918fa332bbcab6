"""Texts as words: what a query asks for, and which names a passage holds. Pure, and the same on both sides of a comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from unicodedata import category, normalize

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_VOWELS = "".join(chr(code) for code in range(0x0591, 0x0E00) if category(chr(code)) in ("Mn", "Mc"))
"""Marks that are letters' vowels in the scripts from Hebrew to Sinhala."""
_VOWELLED = re.compile(f"[^\\W_]+(?:[{_VOWELS}]+[^\\W_]*)*(?:'[^\\W_]+)?")
_NAME = re.compile(r"[A-Z0-9][\w'’.&-]*(?:[ -](?:(?:of|the|de|la|von|van|and|for|in|on|du|der|al|y|&) ){0,2}[A-Z0-9][\w'’.&-]*)*")
_PARENTHESES = re.compile(r"\s*\([^()]*\)\s*$")

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_BETWEEN = re.compile(f"(?<=[{_UNSPACED}])(?=[^\\W_])|(?<=[^\\W_])(?=[{_UNSPACED}])")
_MARK = "\ufffe"  # is no character: no text has it, and no index takes it for a letter

_ACCENTED = re.compile("([A-Za-z])[\u0300-\u036f]+")
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670]+")
"""Vowels of Hebrew and Arabic, which are seldom written."""
_LETTERS = str.maketrans(
    {"’": "'", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)

_TITLE_WORDS = 8

STOP = frozenset(
    """a about after all also an and any are as at be because been before being between both but by can could did do does doing done
    during each else ever for from further get gets had has have having he her here hers him his how i if in into is it its itself
    just like made make many may me might more most much must my no nor not of off on once one only or other our out over own per
    please same she should so some such tell than that the their them then there these they this those through to too under until up
    us use used very was we were what when where whether which while who whom whose why will with within without would you your

    across again already anything earlier find found know knew known look looking looked mention mentioned need needed
    previously read recall remember remembered said saw say says see seen something somewhere
    """.split()  # noqa: SIM905
)
"""Words that say how something is asked, not what is asked for: what joins words, and what one says of looking for what one has read."""


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A lower-case word without its common English endings. Both sides of a comparison are cut alike; nothing more is asked of it."""
    if len(word) <= 3 or not word.isascii():
        return word
    for suffix, replacement in _ENDINGS:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)] + replacement
    return word


_ENDINGS = (
    ("ational", "ate"),
    ("ization", "ize"),
    ("fulness", "ful"),
    ("iveness", "ive"),
    ("ations", "ate"),
    ("ation", "ate"),
    ("ingly", ""),
    ("edly", ""),
    ("ments", ""),
    ("ment", ""),
    ("ities", ""),
    ("ity", ""),
    ("ings", ""),
    ("ing", ""),
    ("ions", ""),
    ("ion", ""),
    ("ies", "y"),
    ("ied", "y"),
    ("ers", ""),
    ("er", ""),
    ("ors", ""),
    ("or", ""),
    ("ed", ""),
    ("es", ""),
    ("ly", ""),
    ("s", ""),
    ("e", ""),
)


def words(text: str) -> list[str]:
    """Every word of a text, lower-case and cut to its stem, in order."""
    return [stem(word) for word in raw_words(text)]


def raw_words(text: str) -> list[str]:
    """Every word of a text, lower-case and without a possessive, in order."""
    plain = unaccented(text).lower()
    found: list[str] = (_WORD if plain.isascii() else _VOWELLED).findall(plain)
    if not plain.isascii() and _UNSPACED_LETTER.search(plain):
        found = [part for word in found for part in _parts(word)]
    return [word.removesuffix("'s") for word in found] if "'" in plain else found


class Bag(NamedTuple):
    """A text's words, whatever their order."""

    size: int
    counts: Mapping[str, int]
    """By stem."""


def bag(text: str) -> Bag:
    found = raw_words(text)
    return Bag(len(found), Counter(map(stem, found)))


known_bag = lru_cache(maxsize=2048)(bag)
"""For what is archived: one recall asks several times for the same text's, and so does the next. 4 kB each."""


def unaccented(text: str) -> str:
    """As it is typed where a keyboard has no accents, with letters and digits of one width: `Gabriel Garcia Marquez`, `Lodz`, `1958`."""
    if text.isascii():
        return text
    return normalize("NFC", _POINTS.sub("", _ACCENTED.sub(r"\1", normalize("NFKD", text)))).translate(_LETTERS)


def folded(text: str) -> str:
    """What is compared where capitals and accents do not count: SQLite's own `lower` knows those of ASCII only."""
    return unaccented(text).lower()


def _parts(word: str) -> Iterator[str]:
    """Of scripts that put no space between words, each two letters that stand together: enough of them are words."""
    for run in _RUN.findall(word):
        if len(run) > 1 and _UNSPACED_LETTER.match(run):
            yield from map("".join, pairwise(run))
        else:
            yield run


def marked(text: str) -> str:
    """A text for a word index: with a mark between the letters of scripts that put no space between words, each is a word to it.

    After two marks stand the words that it would not find by what `unaccented` makes of them: it takes accents from letters only.
    """
    if text.isascii():
        return text
    text = text.replace(_MARK, "")
    more = [plain for word in _VOWELLED.findall(text.lower()) if not word.isascii() for plain in _otherwise(word)]
    return _BETWEEN.sub(_MARK, text) + (f"{_MARK}{_MARK}{' '.join(more)}" if more else "")


def _otherwise(word: str) -> Iterator[str]:
    for part in _RUN.findall(word):
        if (plain := unaccented(part)) != normalize("NFC", _ACCENTED.sub(r"\1", normalize("NFD", part))):
            yield plain


def unmarked(text: str) -> str:
    return text if text.isascii() else text.partition(_MARK + _MARK)[0].replace(_MARK, "")


def terms(query: str) -> list[str]:
    """What a query asks for: its words (unstemmed) without the ones that only ask; all of them if nothing else is left."""
    every = list(dict.fromkeys(raw_words(query)))
    return [word for word in every if word not in STOP] or every


def names(text: str) -> frozenset[str]:
    """Keys of the names in a text: runs of capitalised words and numbers, with the small words that join them. No sentence is parsed."""
    keys = {title_key(match) for match in _NAME.findall(unaccented(text))}
    return frozenset(key for key in keys if len(key) > 2 and key not in STOP and not key.isdigit())


def mentions(text: str) -> frozenset[str]:
    """Keys of whatever title a text may mention: each run of words that begins and ends with a capital or a digit."""
    found = _WORD.findall(unaccented(text))
    lower = [word.lower().removesuffix("'s") for word in found]
    starts = [not word[0].islower() for word in found]
    keys = set()
    for first, capital in enumerate(starts):
        if capital:
            for last in range(first, min(first + _TITLE_WORDS, len(found))):
                if starts[last]:
                    keys.add(" ".join(lower[first : last + 1]))
    return frozenset(key for key in keys if len(key) > 2 and key not in STOP)


def title_key(title: str) -> str:
    """What titles are matched by: lower-case words, without a trailing `(film)`."""
    return " ".join(raw_words(_PARENTHESES.sub("", title) or title))


class Title(NamedTuple):
    key: str
    content: frozenset[str]
    """Stems of the words that say what it is about."""


def title_of(title: str) -> Title:
    return Title(title_key(title), frozenset(stem(word) for word in raw_words(title) if word not in STOP))


known_title = lru_cache(maxsize=2048)(title_of)
known_names, known_mentions = lru_cache(maxsize=512)(names), lru_cache(maxsize=512)(mentions)
"""Of the best of a recall, which are asked twice, and often the best of the next. 10 kB each."""
