"""Lines that only the width of a text has broken: a sentence that is wrapped over them is one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

LEAST_WIDTH, MOST_WIDTH = 30, 200
"""In characters: a narrower text is a list; a wider one was not wrapped by anybody, its lines are paragraphs."""
TELLING = 3
"""Broken lines that show by themselves whether a text is wrapped."""
WRAPPED_SHARE = 0.8
"""Of a wrapped text's broken lines, so many had no room for the next line's first word: no list of lines ends so by chance."""

_OPENER = r"[#|><•]|[*+-]\s|[-=*_]{3,}\s|```|~~~|\[[^\]\n]*\]:"
"""What a line opens with that begins something: a heading, a row, a list's item, a rule, a fence, a link's address."""
_BREAK = re.compile(rf"(?<=\S)[ \t]*\n[ \t]*(?!{_OPENER})(?P<word>\S+)")
_BLOCK = re.compile(r"[ \t]*(?:#|\||```|~~~|[-=*_]{3,}[ \t]*$|<[a-z/!])|.*(?:\||</[a-z]+>)[ \t]*$")
"""A line that is a heading, a row, a fence, a rule or markup: what follows it is something else."""
_ITEM = re.compile(r"\d{1,2}[.)]$|[^\W\d]\)$")
_FENCE = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


@lru_cache(maxsize=64)  # a page is cut to be shown, and a model that reads it joins it again
def unwrapped(text: str) -> str:
    """The text with a space for each line end that its width made. As long as it was: every offset is the same."""
    breaks = list(_breaks(text)) if "\n" in text else []
    if not breaks:
        return text
    lengths = sorted(len(line) for _, line, _ in breaks)
    width = lengths[-1 - len(lengths) // 10]  # some lines hold one long word
    full = [at for at, line, word in breaks if len(line) + 1 + len(word) > width]
    if len(breaks) < TELLING or not LEAST_WIDTH <= width <= MOST_WIDTH or len(full) < WRAPPED_SHARE * len(breaks):
        return text
    chars = list(text)
    for at in full:
        chars[at] = " "
    return "".join(chars)


def _breaks(text: str) -> Iterator[tuple[int, str, str]]:
    """Of each line end between two lines of running text: where it is, the line, and the word that follows."""
    fenced = [match.span() for match in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
    for match in _BREAK.finditer(text):
        word, start = match["word"], text.rfind("\n", 0, match.start()) + 1
        line = text[start : match.start()]
        if _ITEM.fullmatch(word) or _UNSPACED.match(word) or _BLOCK.match(line) or line.endswith("-"):
            continue
        if not any(first <= start < last for first, last in fenced):
            yield text.index("\n", match.start()), line, word
