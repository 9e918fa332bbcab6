"""Secrets leave a text before it is stored, logged or shown: the values that are known, and what has a key's shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MARK = "[redacted]"
MIN_SECRET_CHARS = 6
"""A shorter value is no secret worth the harm of cutting it out of every word."""

_EDGE = r"(?<![A-Za-z0-9])"
_WIDE_EDGE = r"(?<![A-Za-z0-9_-])"
_LONG = r"(?=[A-Za-z_-]{0,100}[0-9])[A-Za-z0-9_-]{20,200}"
_SHAPES: dict[str, str] = dict(
    [
        ("sk-", _WIDE_EDGE + r"sk-(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{16,256}"),
        *((f"{begin}_{kind}_", _EDGE + rf"{begin}_{kind}_[A-Za-z0-9]{{10,128}}") for begin in ("sk", "rk") for kind in ("live", "test")),
        ("tvly-", _EDGE + r"tvly-[A-Za-z0-9_-]{10,128}"),
        *(
            (begin + mark, _WIDE_EDGE + begin + mark + _LONG)
            for begin in ("hf", "gsk", "r8", "npm", "glpat", "lsv2_pt", "lsv2_sk")
            for mark in "_-"
        ),
        ("xai-", _EDGE + r"xai-[A-Za-z0-9]{20,200}"),
        ("AIza", _EDGE + r"AIza[A-Za-z0-9_-]{30,60}"),
        *((begin, _EDGE + begin + r"[A-Z0-9]{16}(?![A-Za-z0-9])") for begin in ("AKIA", "ASIA")),
        *((f"gh{kind}_", _EDGE + rf"gh{kind}_[A-Za-z0-9]{{20,255}}") for kind in "pousr"),
        ("github_pat_", _EDGE + r"github_pat_[A-Za-z0-9_]{20,255}"),
        *((f"xox{kind}-", _EDGE + rf"xox{kind}-[A-Za-z0-9-]{{10,250}}") for kind in "abeoprs"),
        ("eyJ", _EDGE + r"eyJ[A-Za-z0-9_-]{10,4000}\.eyJ[A-Za-z0-9_-]{5,8000}\.[A-Za-z0-9_-]{0,2000}"),
    ]
)
"""How a key begins, and its whole shape. Quantifiers are bounded, so that a megabyte of anything is one pass."""


@lru_cache(maxsize=256)
def _keys(begins: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_SHAPES[begin] for begin in begins))


_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=\\\s]{0,20000}")
_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_AUTHORIZATION = re.compile(
    r"(?i)(\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:(?:bearer|basic|token)\s{1,3})?)"
    r"(?!(?:bearer|basic|token)\s|\[redacted\])[^\s\"',;]{6,4000}"
)
_BEARER = re.compile(r"(?i)(\bbearer\s{1,3})(?=[a-z._~+/=-]{0,200}[0-9])[A-Za-z0-9._~+/=-]{16,4000}")
_NAMED = re.compile(
    r"(?i)(\b(?:x-)?(?:api[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|secret[_-]?key|password|passwd)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)"
    r"(?=[^\s\"'&,;<>]{0,60}[0-9])(?!\[redacted\])[A-Za-z0-9._~+/=!@#$%^*-]{12,500}"
)
_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@:\"'<>]{0,200}:[^\s/@\"'<>]{1,500}@")

_LABELLED = (("authorization", _AUTHORIZATION), ("bearer", _BEARER), *((word, _NAMED) for word in ("key", "token", "secret", "passw")))
"""A plain word to look for first, and the shape that stands behind it."""


_SHORT = 100
"""Characters: the keys and names of an event, its handles and addresses, which come again with each."""


class Redactor:
    """Text without secrets. Called twice on a text, it changes nothing the second time."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({s.strip() for s in secrets if len(s.strip()) >= MIN_SECRET_CHARS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None
        self._short = lru_cache(maxsize=4096)(self._redacted)

    def __call__(self, text: str) -> str:
        if len(text) < MIN_SECRET_CHARS:
            return text
        return self._short(text) if len(text) <= _SHORT else self._redacted(text)

    def _redacted(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MARK, text)
        text = _without_key_blocks(text)
        if begins := tuple(begin for begin in _SHAPES if begin in text):  # a hundred times as quick as all shapes, and most texts hold none
            text = _keys(begins).sub(MARK, text)
        lowered = text.lower()
        for word, shape in _LABELLED:
            if word in lowered:
                text = shape.sub(rf"\1{MARK}", text)
        return _IN_URL.sub(rf"\1{MARK}@", text) if "://" in text else text

    def __repr__(self) -> str:
        return "Redactor()"


def _without_key_blocks(text: str) -> str:
    """Whole blocks up to their end; of one cut off, what follows in a key's letters."""
    parts, at = [], 0
    while begin := _KEY_BEGIN.search(text, at):
        closing = text.find("-----END ", begin.end(), begin.end() + 20_000)
        end = _KEY_END.match(text, closing) if closing >= 0 else _KEY_BODY.match(text, begin.end())
        parts += [text[at : begin.start()], MARK]
        at = end.end() if end else begin.end()
    return "".join([*parts, text[at:]])
