"""The config: one frozen object, validated whole. The only reader of the environment.

ConfigError    a config that cannot be run with; one line (config_faults.py)
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, SecretStr, ValidationError

from research_agent import runs
from research_agent.config_faults import SECRET_NAME, ConfigError, Fault, not_allowed, read
from research_agent.config_file import anchor, read_file, set_value
from research_agent.redact import Redactor
from research_agent.stores.address import PostgresUrl

__all__ = ["Config", "ConfigError", "ModelConfig", "PricesConfig"]

Provider = Literal[
    "extractive", "openai", "moonshot", "cometapi", "vllm", "sglang", "deepseek", "anthropic", "openrouter", "ollama", "llamacpp"
]
SearchProvider = Literal["folder", "ddgs", "searxng", "tavily", "brave", "serper", "exa"]
Role = Literal["planner", "investigator", "reviewer", "writer", "summarizer"]  # as graphs.ports has it; importing that takes a second

OPTIONAL_ROLES: tuple[Role, ...] = ("summarizer",)
"""Played only where `roles` names them."""


class ProviderDefaults(NamedTuple):
    base_url: str | None = None
    api_key_env: str | None = None


PROVIDERS: dict[str, ProviderDefaults] = {
    "extractive": ProviderDefaults(),
    "openai": ProviderDefaults("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "moonshot": ProviderDefaults("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "cometapi": ProviderDefaults("https://api.cometapi.com/v1", "COMETAPI_API_KEY"),
    "deepseek": ProviderDefaults("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "anthropic": ProviderDefaults("https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "openrouter": ProviderDefaults("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "vllm": ProviderDefaults("http://127.0.0.1:8000/v1"),
    "sglang": ProviderDefaults("http://127.0.0.1:30000/v1"),
    "ollama": ProviderDefaults("http://127.0.0.1:11434/v1"),
    "llamacpp": ProviderDefaults("http://127.0.0.1:8080/v1"),
}
"""A provider with a variable here needs its key, unless it is reached at a private address."""

SEARCH_KEYS: dict[str, str] = {
    "tavily": "TAVILY_API_KEY",
    "brave": "BRAVE_API_KEY",
    "serper": "SERPER_API_KEY",
    "exa": "EXA_API_KEY",
}
"""The variables that search providers read their keys from."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SHOWABLE_VARIABLE = re.compile(r"(?=.*_|.{1,12}$)[A-Z_][A-Z0-9_]{0,63}")
_SECRET_VARIABLE = re.compile(r".*(API_?KEY|TOKEN|SECRET|PASSWORD)")
_ALLOW_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?|[0-9A-Fa-f:]+")
_SERVER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_EMBEDDER = re.compile(r"auto|none|onnx|(sentence-transformers|openai):\S.*")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    plain = not (parts.query or parts.fragment or parts.username or parts.password or re.search(r"\s", value))
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError("not a plain http(s) address")
    _ = parts.port  # raises ValueError when it is no port
    return value.rstrip("/")


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError("does not match")
        return value

    return AfterValidator(check)


def _path(value: object) -> object:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return Path(value).expanduser()
    return value


Url = Annotated[str, AfterValidator(_http_url)]
FilePath = Annotated[Path, BeforeValidator(_path)]
_A_URL = "an address like http://127.0.0.1:8000/v1, without credentials, query or fragment"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_strip_whitespace=True)


class PricesConfig(_Part):
    """Dollars per million tokens."""

    miss: float = Field(default=0.0, ge=0, description="dollars per million input tokens, 0 or more")
    hit: float = Field(default=0.0, ge=0, description="dollars per million cached input tokens, 0 or more")
    output: float = Field(default=0.0, ge=0, description="dollars per million output tokens, 0 or more")
    cache_write: float | None = Field(default=None, ge=0, description="dollars per million tokens written to a cache, if they cost more")


