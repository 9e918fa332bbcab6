"""Doubles that ship beside the real thing: a scripted model host, a scripted model, a local site, an embedder without a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedder import HashingEmbedder
    from .host import Call, Reply, ScriptedHost
    from .scripted import ScriptedModel
    from .site import Page, Site
    from .vendors import VendorHost

__all__ = ["Call", "HashingEmbedder", "Page", "Reply", "ScriptedHost", "ScriptedModel", "Site", "VendorHost"]
_HOMES = {
    "Call": "host",
    "HashingEmbedder": "embedder",
    "Page": "site",
    "Reply": "host",
    "ScriptedHost": "host",
    "ScriptedModel": "scripted",
    "Site": "site",
    "VendorHost": "vendors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'site')}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
