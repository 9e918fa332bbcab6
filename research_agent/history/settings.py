"""A run's config again, with what a command changes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research_agent import runs
from research_agent.config import Config, ConfigError
from research_agent.runs import Run
from research_agent.settings.shapes import PROVIDERS

_FIXED = ("question", "out")


def config_of(
    run: Run, *, question: str = "", model: str = "", role: str = "", out: Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """As the run recorded it. `model`: `NAME` or `PROVIDER:NAME`, of every role or of one; `out`: of a fork that is not to be beside it.

    Raises ConfigError and RunError.
    """
    if any(override.partition("=")[0].strip() in _FIXED for override in overrides):
        raise ConfigError("--set question, out: not allowed: a run keeps its question and its folder; start another one, or fork it")
    record = run.read()
    mapping: dict[str, Any] = {
        **record.get("config", {}),
        "question": question or record["question"],
        "out": str(run.folder.parent if out is None else out),
    }
    if out is not None and (also := mapping.get("memory", {}).get("also")):
        mapping["memory"] = {**mapping["memory"], "also": [str(runs.find(name, run.folder.parent).folder) for name in also]}
    if model:
        _put_model(mapping, model, role)
    return Config.from_mapping(mapping, base=Path.cwd(), overrides=overrides)


def _put_model(mapping: dict[str, Any], text: str, role: str) -> None:
    """What belongs to the old model (its window, prices, parameters) does not go to the new one; what belongs to its host does.

    Of a role only what is its own: the rest it has from `model`, as that is when everything is set.
    """
    own = mapping.get("roles", {}).get(role, {}) if role else mapping.get("model", {})
    old = {**mapping.get("model", {}), **own}
    provider, colon, name = text.partition(":")
    if not colon or provider not in PROVIDERS:
        provider, name = (text, "") if text in PROVIDERS else (str(old.get("provider", "extractive")), text)
    if provider == "extractive" and colon:  # others have names with a colon in them
        before = text.partition(":")[0]
        known = "extractive, " + ", ".join(f"{one}:NAME" for one in PROVIDERS if one != "extractive")
        raise ConfigError(f"--model {text!r}: {before!r} is no provider with models by name; allowed: {known}")
    if provider == "extractive" and name:
        raise ConfigError(f"--model {text!r}: extractive has no models by name; allowed: extractive, PROVIDER:NAME")
    new: dict[str, Any] = {"provider": provider, **({"name": name} if name else {})}
    if provider == old.get("provider", "extractive"):
        new |= {key: own[key] for key in ("base_url", "api_key_env") if own.get(key) is not None}
    if role:
        mapping["roles"] = {**mapping.get("roles", {}), role: new}
    else:
        mapping["model"], mapping["roles"] = new, {}
