"""A text -> passages of about 200 tokens that begin and end where paragraphs or sentences do. Joined, they are the text again."""

from __future__ import annotations

import re
from collections.abc import Iterator

PASSAGE_TOKENS = 200

_PARAGRAPH = re.compile(r".+?(?:\n[ \t]*\n\s*|\Z)", re.DOTALL)
_SENTENCE = re.compile(r".+?(?:[.!?…][\"'”’)\]]*\s+|[。！？]+\s*|\n\s*|\Z)", re.DOTALL)


def tokens(text: str) -> int:
    """An estimate that needs no tokenizer: four bytes each, which suits English, and CJK with its three bytes a character well enough."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) // 4 + 1


def split(text: str, target_tokens: int = PASSAGE_TOKENS) -> list[str]:
    """None is much longer than the target; a heading opens a new passage rather than closing one."""
    passages: list[str] = []
    current, size = "", 0
    for unit in _units(text, target_tokens):
        cost = tokens(unit)
        opens = unit.startswith("#") and size * 3 > target_tokens
        if current and (opens or size + cost > target_tokens * 1.15):
            passages.append(current)
            current, size = "", 0
        current += unit
        size += cost
    if passages and size * 4 < target_tokens:  # too little to stand alone
        passages[-1] += current
    elif current:
        passages.append(current)
    return passages


def _units(text: str, target_tokens: int) -> Iterator[str]:
    for paragraph in _PARAGRAPH.findall(text):
        if tokens(paragraph) <= target_tokens:
            yield paragraph
            continue
        for sentence in _SENTENCE.findall(paragraph):
            yield from _cut(sentence, target_tokens)


def _cut(sentence: str, target_tokens: int) -> Iterator[str]:
    """What has no border for too long (minified code, a table in one line) is cut between words, or anywhere."""
    size = tokens(sentence)
    if size <= target_tokens * 1.15 or len(sentence) == 1:
        yield sentence
        return
    chars, start = max(1, len(sentence) * target_tokens // size), 0
    while start < len(sentence):
        end = start + chars
        space = sentence.rfind(" ", start + chars // 2, end) if end < len(sentence) else -1
        end = space + 1 if space > 0 else end
        yield from _cut(sentence[start:end], target_tokens)  # again: tokens may be dense here
        start = end
