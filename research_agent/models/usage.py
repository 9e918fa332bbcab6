"""Reported usage, in whatever layout a host sends it, as LangChain's `UsageMetadata`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata


def read_usage(usage: Mapping[str, Any]) -> UsageMetadata:
    """One report of usage. Cached tokens are part of the input, reasoning tokens part of the output."""
    prompt_details = usage.get("prompt_tokens_details") or {}
    completion_details = usage.get("completion_tokens_details") or {}
    cached = _first(usage.get("cached_tokens"), prompt_details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"))
    written = _first(prompt_details.get("cache_write_tokens"), usage.get("cache_creation_input_tokens"))
    reasoning = _first(completion_details.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    input_tokens, output_tokens = _first(usage.get("prompt_tokens")) or 0, _first(usage.get("completion_tokens")) or 0
    total = _first(usage.get("total_tokens"))
    if reasoning and total == input_tokens + output_tokens + reasoning:
        output_tokens += reasoning  # some hosts count reasoning beside completion_tokens; it is billed all the same
    details = InputTokenDetails()
    if cached is not None:
        details["cache_read"] = min(cached, input_tokens)
    if written is not None:
        details["cache_creation"] = written
    return UsageMetadata(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        input_token_details=details,
        output_token_details=OutputTokenDetails() if reasoning is None else OutputTokenDetails(reasoning=reasoning),
    )


def _first(*values: Any) -> int | None:
    """The first that is a number: hosts send null, and some send only zeros in the standard place."""
    numbers = [int(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return next((number for number in numbers if number), numbers[0] if numbers else None)
