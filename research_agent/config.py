"""The config: one frozen object, validated whole. The only reader of the environment.

ConfigError    a config that cannot be run with; one line (settings/faults.py)

The shapes of its parts are in settings/shapes.py; what only shows once they are seen together, in settings/checks.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast, get_args

from pydantic import Field, SecretStr, ValidationError

from research_agent.redact import Redactor
from research_agent.settings.checks import faults_of
from research_agent.settings.faults import ConfigError, read
from research_agent.settings.file import anchor, read_file, set_value
from research_agent.settings.shapes import (
    OPTIONAL_ROLES,
    SEARCH_KEYS,
    FilePath,
    GuardsConfig,
    LimitsConfig,
    McpConfig,
    MemoryConfig,
    ModelConfig,
    Part,
    PricesConfig,
    PythonConfig,
    ReportConfig,
    Role,
    ScrapeConfig,
    SearchConfig,
    StoreConfig,
    matching,
)

__all__ = ["Config", "ConfigError", "ModelConfig", "PricesConfig"]

_SERVER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_SECRET_VARIABLE = re.compile(r".*(API_?KEY|TOKEN|SECRET|PASSWORD)")


class Config(Part):
    """One investigation's settings."""

    question: str = Field(min_length=1, description="the question to investigate, a text that is not empty")
    model: ModelConfig = Field(default=ModelConfig(), description="a mapping, such as {provider: extractive}")
    roles: dict[Role, ModelConfig] = Field(default_factory=dict, description=f"a mapping of {', '.join(get_args(Role))} to model settings")
    search: SearchConfig = Field(default=SearchConfig(), description="a mapping, such as {providers: [folder], folder: ./docs}")
    scrape: ScrapeConfig = Field(default=ScrapeConfig(), description="a mapping, such as {allow_hosts: []}")
    python: PythonConfig = Field(default=PythonConfig(), description="a mapping, such as {enabled: true}")
    mcp: dict[Annotated[str, matching(_SERVER)], McpConfig] = Field(
        default_factory=dict, description="a mapping of names (letters, digits, _) to servers, each with a command or a url"
    )
    memory: MemoryConfig = Field(default=MemoryConfig(), description="a mapping, such as {embedder: auto}")
    store: StoreConfig = Field(default=StoreConfig(), description="a mapping, such as {checkpoints: null}")
    cache: FilePath = Field(default=Path(".research_agent"), strict=False, description="a folder that is safe to delete")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="a mapping, such as {usd: 2.00, steps: 300, minutes: 120}")
    approve_plan: bool = Field(default=False, description="true or false")
    report: ReportConfig = Field(default=ReportConfig(), description="a mapping, such as {formats: [md, html]}")
    guards: GuardsConfig = Field(default=GuardsConfig(), description="a mapping, such as {loops: true}")
    out: FilePath = Field(default=Path("runs"), strict=False, description="the folder that runs are kept in")

    @classmethod
    def load(cls, path: Path | None, *, question: str | None = None, out: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """The config of a file, changed by `overrides` (`limits.usd=1`, values typed as YAML), then by `question` and `out`."""
        mapping = read_file(path) if path is not None else {}
        if path is not None:
            anchor(mapping, path.parent)
        set_here: dict[str, str] = {}
        for override in overrides:
            set_here[set_value(mapping, override)] = "--set "
        for key, value in (("question", question), ("out", None if out is None else str(out))):
            if value is not None:
                mapping[key] = value
                set_here[key] = "--"
        return cls._checked(mapping, origin="" if path is None else f"{path}: ", set_here=set_here)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, base: Path, overrides: Sequence[str] = ()) -> Self:
        """A config as `public` gave it, or as an application holds it. Relative folders to search are taken from `base`."""
        own = {key: dict(value) if isinstance(value, Mapping) else value for key, value in mapping.items()}
        anchor(own, base)
        return cls._checked(own, origin="", set_here={set_value(own, override): "--set " for override in overrides})

    @classmethod
    def _checked(cls, mapping: dict[str, Any], *, origin: str, set_here: Mapping[str, str]) -> Self:
        try:
            config = cls.model_validate(mapping)
            faults = faults_of(config)
        except ValidationError as error:
            config, faults = None, read(error.errors(include_url=False, include_context=False), cls)
        if config is None or faults:
            told = [(_origin_of(fault.key, set_here), fault) for fault in faults]
            in_file = "; ".join(str(fault) for prefix, fault in told if not prefix)
            elsewhere = "; ".join(f"{prefix}{fault}" for prefix, fault in told if prefix)
            raise ConfigError("; ".join(part for part in (origin + in_file if in_file else "", elsewhere) if part))
        return config

    @property
    def played(self) -> tuple[Role, ...]:
        """The roles that are played in this run."""
        return tuple(role for role in get_args(Role) if role in self.roles or role not in OPTIONAL_ROLES)

    def model_for(self, role: Role) -> ModelConfig:
        """The model of a role: its own settings over `model`'s. What belongs to another provider or model is not carried over."""
        own = self.roles.get(role)
        if own is None:
            return self.model
        given = {name: getattr(own, name) for name in own.model_fields_set}
        inherited = {name: getattr(self.model, name) for name in self.model.model_fields_set}
        if given.get("provider", self.model.provider) != self.model.provider:
            inherited = {}
        elif given.get("name", self.model.name) != self.model.name:
            inherited = {name: value for name, value in inherited.items() if name in ("provider", "base_url", "api_key_env")}
        return ModelConfig.model_validate({**inherited, **given})

    @staticmethod
    def api_key(model: ModelConfig) -> SecretStr | None:
        """The key, read now; None where none is needed or set."""
        value = os.environ.get(model.key_variable or "", "").strip()
        return SecretStr(value) if value else None

    def search_keys(self) -> dict[str, SecretStr]:
        """Of the search providers that need one, read now."""
        return {name: SecretStr(key) for name in self.search.providers if (key := os.environ.get(SEARCH_KEYS.get(name, ""), "").strip())}

    @staticmethod
    def variables(names: Iterable[str]) -> dict[str, SecretStr]:
        """Environment variables by name, those that are set, read now."""
        return {name: SecretStr(os.environ[name]) for name in names if os.environ.get(name)}

    def embedder_key(self) -> str:
        """Of an embedder that is an OpenAI-compatible endpoint; empty where none is set."""
        return self.key_of(self.memory.embedder)

    @staticmethod
    def key_of(embedder: str) -> str:
        """Of an embedder by its name."""
        return os.environ.get("OPENAI_API_KEY", "").strip() if embedder.startswith("openai:") else ""

    @staticmethod
    def store_password(store: StoreConfig) -> str:
        """Of the PostgreSQL server, as the config says; empty where only libpq's own PGPASSWORD and ~/.pgpass can know it."""
        url = store.checkpoints
        if url is not None and url.password is not None:
            return url.password.get_secret_value()
        return os.environ.get(store.password_env or "", "")

    def secrets(self, *models: ModelConfig) -> tuple[str, ...]:
        """The values that must not be written down: these models' keys, the MCP servers', and every variable whose name says that it is
        secret.
        """
        named = {model.key_variable for model in models} | {server.api_key_env for server in self.mcp.values()}
        return tuple(value for name, value in os.environ.items() if value and (name in named or _SECRET_VARIABLE.fullmatch(name)))

    def unused(self) -> list[str]:
        """What is said of a model that has no host: told, not obeyed."""
        told = []
        for where, model in {"model": self.model, **{f"roles.{role}": model for role, model in self.roles.items()}}.items():
            given = model.of_a_host
            if "provider" in model.model_fields_set and model.provider == "extractive" and given:
                told.append(f"{where}: {', '.join(given)} not used: provider 'extractive' has no language model and no host")
        return told

    def public(self) -> dict[str, Any]:
        """The settings as plain JSON, without secrets; `from_mapping` reads them back."""
        return cast(dict[str, Any], _redacted(self.model_dump(mode="json", exclude_unset=True), Redactor()))


def _redacted(value: Any, redact: Redactor) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    return redact(value) if isinstance(value, str) else value


def _origin_of(key: str, set_here: Mapping[str, str]) -> str:
    return next((origin for name, origin in set_here.items() if key == name or key.startswith(f"{name}.")), "")
