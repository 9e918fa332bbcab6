"""Text of others as what can be seen of it: no terminal commands, no control characters, nothing that turns the line around."""

from __future__ import annotations

import re

# Colours and movements; titles, links and their kin where they end; whatever else an escape begins.
_ESCAPES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]?|\x1b[\\]PX^_][^\x07\x1b]{0,4000}(?:\x07|\x1b\\\\)|\x1b[ -/]*[0-~]?")
# Control characters but tab and newline, marks and overrides of direction, halves of characters, and what has no width.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
    "\u200b\u2060-\u2064\u206a-\u206f\U000e0000-\U000e0fff]"
)
_BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")


def without_escapes(text: str) -> str:
    """The text without terminal commands, each with all that belongs to it."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def visible(text: str) -> str:
    """The text, on as many lines as before."""
    return _UNSEEN.sub("", _BREAKS.sub("\n", without_escapes(text)))


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line, of at most `limit` characters."""
    text = " ".join(visible(text).split())
    return text if limit is None or len(text) <= limit else text[: limit - 1].rstrip() + "…"