class WireConfig(_Part):
    """How the host speaks, where the catalog does not know or is wrong. What is None comes from the catalog."""

    reasoning_field: Literal["reasoning_content", "reasoning"] | None = Field(default=None, description="reasoning_content or reasoning")
    needs_reasoning: bool | None = Field(default=None, description="true or false: is a turn with tool calls but no reasoning refused")
    structured: Literal["json_schema", "json_object", "text"] | None = Field(default=None, description="json_schema, json_object or text")
    tool_choice: tuple[Literal["auto", "none", "required", "named"], ...] | None = Field(
        default=None, strict=False, description="a list of auto, none, required, named: what may be asked for while the model thinks"
    )
    call_ids: Literal["verbatim", "kimi"] | None = Field(default=None, description="verbatim or kimi")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None, description="max_tokens or max_completion_tokens"
    )
    typed_schemas: bool | None = Field(default=None, description="true or false: must each property of a tool's schema have a type")
    strict_tools: bool | None = Field(default=None, description="true or false: does the host enforce a tool's schema, with strict: true")
    opens_in_thought: bool | None = Field(
        default=None, description="true or false: does the answer begin inside a thought, so that only </think> is seen"
    )
    stream_usage: bool | None = Field(default=None, description="true or false: may a stream be asked to report usage")
    fixed: dict[str, Any] | None = Field(default=None, description="a mapping of request fields that must have one value")


class ModelConfig(_Part):
    """A model as the config names it. What is None comes from the catalog."""

    provider: Provider = Field(default="extractive", description=f"one of {', '.join(get_args(Provider))}")
    name: str = Field(default="", description="the model's name as its host calls it")
    base_url: Url | None = Field(default=None, description=_A_URL)
    api_key_env: Annotated[str, _matching(_VARIABLE)] | None = Field(
        default=None, description="the NAME of the environment variable that holds the key, such as OPENAI_API_KEY, never the key"
    )
    window_tokens: int | None = Field(default=None, ge=1000, description="a number of tokens, 1000 or more")
    max_output_tokens: int | None = Field(default=None, ge=1, description="a number of tokens, 1 or more")
    prices: PricesConfig | None = Field(default=None, description="a mapping of miss, hit and output")
    like: str = Field(default="", description="a known model that this one is, under another name")
    wire: WireConfig = Field(default=WireConfig(), description="a mapping, such as {reasoning_field: reasoning}")
    params: dict[str, Any] = Field(default_factory=dict, description="a mapping of request parameters, such as {temperature: 1.0}")

    @property
    def url(self) -> str | None:
        """Where it is reached: as given, else the provider's own address."""
        return self.base_url or PROVIDERS[self.provider].base_url

    @property
    def key_variable(self) -> str | None:
        """The variable its key is read from. A provider's own variable is not sent to a private address: there it is named or not used."""
        if self.provider == "extractive":
            return None
        return self.api_key_env or (None if self.is_private else PROVIDERS[self.provider].api_key_env)

    @property
    def is_private(self) -> bool:
        """Reached on this machine or a private network."""
        host = (urlsplit(self.url or "").hostname or "").rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))
        return address.is_private or address.is_loopback or address.is_link_local


class SearchConfig(_Part):
    providers: tuple[SearchProvider, ...] = Field(
        default=("folder",), strict=False, min_length=1, description=f"a list of {', '.join(get_args(SearchProvider))}"
    )
    folder: FilePath | None = Field(default=None, strict=False, description="a folder of documents to search")
    searxng_url: Url | None = Field(default=None, description="the address of a SearXNG server, like http://127.0.0.1:8080")
    merge: bool = Field(default=False, description="true or false: ask all providers at once, not one after another until one finds")


class ScrapeConfig(_Part):
    allow_hosts: tuple[Annotated[str, _matching(_ALLOW_HOST)], ...] = Field(
        default=(), strict=False, description="a list of private hosts that may be read, each host or host:port"
    )
    robots: bool = Field(default=True, description="true or false: whether a site's robots.txt is obeyed")
    browser: bool = Field(default=False, description="true or false: whether a page that is an empty shell is drawn by a Chromium")


class PythonConfig(_Part):
    enabled: bool = Field(default=True, description="true or false")
    sandbox: Literal["bubblewrap", "none"] = Field(
        default="bubblewrap", description="bubblewrap, or none, which lets code that a model wrote do all that you may do on this machine"
    )


class McpConfig(_Part):
    """An MCP server: a command, or an address."""

    command: tuple[str, ...] = Field(
        default=(), strict=False, description="a command with its arguments, as a list, such as [uvx, a-server]"
    )
    env: tuple[Annotated[str, _matching(_VARIABLE)], ...] = Field(
        default=(), strict=False, description="a list of NAMES of environment variables that the command gets, never their values"
    )
    url: Url | None = Field(default=None, description="the address of a server that speaks streamable HTTP, like http://127.0.0.1:9000/mcp")
    api_key_env: Annotated[str, _matching(_VARIABLE)] | None = Field(
        default=None, description="the NAME of the environment variable that holds the key for the address, never the key"
    )
    tools: tuple[str, ...] = Field(default=(), strict=False, description="a list of its tools that may be called; all if it is empty")


