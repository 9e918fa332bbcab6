"""The shapes of the settings, part by part: their names, types, defaults and what is allowed. A new key is a field here."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer

from research_agent.stores.address import PostgresUrl

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
_ALLOW_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?|[0-9A-Fa-f:]+")
_EMBEDDER = re.compile(r"auto|none|onnx|(sentence-transformers|openai):\S.*")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    plain = not (parts.query or parts.fragment or parts.username or parts.password or re.search(r"\s", value))
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError("not a plain http(s) address")
    _ = parts.port  # raises ValueError when it is no port
    return value.rstrip("/")


def matching(pattern: re.Pattern[str]) -> AfterValidator:
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


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_strip_whitespace=True)


class PricesConfig(Part):
    """Dollars per million tokens."""

    miss: float = Field(default=0.0, ge=0, description="dollars per million input tokens, 0 or more")
    hit: float = Field(default=0.0, ge=0, description="dollars per million cached input tokens, 0 or more")
    output: float = Field(default=0.0, ge=0, description="dollars per million output tokens, 0 or more")
    cache_write: float | None = Field(default=None, ge=0, description="dollars per million tokens written to a cache, if they cost more")


class WireConfig(Part):
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


class ModelConfig(Part):
    """A model as the config names it. What is None comes from the catalog."""

    provider: Provider = Field(default="extractive", description=f"one of {', '.join(get_args(Provider))}")
    name: str = Field(default="", description="the model's name as its host calls it")
    base_url: Url | None = Field(default=None, description=_A_URL)
    api_key_env: Annotated[str, matching(_VARIABLE)] | None = Field(
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
    def of_a_host(self) -> list[str]:
        """What is given that a model without a host has no use for."""
        return [name for name in ("base_url", "name", "api_key_env", "params", "like") if getattr(self, name)]

    @property
    def is_private(self) -> bool:
        """Reached on this machine or a private network."""
        host = (urlsplit(self.url or "").hostname or "").rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))
        return address.is_private or address.is_loopback or address.is_link_local


class SearchConfig(Part):
    providers: tuple[SearchProvider, ...] = Field(
        default=("folder",), strict=False, min_length=1, description=f"a list of {', '.join(get_args(SearchProvider))}"
    )
    folder: FilePath | None = Field(default=None, strict=False, description="a folder of documents to search")
    searxng_url: Url | None = Field(default=None, description="the address of a SearXNG server, like http://127.0.0.1:8080")
    merge: bool = Field(default=False, description="true or false: ask all providers at once, not one after another until one finds")


class ScrapeConfig(Part):
    allow_hosts: tuple[Annotated[str, matching(_ALLOW_HOST)], ...] = Field(
        default=(), strict=False, description="a list of private hosts that may be read, each host or host:port"
    )
    robots: bool = Field(default=True, description="true or false: whether a site's robots.txt is obeyed")
    browser: bool = Field(default=False, description="true or false: whether a page that is an empty shell is drawn by a Chromium")


class PythonConfig(Part):
    enabled: bool = Field(default=True, description="true or false")
    sandbox: Literal["bubblewrap", "none"] = Field(
        default="bubblewrap", description="bubblewrap, or none, which lets code that a model wrote do all that you may do on this machine"
    )


class McpConfig(Part):
    """An MCP server: a command, or an address."""

    command: tuple[str, ...] = Field(
        default=(), strict=False, description="a command with its arguments, as a list, such as [uvx, a-server]"
    )
    env: tuple[Annotated[str, matching(_VARIABLE)], ...] = Field(
        default=(), strict=False, description="a list of NAMES of environment variables that the command gets, never their values"
    )
    url: Url | None = Field(default=None, description="the address of a server that speaks streamable HTTP, like http://127.0.0.1:9000/mcp")
    api_key_env: Annotated[str, matching(_VARIABLE)] | None = Field(
        default=None, description="the NAME of the environment variable that holds the key for the address, never the key"
    )
    tools: tuple[str, ...] = Field(default=(), strict=False, description="a list of its tools that may be called; all if it is empty")


class MemoryConfig(Part):
    embedder: Annotated[str, matching(_EMBEDDER)] = Field(
        default="auto", description="auto, none, onnx, sentence-transformers:NAME-or-path or openai:NAME"
    )
    changed: Literal["rebuild", "refuse"] = Field(
        default="rebuild", description="rebuild or refuse: what becomes of the vectors of another embedder than this one"
    )
    also: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), strict=False, description="a list of earlier runs to recall from: their ids, or their folders"
    )


class StoreConfig(Part):
    """Where checkpoints and vectors are kept. What is None is in the run's folder."""

    checkpoints: Annotated[InstanceOf[PostgresUrl], BeforeValidator(PostgresUrl.parse), PlainSerializer(str)] | None = Field(
        default=None,
        description="null, which is the run's folder, or a PostgreSQL server like postgresql://user@host:5432/database "
        "(its password in PGPASSWORD, ~/.pgpass or the variable that store.password_env names)",
    )
    password_env: Annotated[str, matching(_VARIABLE)] | None = Field(
        default=None, description="the NAME of the environment variable that holds PostgreSQL's password, never the password"
    )
    vectors: Url | None = Field(
        default=None, description="null, which is the run's folder, or the address of a Chroma server like http://127.0.0.1:8000"
    )


class LimitsConfig(Part):
    usd: float = Field(default=2.0, ge=0, description="a number of dollars, 0 or more")
    steps: int = Field(default=300, ge=1, description="a whole number of tool calls, 1 or more")
    minutes: float = Field(default=120.0, gt=0, description="a number of minutes, more than 0")


class ReportConfig(Part):
    formats: tuple[Literal["md", "html"], ...] = Field(
        default=("md", "html"), strict=False, min_length=1, description="a list of md, html (docx and pdf are not built yet)"
    )
    max_words: int | None = Field(default=None, ge=50, description="a whole number of words, 50 or more, or null")


class GuardsConfig(Part):
    loops: bool = Field(default=True, description="true or false")
