"""What hosts answer when they refuse, as one `ModelCallError` with a kind and one line."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from socket import gaierror
from typing import Any

from research_agent.graphs.overflow import is_overflow, window_told
from research_agent.graphs.ports import ModelCallError, ModelErrorKind

MAX_REASON_CHARS = 300
_PAGE_CHARS = 10_000
"""Of a page of HTML, looked through for its title: a search for tags among nothing but `<` takes the square of its length."""

# In the order they are tried: a quota error also says 429.
_WORDINGS: dict[ModelErrorKind, tuple[str, ...]] = {
    "quota": (
        "exceeded_current_quota|insufficient_quota|insufficient_user_quota|exceeded your current quota|quota exhausted",
        "insufficient[ _]balance|insufficient[ _]credits?|credit balance is too low|billing_not_active",
        "account .{0,40}(suspended|in arrears)|billing[ _]hard[ _]limit|key limit exceeded|access_terminated",
        "usage limits?.{0,20}(billing|access|regain)|specified api usage limit|额度|余额不足|欠费",
    ),
    "overloaded": (r"engine_overloaded|\boverloaded|insufficient_system_resource|at capacity|server is busy",),
    "content_filter": (
        "content blocked",
        "content_filter|content[ _]policy|content management policy|high risk|inappropriate content|flagged|data_inspection_failed",
    ),
    "auth": ("invalid_authentication|incorrect_api_key|invalid_api_key|invalid api key|authentication_error|permission_denied",),
    "rate_limit": ("rate_limit|rate limit|too many requests|max (organization )?(concurrency|rpm|tpm|tpd)",),
}
_KINDS = {kind: re.compile("|".join(wordings), re.IGNORECASE) for kind, wordings in _WORDINGS.items()}
_NOBODY = re.compile(r"connection refused|all connection attempts failed|name or service not known|name resolution", re.IGNORECASE)
_WAIT = re.compile(r"(?:try again|retry)\s+(?:after|in)\s+((?:\d+(?:\.\d+)?\s*(?:ms|hours?|h|min\w*|m|s\w*)?\s*)+)", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def from_exception(error: Exception, *, host: str, secrets: Sequence[str] = ()) -> ModelCallError:
    """An error of an SDK or of the connection. `secrets` are struck out: hosts echo keys."""
    status, response = getattr(error, "status_code", None), getattr(error, "response", None)
    if isinstance(status, int) and response is not None:  # openai's and anthropic's SDK name them alike
        return from_answer(status, response.text, host=host, headers=response.headers, secrets=secrets)
    body = getattr(error, "body", None)
    if body:  # an error sent inside a stream
        return from_answer(200, json.dumps(body, default=str), host=host, secrets=secrets)
    cause = error.__cause__ or error
    if "timeout" in f"{type(error).__name__} {type(cause).__name__}".lower():
        return ModelCallError(f"{host}: no answer in time", "network")
    reason = _line(f"{host}: connection failed: {str(cause) or type(cause).__name__}", secrets)
    return ModelCallError(reason, "network", unreached=_unreached(error))


def _unreached(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, gaierror)) or _NOBODY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def from_answer(
    status: int, body: str, *, host: str, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = ()
) -> ModelCallError:
    """An error a host answered with, or sent inside a stream (`status` 200)."""
    message, type_ = _read(body)
    shown = "error in the stream" if status == 200 else str(status)
    status = _status(body) if status == 200 else status
    text = f"{type_} {message}"
    kind = _kind(status, text)
    reason = _line(f"{host}: {shown}: {message or type_ or 'no reason given'}", secrets)
    wait = _retry_after_s(headers or {}, message) if kind in ("rate_limit", "overloaded", "network") else None
    return ModelCallError(reason, kind, retry_after_s=wait, window_tokens=window_told(message) if kind == "overflow" else None)


def _status(body: str) -> int:
    """An error sent inside a stream may carry the status that it would have had; 200 if it does not."""
    found = re.search(r'"(?:code|status|status_code)"\s*:\s*"?([45]\d\d)\b', body)
    return int(found[1]) if found else 200


def _kind(status: int, text: str) -> ModelErrorKind:
    if status == 402:
        return "quota"
    if _KINDS["quota"].search(text):
        return "quota"
    if is_overflow(status, text):
        return "overflow"
    for kind, pattern in _KINDS.items():
        if pattern.search(text):
            return kind
    if status in (401, 403):
        return "auth"
    if status == 413:
        return "overflow"
    if status == 429:
        return "rate_limit"
    if status in (408, 409, 425):
        return "network"
    return "overloaded" if status >= 500 or status == 200 else "bad_request"


def _read(body: str) -> tuple[str, str]:
    """Message and type of an error body: `{error: {type, message}}`, its variants, or a page of HTML."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: also a number of more digits than Python reads
        page = body[:_PAGE_CHARS]
        title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
        return (title[1] if title else re.sub(r"<[^>]+>", " ", page)), ""
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return str(data), ""
    error = data.get("error") or data
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, dict):
        return body, ""
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    metadata = error.get("metadata") or {}
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # an aggregator's own words are "Provider returned error"
    parts = [message if isinstance(message, str) else json.dumps(message), raw if isinstance(raw, str) else ""]
    names = [str(error[key]) for key in ("type", "code", "status") if error.get(key)]
    return " ".join(part for part in parts if part), " ".join(names)


def _retry_after_s(headers: Mapping[str, str], message: str) -> float | None:
    if ms := headers.get("retry-after-ms"):
        return _number(ms, scale=0.001)
    if after := headers.get("retry-after"):
        seconds = _number(after)
        return seconds if seconds is not None else _until(after)
    if found := _WAIT.search(message):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _SPAN.findall(found[1]))
        return seconds if math.isfinite(seconds) else None
    return None


def _number(text: str, *, scale: float = 1.0) -> float | None:
    try:
        number = float(text) * scale
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _line(text: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"
