"""What a config says of one model, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from research_agent.graphs.ports import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a config says of one model. None and empty: the catalog's value."""

    provider: str
    name: str = ""
    base_url: str | None = None
    api_key: SecretStr | None = None
    key: str = ""
    """The NAME of the variable that it comes from."""
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    prices: Prices | None = None
    like: str = ""
    """A model of the catalog that this one is, under another name."""
    wire: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the catalog's row, otherwise."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Request fields, such as `temperature`, `top_p`, `reasoning_effort`, `thinking`."""
