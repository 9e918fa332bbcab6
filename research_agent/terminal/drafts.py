"""A structured answer as people read it, while it is still being written: its texts, without the JSON around them."""

from __future__ import annotations

import json
import re

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)("?)(\s*:)?', re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")


def readable(text: str) -> str:
    """The strings that are no names of fields, one below the other; a text that is no JSON object as it is."""
    start = text.find("{")
    if start < 0 or text[:start].strip().strip("`").strip() not in ("", "json"):
        return text
    return "\n".join(_text(found[1]) for found in _STRING.finditer(text, start) if not found[3] and found[1] and not _named(found, text))


def _named(found: re.Match[str], text: str) -> bool:
    """The name of a field that is just being written, or one whose colon is not there yet."""
    before = text[: found.start()].rstrip()
    return before.endswith("{") or (before.endswith(",") and _in_object(before))


def _in_object(before: str) -> bool:
    """Whether what comes next stands in an object, not in a list."""
    depth: list[str] = []
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', before):
        if mark in ("[", "{"):
            depth.append(mark)
        elif mark in ("]", "}") and depth:
            depth.pop()
    return bool(depth) and depth[-1] == "{"


def _text(raw: str) -> str:
    whole = _CUT_ESCAPE.sub("", raw)
    try:
        return str(json.loads(f'"{whole}"', strict=False))
    except json.JSONDecodeError:
        return whole
