"""Thought and answer told apart in a text that holds both, as it streams: `<think>` blocks, and leaked tool-call tokens."""

from __future__ import annotations

import json
import re
from typing import Literal

Channel = Literal["answer", "thought", "leak"]

_OPENS, _CLOSES = ("<think>", "◁think▷"), ("</think>", "◁/think▷")
_LEAK_OPEN, _LEAK_CLOSE = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_LEAK_CALL = "<|tool_call_begin|>"
"""A section may come without its opening: a parser took it."""
_UNOPENED = re.compile(r"(?<![`'\"])</think>")
_ALOUD = re.compile(r"(ok|okay|alright|right|hm+|so|well|now|let|i|we|the user|to answer|first)\b|[嗯好我用首]", re.IGNORECASE)
_FIRST_CHARS = 10
_LEAKED_CALL = re.compile(
    r"<\|tool_call_begin\|>\s*(?P<id>[^<\s]+)\s*<\|tool_call_argument_begin\|>\s*(?P<args>.*?)\s*(?:<\|tool_call_end\|>|\Z)", re.DOTALL
)


class Splitter:
    """Feed it pieces; it hands back (channel, text), holding back only what may be the start of a tag.

    `opened`: it begins inside a thought, whose opening tag stood in the prompt.
    """

    def __init__(self, home: Channel, *, opened: bool = False) -> None:
        self.opened = opened
        self._home: Channel = home
        self._now: Channel = "thought" if opened else home
        self._held = ""
        self._begun = self._closed = False

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        self._held += text
        out: list[tuple[Channel, str]] = []
        while self._held:
            at, tag = self._next_tag()
            if at < 0:
                break
            if not self._keep(out, self._held[:at]) and tag in _OPENS:
                self._keep(out, tag)  # mid-answer it is a word, not a tag
            else:
                self._enter(tag)
            self._held = self._held[at + (0 if tag == _LEAK_CALL else len(tag)) :]
        keep = self._suffix_chars()
        self._keep(out, self._held[: len(self._held) - keep])
        self._held = self._held[len(self._held) - keep :]
        return out

    def flush(self) -> list[tuple[Channel, str]]:
        out: list[tuple[Channel, str]] = []
        self._keep(out, self._held)
        self._held = ""
        return out

    def _tags(self) -> tuple[str, ...]:
        if self._now == "leak":
            return (_LEAK_CLOSE,)
        if self._now == "thought":
            return (*_CLOSES, _LEAK_OPEN, _LEAK_CALL)
        return (_LEAK_OPEN, _LEAK_CALL) if self._begun else (*_OPENS, _LEAK_OPEN, _LEAK_CALL)

    def _next_tag(self) -> tuple[int, str]:
        found = [(at, tag) for tag in self._tags() if (at := self._held.find(tag)) >= 0]
        return min(found) if found else (-1, "")

    def _enter(self, tag: str) -> None:
        if tag in _OPENS:
            self._now = "thought"
        elif tag in (_LEAK_OPEN, _LEAK_CALL):
            self._now = "leak"
        else:
            self._now = "answer" if tag in _CLOSES else self._home
            self._closed = self._closed or tag in _CLOSES

    def _keep(self, out: list[tuple[Channel, str]], text: str) -> bool:
        """True while nothing but space has been said, which is where a `<think>` block may open."""
        if self._now == "answer" and not self._begun:
            text = text.lstrip() if self._closed else text
            if not text.strip():
                return True  # space around the block belongs to neither
        if text:
            self._begun = self._begun or self._now == "answer"
            out.append((self._now, text))
        return not self._begun

    def _suffix_chars(self) -> int:
        return max((n for tag in self._tags() for n in range(1, len(tag)) if self._held.endswith(tag[:n])), default=0)


def closes_unopened(text: str) -> bool:
    """An answer that begins inside a thought: its template opened the block in the prompt. A tag that is only named stands in quotes."""
    found = _UNOPENED.search(text)
    return found is not None and not text.lstrip().startswith(_OPENS) and "<think>" not in text[: found.start()]


def thinks_aloud(text: str) -> bool | None:
    """Whether an answer may turn out to be a thought, by its first words; None before there are enough of them."""
    begun = text.lstrip()
    return None if len(begun) < _FIRST_CHARS else _ALOUD.match(begun) is not None


def leaked_calls(text: str) -> list[tuple[str, str, str]]:
    """(id, name, arguments as JSON) of a tool-call section that came as text."""
    calls = []
    for found in _LEAKED_CALL.finditer(text):
        name = re.sub(r":\d+$", "", found["id"]).removeprefix("functions.")
        calls.append((found["id"], name, found["args"]))
    return calls


def json_in(text: str) -> str:
    """The last JSON object in a text, as it stands there; empty if there is none."""
    decoder = json.JSONDecoder()
    best, at = "", text.find("{")
    while at >= 0:
        try:
            value, length = decoder.raw_decode(text[at:])
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            best = text[at : at + length]
        at = text.find("{", at + length)
    return best
