"""Numbers in brackets that a writer made up: `[12]` reads like a citation of ours, and is none. Handles are what a writer cites by.

Struck is only what can be nothing but a citation. What may mean something stays; where it would look like one of ours it is set apart
as code. Code, quotations (their source wrote them), years, intervals and lists are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from research_agent.report.sentences import FENCE

_SPACE = r"[ \t]{0,3}"
_INSIDE = rf"\^?\d{{1,4}}(?:{_SPACE}(?:[,;&–-]|and){_SPACE}\^?\d{{1,4}}){{0,20}}(?:†[^\[\]【】\n]{{0,80}})?"
_BRACKET = rf"\\?(?:\[{_SPACE}{_INSIDE}{_SPACE}\\?\]|【{_SPACE}{_INSIDE}{_SPACE}】)(?:\([^()\s`|]{{0,500}}\))?"
_CODE = r"(?<!`)(?P<ticks>`+)(?!`)[^\n]{1,4000}?(?<!`)(?P=ticks)(?!`)"
_QUOTED = r"“[^“”]{0,2000}”|„[^„“”]{0,2000}[“”]|«[^«»]{0,2000}»|\"[^\"\n]{0,2000}\"|^[ \t]*>[^\n]*"
_FOUND = re.compile(
    rf"(?P<kept>{_CODE}|{_QUOTED})|(?P<run>{_BRACKET}(?:[ \t]?,?[ \t]?{_BRACKET}){{0,20}})(?P<colon>:(?=\s))?", re.MULTILINE
)
_NUMBERS = re.compile(r"\d+(?:\s*[–-]\s*\d+)?")
_CERTAIN = re.compile(r"[†^]|\]\((?:https?:|#)")
_HANDLE = r"(?:S\d{3,9}|[0-9a-f]{24})"
_OURS = re.compile(rf"(?<![A-Za-z0-9]){_HANDLE}(?:\\?[\])】](?P<joint>[^\]\[】【)(A-Z0-9\n]{{0,6}}))?$")
_JOINT = re.compile(r"[ \t]?(?:[,;]|,?[ \t]?and\b)?[ \t]?")
_OURS_FOLLOW = re.compile(rf"\\?[\[【(]{_HANDLE}")
_LINE_START = re.compile(r"(?:^|\n)[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?$")
_OPERATOR = re.compile(r"\.\w|[ \t]*[=+/×<>^∪∩]|[ \t][*−–-][ \t]|(?:[−–-]|[ \t]to[ \t])\[")
_NAME = re.compile(r"(?<![\w.])[^\W_][\w.]*(?:\[\w{1,20}\]|\([\w, ]{0,20}\))*$")
_WORD = re.compile(r"[\w'’]+$")
_ACRONYM = re.compile(r"[A-Z]{2,}\d{0,2}")
_PROSE = re.compile(r"[^\W\d_]{3,}")
_CAMEL = re.compile(r"[a-z][A-Z]")
_THINGS = frozenset(
    re.findall(
        r"\w+",
        "list lists set sets array arrays arr args argv tuple tuples dict vec vector vectors matrix matrices tensor row rows col cols "
        "column columns idx index element elements item items nums seq sequence stack queue slice interval intervals range ranges iqr "
        "domain ci cis score scores scale value values point points pair pairs key keys limit limits bound bounds input output sum step "
        "steps level levels stage option options line lines figure table page pages chapter equation type grade position positions bit "
        "bits byte bytes register registers channel slot field fields param params offset data verse psalm rule section article clause "
        "part",
    )
)
"""What a bracketed number is a value or a place of: `the list [3, 8]`, `CI [3, 8]`, `step [2]`."""
_OPEN = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but nor not if than that this these those to of in on at by for from with without into onto over under about "
        "between through via per as is are was were be been being has have had like see cf namely only either both equals equal "
        "contains contain returns return gives give yields yield prints print outputs holds becomes means includes include choose pick "
        "enter type press",
    )
)
"""Words that what follows belongs to: without it the sentence would say something else, or nothing."""
_YEARS = range(1000, 2200)
_MOST = 999
"""No report lists more sources: a larger number is not taken for one."""
_WINDOW = 120
"""Characters looked at before a bracket."""

_Fate = Literal["strike", "apart", "leave"]


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
    parts: list[str] = []
    at, code_end, struck_end = 0, -1, -1
    for match in _FOUND.finditer(text):
        if match["kept"] is not None:
            code_end = match.end() if match["ticks"] else code_end
            continue
        start, run = match.start(), match["run"]
        before = text[max(at, start - _WINDOW) : start]
        fate = _fate(match, before if at == struck_end else None)
        if fate == "strike":
            struck.extend(numbers(run))
            parts.append(text[at : start - before.endswith((" ", "\t"))])
            at = match.end() if _LINE_START.search(text[max(0, start - _WINDOW) : start]) else match.end("run")  # `[12]: a footnote`
            struck_end = at
        elif fate == "apart":
            parts += _apart(text[at:start], run, in_code=start == code_end, name=_NAME.search(before))
            at = match.end("run")
    return "".join([*parts, text[at:]])


def _apart(before: str, run: str, *, in_code: bool, name: re.Match[str] | None) -> list[str]:
    """What stood before it, and it as code, with the name that it is tied to."""
    shown = run.replace("\\", "")
    if in_code:
        code = before.rstrip("`")
        return [code, shown, before[len(code) :]]
    tied = len(name.group()) if name else 0
    return [before[: len(before) - tied], f"`{before[len(before) - tied :]}{shown}`"]


def numbers(run: str) -> Iterator[str]:
    """What each bracket names, its link aside."""
    for bracket in re.findall(r"[\[【]([^\]】]*)", run):
        yield from (re.sub(r"\s", "", number) for number in _NUMBERS.findall(bracket.partition("†")[0]))


def _fate(match: re.Match[str], since_struck: str | None) -> _Fate:
    """`since_struck`: what stands between it and the one struck before it."""
    text, run, start, end = match.string, match["run"], match.start(), match.end("run")
    before, after = text[max(0, start - _WINDOW) : start], text[end : end + 40]
    brackets = [[int(number) for number in re.findall(r"\d+", " ".join(numbers(one)))] for one in re.findall(_BRACKET, run)]
    if not all(map(_names_sources, brackets)):
        return "leave"  # `[0, 1]`, `[2019]`, `[3, 1, 2]`
    several = any(len(bracket) > 1 for bracket in brackets)
    if (_CERTAIN.search(run) and not _NAME.search(before[-1:])) or _is_one_more(before, since_struck, several=several):
        return "strike"
    if not _OURS_FOLLOW.match(after) and (after[:1].isalnum() or after[:1] in ("_", "[", "]") or before[-1:] == "["):
        return "leave"  # `[18]annulene`, `[[3], [4]]`
    if _OPERATOR.match(after) or not _may_be_cited(before, match):
        return "leave" if several else "apart"
    return "apart" if several and before[-1:] in (" ", "\t") else "strike"  # `5 years [3–8]` is as likely as `lost [3, 4]`


def _is_one_more(before: str, since_struck: str | None, *, several: bool) -> bool:
    """Whether it goes on after a citation: `[S100][3]`, `[S100] and [3]`."""
    ours = _OURS.search(before)
    joint = (ours["joint"] or "") if ours else since_struck
    return joint is not None and (not joint.strip() if several else _JOINT.fullmatch(joint) is not None)


def _names_sources(found: list[int]) -> bool:
    """Whether a list of sources can look so: small, each once, in order."""
    return all(0 < number <= _MOST for number in found) and found == sorted(set(found))


def _may_be_cited(before: str, match: re.Match[str]) -> bool:
    """Whether a citation can stand after this."""
    if _LINE_START.search(before):
        return match["colon"] is not None or re.match(r" [A-Z]", match.string[match.end("run") :][:2]) is not None
    said = before.rstrip(" \t")
    tied, said = said == before, said.rstrip("*_")
    if said[-1:] in (".", "!", "?", "…", "。", "”", "»", '"', "%"):
        return True
    if said.endswith(")"):
        opened = said.rfind("(")
        return not tied or (opened > 0 and said[opened - 1].isspace() and _PROSE.search(said, opened) is not None)
    found = _WORD.search(said)
    if found is None:
        return False
    word = found.group()
    if word.lower() in _THINGS or word.lower() in _OPEN:
        return False
    if not tied:
        return len(word) > 1
    if word.isdecimal():
        return int(word) in _YEARS  # `10[3]` was a power before its page was read
    return _ACRONYM.fullmatch(word) is not None or (
        _PROSE.fullmatch(word) is not None and not _CAMEL.search(word) and said[: found.start()][-1:] not in (".", "_")
    )
