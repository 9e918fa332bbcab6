"""One question to a hosted search API, and what its HTTP statuses mean for the next one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ValidationError

from research_agent.search.provider import SearchFailed
from research_agent.visible import one_line
from research_agent.web.net import Client, Fetched, FetchFailed, Refused

TIMEOUT_S = 20.0
MAX_ROWS = 100
MAX_BYTES = 5_000_000
"""Of an answer."""
_NO_CREDIT = re.compile(r"credit|quota|usage limit|exceeds your plan", re.IGNORECASE)

Answer = TypeVar("Answer", bound=BaseModel)


async def ask(url: str, answer: type[Answer], *, headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> tuple[Answer, str]:
    """GET, or POST with a JSON body: the answer, and when it came (ISO 8601). Redirects are not followed: a key goes where it was meant to.

    Raises SearchFailed.
    """
    try:
        async with Client(allow_hosts=[urlsplit(url).hostname or ""], timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES) as client:
            got = await client.fetch(url, headers={**headers, "Accept": "application/json"}, json=body)
    except (FetchFailed, Refused) as error:
        raise SearchFailed(str(error)) from error
    if got.status != 200:
        raise _failure(got)
    try:
        return answer.model_validate_json(got.body), got.retrieved_at
    except ValidationError as error:
        raise SearchFailed("it did not answer with search results in JSON") from error


def each(row: type[BaseModel]) -> BeforeValidator:
    """For a list of rows: one that is none is left out, and only a list without any is no answer."""

    def keep(value: object) -> object:
        if not isinstance(value, list):
            return value
        kept = []
        for item in value[:MAX_ROWS]:
            try:
                kept.append(row.model_validate(item))
            except ValidationError:
                continue
        if value and not kept:
            raise ValueError("no row is a search result")
        return kept

    return BeforeValidator(keep)


def _failure(got: Fetched) -> SearchFailed:
    said = _message(got.body)
    reason = f"HTTP {got.status}" + (f": {said}" if said else "")
    if got.status in (402, 432, 433) or (got.status in (400, 403, 429) and _NO_CREDIT.search(said)):
        return SearchFailed(f"no credit left there ({reason})", "refused")
    if got.status in (401, 403) or (got.status == 422 and "token" in said.lower()):
        return SearchFailed(f"it does not accept the key ({reason})", "refused")
    if got.status == 429:
        return SearchFailed(f"rate limit ({reason})", "rate_limit", retry_after_s=retry_after_s(got.headers))
    return SearchFailed(reason)


def _message(body: bytes) -> str:
    """The line of an error body that says why, wherever these APIs put it."""
    try:
        told: object = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    while isinstance(told, dict):
        told = next((told[key] for key in ("detail", "error", "message") if told.get(key)), "")
    return one_line(told, 160) if isinstance(told, str) else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until one may ask again: `Retry-After`, as seconds or a date; else the windows of `X-RateLimit-*` that are used up."""
    given = headers.get("retry-after", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        pass
    left = headers.get("x-ratelimit-remaining", "").split(",")
    resets = headers.get("x-ratelimit-reset", "").split(",")
    waits = [float(wait) for rest, wait in zip(left, resets, strict=False) if rest.strip() == "0" and wait.strip().isdecimal()]
    return max(waits, default=None)
