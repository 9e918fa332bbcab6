"""Numbers in brackets that a writer made up: `[12]` reads like a citation of ours, and is none. Handles are what a writer cites by.

What only looks like one stays: code and indexes (`a[0]`), what stands in quotation marks (its source wrote it), years, intervals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from research_agent.report.sentences import FENCE

_INSIDE = r"\^?\d{1,4}(?:\s*(?:[,;&–-]|and)\s*\^?\d{1,4}){0,20}(?:†[^\[\]【】\n]{0,80})?"
_BRACKET = rf"\\?(?:\[\s*{_INSIDE}\s*\\?\]|【\s*{_INSIDE}\s*】)(?:\([^()\s]{{0,500}}\))?"
_KEPT = (
    r"(?P<ticks>`+)(?!`)[^\n]+?(?<!`)(?P=ticks)(?!`)|“[^“”]{0,2000}”|„[^„“”]{0,2000}[“”]|«[^«»]{0,2000}»|\"[^\"\n]{0,2000}\"|^[ \t]*>[^\n]*"
)
_FOUND = re.compile(
    rf"(?P<kept>{_KEPT})|(?P<space>[ \t]*)(?P<run>{_BRACKET}(?:[ \t]?,?[ \t]?{_BRACKET}){{0,20}})(?P<colon>:(?=\s))?", re.MULTILINE
)
_NUMBERS = re.compile(r"\d+(?:\s*[–-]\s*\d+)?")
_WORD = re.compile(r"[\w.]+$")
_INTERVAL = re.compile(r"(?i)(?:\b(?:intervals?|ranges?|domain|between)|[∈=])\s*$")
_YEARS = range(1000, 2200)


def without(text: str) -> tuple[str, list[str]]:
    """The text without them, and what they said."""
    struck: list[str] = []
    parts: list[str] = []
    at = 0
    for fence in FENCE.finditer(text):
        parts += [_prose(text[at : fence.start()], struck), fence.group()]
        at = fence.end()
    return "".join([*parts, _prose(text[at:], struck)]), struck


def _prose(text: str, struck: list[str]) -> str:
    def strike(match: re.Match[str]) -> str:
        if match["kept"] is not None or _means_something(match):
            return match.group()
        struck.extend(numbers(match["run"]))
        opens_a_line = text[: match.start()][-1:] in ("", "\n")
        return "" if opens_a_line else match["colon"] or ""  # `[12]: where it stands` is a footnote

    return _FOUND.sub(strike, text)


def numbers(run: str) -> Iterator[str]:
    """What each bracket names, its link aside."""
    for bracket in re.findall(r"[\[【]([^\]】]*)", run):
        yield from (re.sub(r"\s", "", number) for number in _NUMBERS.findall(bracket.partition("†")[0]))


def _means_something(match: re.Match[str]) -> bool:
    """Whether it is an index, a year, an interval or part of a name: `a[0]`, `[2019]`, `range [3, 8]`, `[18]annulene`."""
    named, before, after = list(numbers(match["run"])), match.string[: match.start("run")], match.string[match.end("run") :]
    if "0" in named or (len(named) == 1 and named[0].isdecimal() and int(named[0]) in _YEARS):
        return True
    if after[:1].isalnum() or after[:1] in ("_", "["):
        return True
    if len(named) == 2 and _INTERVAL.search(before):
        return True
    return not match["space"] and (_is_indexed(before) or bool(re.match(r"\.\w|\s*=[^=]", after)))


def _is_indexed(before: str) -> bool:
    """Whether what the bracket is tied to is a name of code; a word of prose is cited so: `capacity[12]`."""
    if before.endswith(")"):
        opened = before.rfind("(")
        return opened > 0 and before[opened - 1].isalnum()
    if before.endswith("]"):
        return not re.search(r"\d{3}", before[before.rfind("[") :])  # after a handle it is one more citation
    word = _WORD.search(before)
    if not word or word.group().isdecimal():
        return False
    plain = word.group().strip(".")
    return before[-1] != "." and (len(plain) < 3 or not plain.isalpha() or bool(re.search(r"[a-z][A-Z]", plain)))