class MemoryConfig(_Part):
    embedder: Annotated[str, _matching(_EMBEDDER)] = Field(
        default="auto", description="auto, none, onnx, sentence-transformers:NAME-or-path or openai:NAME"
    )
    changed: Literal["rebuild", "refuse"] = Field(
        default="rebuild", description="rebuild or refuse: what becomes of the vectors of another embedder than this one"
    )
    also: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), strict=False, description="a list of earlier runs to recall from: their ids, or their folders"
    )


class StoreConfig(_Part):
    """Where checkpoints and vectors are kept. What is None is in the run's folder."""

    checkpoints: Annotated[InstanceOf[PostgresUrl], BeforeValidator(PostgresUrl.parse), PlainSerializer(str)] | None = Field(
        default=None,
        description="null, which is the run's folder, or a PostgreSQL server like postgresql://user@host:5432/database "
        "(its password in PGPASSWORD, ~/.pgpass or the variable that store.password_env names)",
    )
    password_env: Annotated[str, _matching(_VARIABLE)] | None = Field(
        default=None, description="the NAME of the environment variable that holds PostgreSQL's password, never the password"
    )
    vectors: Url | None = Field(
        default=None, description="null, which is the run's folder, or the address of a Chroma server like http://127.0.0.1:8000"
    )


class LimitsConfig(_Part):
    usd: float = Field(default=2.0, ge=0, description="a number of dollars, 0 or more")
    steps: int = Field(default=300, ge=1, description="a whole number of tool calls, 1 or more")
    minutes: float = Field(default=120.0, gt=0, description="a number of minutes, more than 0")


class ReportConfig(_Part):
    formats: tuple[Literal["md", "html"], ...] = Field(
        default=("md", "html"), strict=False, min_length=1, description="a list of md, html (docx and pdf are not built yet)"
    )
    max_words: int | None = Field(default=None, ge=50, description="a whole number of words, 50 or more, or null")


class GuardsConfig(_Part):
    loops: bool = Field(default=True, description="true or false")


