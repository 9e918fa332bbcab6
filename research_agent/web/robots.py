"""robots.txt by RFC 9309: the group that names us, else the one for all; the longest rule that matches, `*` and `$` in it.

The standard library's parser knows no `*` and takes the first rule that matches, so it lets through what sites forbid.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

MAX_BYTES = 512_000
MAX_RULES = 5_000
_SAFE = "/*$?=&:;,@+!~()'-._"


@dataclass(frozen=True, slots=True)
class Robots:
    """What one site asks of us."""

    rules: tuple[tuple[str, bool], ...] = ()
    """Path patterns, and whether they allow."""
    delay_s: float = 0.0
    closed: str = ""
    """Why nothing may be fetched at all."""

    def forbids(self, path: str) -> bool:
        """`path` with its query."""
        if path == "/robots.txt":
            return False
        path = _normal(path)
        matching = [(len(pattern), allow) for pattern, allow in self.rules if _matches(pattern, path)]
        return bool(matching) and not max(matching)[1]  # of two as long, the one that allows


def parse(text: str, agent: str) -> Robots:
    """`agent`: our name, without version."""
    mine, everyones = _groups(text[:MAX_BYTES], agent.lower())
    rules, delay_s = mine if mine is not None else everyones
    return Robots(tuple(rules[:MAX_RULES]), delay_s)


_Group = tuple[list[tuple[str, bool]], float]


def _groups(text: str, agent: str) -> tuple[_Group | None, _Group]:
    found: dict[str, _Group] = {}
    named: list[str] = []
    opening = False
    for line in text.removeprefix("\ufeff").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            named = [*named, _agent(value)] if opening else [_agent(value)]
            opening = True
            for name in named:
                found.setdefault(name, ([], 0.0))
        elif key in ("allow", "disallow", "crawl-delay"):
            opening = False
            for name in named:
                rules, delay_s = found[name]
                if key == "crawl-delay":
                    found[name] = (rules, float(value) if re.fullmatch(r"\d{1,4}(?:\.\d{1,3})?", value) else delay_s)
                elif value:
                    rules.append((_normal(value if value.startswith(("/", "*")) else f"/{value}"), key == "allow"))
    return found.get(agent), found.get("*", ([], 0.0))


def _agent(value: str) -> str:
    return "*" if value == "*" else value.partition("/")[0].strip().lower()


def _normal(path: str) -> str:
    """Percent-encoding that means the same, written the same way."""
    return quote(
        unquote(path.replace("%2F", "%252F").replace("%2f", "%252F"), errors="surrogateescape"), safe=_SAFE, errors="surrogateescape"
    )


def _matches(pattern: str, path: str) -> bool:
    """A walk from star to star, taking the first place each: no pattern takes long."""
    anchored = pattern.endswith("$")
    pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(pieces[0]):
        return False
    return _rest(pieces[1:], path, len(pieces[0]), anchored)


def _rest(pieces: Sequence[str], path: str, at: int, anchored: bool) -> bool:
    for number, piece in enumerate(pieces):
        if anchored and number == len(pieces) - 1:
            return len(path) - len(piece) >= at and path.endswith(piece)
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return not anchored or at == len(path)
