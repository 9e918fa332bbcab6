"""What a refusal teaches of a host's dialect: the next request is made without what it did not know."""

from __future__ import annotations

import re
from dataclasses import replace

from .catalog import Row, Structured

_UNKNOWN = re.compile(
    r"unsupported|not supported|unavailable|n[o']t support|unrecognized|unknown|unexpected|not permitted|extra inputs|invalid|must be",
    re.IGNORECASE,
)
_LESS: dict[Structured, Structured] = {"json_schema": "json_object", "json_object": "text"}


def adapted(row: Row, refusal: str) -> Row | None:
    """The row as a 400 corrects it; None if it teaches nothing."""
    if not _UNKNOWN.search(refusal):
        return None
    if re.search(r"response_format|json_schema|json_object|guided", refusal, re.IGNORECASE) and row.structured in _LESS:
        return replace(row, structured=_LESS[row.structured])
    if re.search(r"max_completion_tokens", refusal) and row.max_tokens_field == "max_tokens":
        return replace(row, max_tokens_field="max_completion_tokens")
    if re.search(r"max_completion_tokens", refusal):
        return replace(row, max_tokens_field="max_tokens")
    if "stream_options" in refusal and row.stream_usage:
        return replace(row, stream_usage=False)
    return None