class Config(_Part):
    """One investigation's settings."""

    question: str = Field(min_length=1, description="the question to investigate, a text that is not empty")
    model: ModelConfig = Field(default=ModelConfig(), description="a mapping, such as {provider: extractive}")
    roles: dict[Role, ModelConfig] = Field(default_factory=dict, description=f"a mapping of {', '.join(get_args(Role))} to model settings")
    search: SearchConfig = Field(default=SearchConfig(), description="a mapping, such as {providers: [folder], folder: ./docs}")
    scrape: ScrapeConfig = Field(default=ScrapeConfig(), description="a mapping, such as {allow_hosts: []}")
    python: PythonConfig = Field(default=PythonConfig(), description="a mapping, such as {enabled: true}")
    mcp: dict[Annotated[str, _matching(_SERVER)], McpConfig] = Field(
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
            faults = _faults(config)
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

    @staticmethod
    def secrets(*models: ModelConfig) -> tuple[str, ...]:
        """The values that must not be written down: these models' keys, and every variable whose name says that it is secret."""
        named = {variable for model in models if (variable := model.key_variable)}
        return tuple(value for name, value in os.environ.items() if value and (name in named or _SECRET_VARIABLE.fullmatch(name)))

    def unused(self) -> list[str]:
        """What is said of a model that has no host: told, not obeyed."""
        told = []
        for where, model in {"model": self.model, **{f"roles.{role}": model for role, model in self.roles.items()}}.items():
            given = _of_a_host(model)
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


def _faults(config: Config) -> list[Fault]:
    """What only shows once the parts are seen together, or beside the machine."""
    faults = [*_search_faults(config), *_memory_faults(config)]
    for name, server in config.mcp.items():
        faults += _mcp_faults(f"mcp.{name}", server)
    faults += [
        not_allowed(key, str(path), "a folder, not a file")
        for key, path in (("out", config.out), ("cache", config.cache))
        if path.is_file()
    ]
    named = config.store.password_env
    if named and not os.environ.get(named):
        what = named if _SHOWABLE_VARIABLE.fullmatch(named) else "(not shown)"
        faults.append(Fault("store.password_env", f"the environment variable {what} is not set"))
    used = {} if set(get_args(Role)) - set(OPTIONAL_ROLES) <= set(config.roles) else {"model": config.model}
    for where, model in {**used, **{f"roles.{role}": config.model_for(role) for role in config.roles}}.items():
        faults += _model_faults(where, model)
    if "summarizer" in config.roles and config.model_for("summarizer").provider == "extractive":
        faults.append(not_allowed("roles.summarizer.provider", "extractive", "a language model: the extractive one cannot summarize"))
    return faults


def _search_faults(config: Config) -> list[Fault]:
    search, keys = config.search, config.search_keys()
    faults = [
        Fault(f"search.providers.{number}", f"the environment variable {SEARCH_KEYS[name]} is not set: provider '{name}' needs a key in it")
        for number, name in enumerate(search.providers)
        if name in SEARCH_KEYS and name not in keys
    ]
    if "folder" in search.providers and search.folder is None:
        faults.append(not_allowed("search.folder", None, "a folder of documents, which the provider 'folder' searches"))
    if search.folder is not None and not search.folder.is_dir():
        faults.append(not_allowed("search.folder", str(search.folder), "a folder of documents, which exists"))
    if "searxng" in search.providers and search.searxng_url is None:
        allowed = "the address of the server that the provider 'searxng' asks, like http://127.0.0.1:8080"
        faults.append(not_allowed("search.searxng_url", None, allowed))
    return faults


def _memory_faults(config: Config) -> list[Fault]:
    faults = []
    for number, name in enumerate(config.memory.also):
        try:
            if not (runs.find(name, config.out).folder / "ledger.sqlite").is_file():
                faults.append(not_allowed(f"memory.also.{number}", name, "a run that has a memory"))
        except runs.RunError as error:
            faults.append(not_allowed(f"memory.also.{number}", name, f"the id or the folder of an earlier run ({error})"))
    return faults


def _mcp_faults(where: str, server: McpConfig) -> list[Fault]:
    if bool(server.command) == bool(server.url):
        return [Fault(where, "either a command or a url is wanted, and not both")]
    named = [(f"{where}.env.{number}", name) for number, name in enumerate(server.env)]
    named += [(f"{where}.api_key_env", server.api_key_env)] if server.api_key_env else []
    return [
        Fault(key, f"the environment variable {name if _SHOWABLE_VARIABLE.fullmatch(name) else '(not shown)'} is not set")
        for key, name in named
        if not os.environ.get(name)
    ]


def _of_a_host(model: ModelConfig) -> list[str]:
    """What is given that a model without a host has no use for."""
    return [name for name in ("base_url", "name", "api_key_env", "params", "like") if getattr(model, name)]


def _model_faults(where: str, model: ModelConfig) -> list[Fault]:
    faults = []
    if "provider" not in model.model_fields_set and (given := _of_a_host(model)):
        hosts = ", ".join(name for name in PROVIDERS if name != "extractive")
        what = f"missing, though {given[0]} is given: one of {hosts}; openai is any OpenAI-compatible host"
        faults.append(Fault(f"{where}.provider", what))
    if model.provider != "extractive" and not model.name:
        faults.append(Fault(f"{where}.name", f"missing: the model's name as {model.provider} calls it"))
    window, output = model.window_tokens, model.max_output_tokens
    if window and output and output >= window:
        faults.append(not_allowed(f"{where}.max_output_tokens", output, f"less than window_tokens, which is {window}"))
    for name in model.params:
        if SECRET_NAME.search(name):
            faults.append(not_allowed(f"{where}.params.{name}", "", "keys are never written here; api_key_env takes the variable's NAME"))
    variable = model.key_variable
    if variable and (model.api_key_env or not model.is_private) and Config.api_key(model) is None:
        if not _SHOWABLE_VARIABLE.fullmatch(variable):
            what = "the value (not shown) names no variable that is set: the NAME of the variable that holds the key, never the key"
            faults.append(Fault(f"{where}.api_key_env", what))
        else:
            what = f"the environment variable {variable} is not set: provider '{model.provider}' needs a key in it"
            faults.append(Fault(f"{where}.api_key_env", what))
    return faults
