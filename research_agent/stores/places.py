"""Where a run's stores are: as its config says now, as its record said, and every server that ever held something of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from research_agent.config import Config
from research_agent.settings.shapes import StoreConfig

from .checkpoints import Place

if TYPE_CHECKING:
    from research_agent.runs import Run


def of(run: Run, store: StoreConfig) -> Place:
    return Place(run.checkpoints, run.id, store.checkpoints, Config.store_password(store))


def recorded(record: dict[str, Any]) -> StoreConfig:
    """The stores of the last session."""
    return StoreConfig.model_validate(record.get("config", {}).get("store", {}))


def servers(record: dict[str, Any], store: StoreConfig) -> dict[str, list[str]]:
    """What has held something of the run by now, as the record keeps it: URLs, without passwords."""
    known: dict[str, list[str]] = record.get("servers", {})
    now = {"checkpoints": store.checkpoints, "vectors": store.vectors}
    return {name: list(dict.fromkeys([*known.get(name, ()), *([str(url)] if url else ())])) for name, url in now.items()}
