"""What is known of models and hosts: the rows of `catalog.yaml`, merged for one provider and name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

Structured = Literal["json_schema", "json_object", "text"]
Api = Literal["chat", "responses", "messages"]
ANY = "any model"
CallIds = Literal["verbatim", "kimi"]


@dataclass(frozen=True, slots=True)
class RowPrices:
    """Dollars per million tokens."""

    miss: float
    hit: float
    output: float
    cache_write: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model at one host."""

    provider: str
    name: str
    family: str = ""
    """Empty: an unknown model, with the cautious values."""
    base_url: str = ""
    api_key_env: str | None = None
    window_tokens: int
    max_output_tokens: int
    api: Api
    max_tokens_field: str
    prices: RowPrices | None = None
    """None: unknown, so a limit in dollars cannot hold."""
    tool_choice: tuple[str, ...]
    """What may be asked for while the model thinks."""
    reasoning_field: str
    needs_reasoning: bool
    """An assistant message with tool calls must carry the reasoning field, be it empty."""
    structured: Structured
    call_ids: CallIds
    typed_schemas: bool
    """Every property of a tool's schema needs a type."""
    strict_tools: bool = False
    """The host enforces a tool's schema (`strict: true`), where it can be said so."""
    opens_in_thought: bool = False
    """The template opens the thought in the prompt: the content begins inside it, and only `</think>` is seen."""
    stream_usage: bool = True
    """A stream may be asked to report usage."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    date: str = ""
    verified: str = ""


def lookup(provider: str, name: str) -> Row:
    """The row of a model at a provider; an unknown model gets its provider's wire rules and cautious numbers."""
    data = _load()
    if provider not in data["providers"]:
        raise KeyError(f"unknown provider {provider!r}; known: {', '.join(providers())}")
    family = _family(name)
    known: dict[str, Any] = data["families"].get(family, {})
    at = (known.get("at") or {}).get(provider, {})
    # A family says what a model is, its provider how that host speaks; only `at` may contradict the host.
    merged = {**data["defaults"], **known, **_speaks(data["providers"][provider], known), **at}
    return _row(provider, name, family, merged)


def rows() -> list[Row]:
    """Every known model at every provider that serves it, as the catalog names them; a provider of whatever one has is a row itself."""
    data = _load()
    pairs = [(provider, known["ids"][0]) for known in data["families"].values() for provider in known.get("at") or {}]
    named = {provider for provider, _ in pairs}
    return [lookup(provider, name) for provider, name in [*pairs, *((p, ANY) for p in data["providers"] if p not in named)]]


def named(name: str) -> list[Row]:
    """The rows of a model, under any name a host gives it, or of a provider."""
    family = _family(name)
    return [row for row in rows() if name == row.provider or (family and row.family == family)]


def providers() -> tuple[str, ...]:
    return tuple(_load()["providers"])


def _speaks(provider: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    spoken = dict(provider)
    if known.get("needs_reasoning"):
        spoken.pop("needs_reasoning", None)
    return spoken


def _family(name: str) -> str:
    wanted = _plain(name)
    for family, known in _load()["families"].items():
        if any(_plain(id) == wanted for id in known["ids"]):
            return str(family)
    return ""


def _plain(name: str) -> str:
    """Without the maker, case, tag or date a host may add: `moonshotai/Kimi-K2-Thinking:free` is `kimi-k2-thinking`."""
    plain = re.sub(r":[a-z][\w.-]*$", "", name.rsplit("/", 1)[-1].lower())
    return re.sub(r"-(\d{8}|\d{4}-\d{2}-\d{2})$", "", plain)


def _row(provider: str, name: str, family: str, merged: Mapping[str, Any]) -> Row:
    prices = merged.get("prices")
    return Row(
        provider=provider,
        name=name,
        family=family,
        base_url=merged.get("base_url") or "",
        api_key_env=merged.get("api_key_env"),
        window_tokens=merged["window_tokens"],
        max_output_tokens=merged["max_output_tokens"],
        api=merged["api"],
        max_tokens_field=merged["max_tokens_field"],
        prices=None if prices is None else _prices(prices),
        tool_choice=tuple(merged["tool_choice"]),
        reasoning_field=merged["reasoning_field"],
        needs_reasoning=merged["needs_reasoning"],
        structured=merged["structured"],
        call_ids=merged["call_ids"],
        typed_schemas=merged["typed_schemas"],
        fixed=merged["fixed"],
        body=merged["body"],
        source=merged.get("source", ""),
        date=str(merged.get("date", "")),
        verified=merged["verified"],
    )


def _prices(prices: Mapping[str, float]) -> RowPrices:
    miss = float(prices["miss"])
    return RowPrices(
        miss=miss,
        hit=float(prices.get("hit", miss)),
        output=float(prices["output"]),
        cache_write=float(prices.get("cache_write", miss)),
    )


@cache
def _load() -> dict[str, Any]:
    import yaml

    data: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("catalog.yaml").read_text("utf-8"))
    return data
