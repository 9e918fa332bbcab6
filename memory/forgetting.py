"""What of a kept message goes when a source is forgotten: blocks that show it, lines that name it, notes that quote it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

MARK = "[forgotten]"


def without(body: str, handles: Collection[str]) -> str:
    """A message's JSON without what those handles name; any other text as it is."""
    try:
        message = json.loads(body)
    except ValueError:
        return body
    named = "|".join(sorted(map(re.escape, handles)))
    if not named or not isinstance(message, dict) or not re.search(named, body):
        return body
    block = re.compile(rf'<(document|finding) (?=[^>]*\bhandle="(?:{named})")[^>]*>.*?</\1>', re.DOTALL)
    line = re.compile(rf"^(?:Noted, from )?(?:{named})\b.*$", re.MULTILINE)

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return line.sub(MARK, block.sub(MARK, value))
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            if re.fullmatch(rf"\[?(?:{named})\]?", str(value.get("source", ""))):  # a note's arguments
                return {key: MARK if key in ("quote", "claim") else item for key, item in value.items()}
            return {key: clean(item) for key, item in value.items()}
        return value

    return json.dumps(clean(message), ensure_ascii=False, sort_keys=True)


def notes_on(call: str, names: Collection[str]) -> bool:
    """Whether a call's text (`note {...}`) is a note on one of these sources."""
    tool, _, args = call.partition(" ")
    if tool != "note":
        return False
    try:
        return str(json.loads(args).get("source", "")).strip("[] ") in names
    except (ValueError, AttributeError):
        return False
