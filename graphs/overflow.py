"""What hosts say of a prompt that is too long, and how long it may be. Each wording is a host's own."""

from __future__ import annotations

import re

_TOO_LONG = re.compile(
    "|".join(
        (
            "context_length_exceeded|exceeded model token limit|maximum context length|context window|context[ _]size|context length",
            "(prompt|input) is too long|input token count.{0,40}exceeds|input tokens exceed|maximum (prompt|model) length|context limit",
            "reduce the length of the (messages|prompt|input)|max_model_len|longer than the (model's )?context|request_too_large",
            "exceeds? the (model's )?max(imum)? (input|sequence|token)|token length too long|range of input length",
            "exceeds? max(imum)? (allowed (token|input)|length|message tokens)|token limit exceeded",
            "more than max tokens allowed|`?max_new_tokens`? must be <=|max(_completion)?_tokens must be at least 1, got -",
            "超过.{0,12}(上下文|最大长度)|(上下文|输入).{0,6}(过长|超长)",
        )
    ),
    re.IGNORECASE,
)
_OF_A_RATE = re.compile(r"per (minute|day|second)|\b[rt]p[md]\b|rate_limit|rate limit", re.IGNORECASE)
_WINDOW = (
    re.compile(r"token limit:?\s*(\d{4,})", re.IGNORECASE),
    re.compile(r"maximum (?:context|prompt) length (?:is|of)\s*(\d{4,})", re.IGNORECASE),
    re.compile(r"context (?:window|length|size)[^.\d]{0,40}?\(?(\d{4,})", re.IGNORECASE),
    re.compile(r"(?:>|must be <=)\s*(\d{4,})", re.IGNORECASE),
    re.compile(r"(?:max_model_len|maximum model length)[^\d]{0,12}(\d{4,})", re.IGNORECASE),
    re.compile(r"limit (?:of|is) (\d{4,})|tokens allowed \((\d{4,})\)|input length should be \[\d+, ?(\d{4,})\]", re.IGNORECASE),
    re.compile(r"maximum allowed (?:token|input) \w+ (?:is |of )?(\d{4,})", re.IGNORECASE),
)

_DIGITS = 12
"""Of a number: Python refuses to read one of thousands, and no window has so many."""


def is_overflow(status: int, text: str) -> bool:
    """`status` is HTTP's. A limit of tokens a minute is none of a prompt."""
    return status != 429 and bool(_TOO_LONG.search(text)) and not _OF_A_RATE.search(text)


def window_told(text: str) -> int | None:
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return next((int(found[found.lastindex or 1][:_DIGITS]) for pattern in _WINDOW if (found := pattern.search(plain))), None)
