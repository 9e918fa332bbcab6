"""What a person or a model types -> FTS5 MATCH expressions. Every term is quoted, so no text is ever syntax."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

MAX_CHARS = 2_000
MAX_WORDS = 100

_CJK = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff])")
_QUOTED = re.compile(r'["“”„]([^"“”„]+)["“”„]')
_BRACKETS = re.compile(r"\([^)]*\)")
_WORD = re.compile(r"[^\W_]+")

# Words that are in every other English text, and those that only ask.
STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be been before being between both but by can could did do does doing during each
    few for from further had has have having he her here hers him his how i if in into is it its itself just me more most my no nor not
    of off on once only or other our out over own s same she should so some such t than that the their them then there these they this
    those through to too under until up us very was we were what when where which while who whom whose why will with would you your
    called name named""".split()  # noqa: SIM905
)


def spaced(text: str) -> str:
    """Scripts without spaces are indexed a character at a time: FTS5's tokenizer takes a whole sentence for one word."""
    return text if text.isascii() else _CJK.sub(r" \1 ", text)


def expressions(text: str) -> list[str]:
    """MATCH expressions to try in order, the strict one first; none if there is no word in the text.

    Words are alternatives, ranked by BM25 (counting their pairs as phrases too ranked worse). The strict one requires what was quoted.
    """
    phrases = [phrase for quoted in _QUOTED.findall(text) if (phrase := words(quoted))]
    asked = words(text)
    terms = dict.fromkeys([word for word in asked if _tells(word)] + _pairs(asked)) or dict.fromkeys(asked)
    if not terms:
        return []
    loose = " OR ".join(f'"{term}"' for term in terms)
    strict = " AND ".join(f'"{" ".join(phrase)}"' for phrase in phrases)
    return [f"({strict}) AND ({loose})", loose] if strict else [loose]


def words(text: str) -> list[str]:
    """In lower case, as the index sees them."""
    return [word.lower() for word in _WORD.findall(spaced(text[:MAX_CHARS]))[:MAX_WORDS]]


def named_in(text: str, titles: Iterable[str]) -> set[str]:
    """The titles that stand whole in the text, what they have in brackets aside: `Lilu (mythology)`."""
    line = f" {' '.join(words(text))} "
    return {
        title
        for title in set(titles)
        if not STOP_WORDS.issuperset(name := words(_BRACKETS.sub("", title))) and f" {' '.join(name)} " in line
    }


def _tells(word: str) -> bool:
    """A lone letter tells nothing, and a lone CJK character little."""
    return word not in STOP_WORDS and not _short(word)


def _short(word: str) -> bool:
    return bool(_CJK.match(word)) or (len(word) == 1 and not word.isdigit())


def _pairs(words: list[str]) -> list[str]:
    """What tells nothing alone tells something beside its neighbour: `vitamin A`, but not `a vitamin`."""
    return [
        f"{a} {b}"
        for a, b in pairwise(words)
        if (_short(a) or _short(b)) and a not in STOP_WORDS and (b not in STOP_WORDS or b in {"a", "i"})
    ]
