"""What is wrong with a config whose parts are each as they should be: seen together, or beside the machine."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, get_args

from research_agent import runs
from research_agent.settings.faults import SECRET_NAME, Fault, not_allowed
from research_agent.settings.shapes import OPTIONAL_ROLES, PROVIDERS, SEARCH_KEYS, McpConfig, ModelConfig, Role

if TYPE_CHECKING:
    from research_agent.config import Config

_SHOWABLE_VARIABLE = re.compile(r"(?=.*_|.{1,12}$)[A-Z_][A-Z0-9_]{0,63}")
EXTRAS: dict[str, tuple[str, ...]] = {
    "anthropic": ("langchain_anthropic",),
    "browser": ("playwright",),
    "mcp": ("langchain_mcp_adapters",),
    "postgres": ("psycopg", "langgraph.checkpoint.postgres"),
}
"""What each brings. An embedder says so itself, for `auto` does without (research_agent.memories)."""


def faults_of(config: Config) -> list[Fault]:
    """What only shows once the parts are seen together, or beside the machine."""
    faults = [*_search_faults(config), *_memory_faults(config), *_missing_extras(config)]
    for name, server in config.mcp.items():
        faults += _mcp_faults(config, f"mcp.{name}", server)
    faults += [
        not_allowed(key, str(path), "a folder, not a file")
        for key, path in (("out", config.out), ("cache", config.cache))
        if path.is_file()
    ]
    named = config.store.password_env
    if named and not config.variables([named]):
        what = named if _SHOWABLE_VARIABLE.fullmatch(named) else "(not shown)"
        faults.append(Fault("store.password_env", f"the environment variable {what} is not set"))
    used = {} if set(get_args(Role)) - set(OPTIONAL_ROLES) <= set(config.roles) else {"model": config.model}
    for where, model in {**used, **{f"roles.{role}": config.model_for(role) for role in config.roles}}.items():
        faults += _model_faults(config, where, model)
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


def _mcp_faults(config: Config, where: str, server: McpConfig) -> list[Fault]:
    if bool(server.command) == bool(server.url):
        return [Fault(where, "either a command or a url is wanted, and not both")]
    named = [(f"{where}.env.{number}", name) for number, name in enumerate(server.env)]
    named += [(f"{where}.api_key_env", server.api_key_env)] if server.api_key_env else []
    return [
        Fault(key, f"the environment variable {name if _SHOWABLE_VARIABLE.fullmatch(name) else '(not shown)'} is not set")
        for key, name in named
        if not config.variables([name])
    ]


def _missing_extras(config: Config) -> list[Fault]:
    """Of what is named, what needs libraries that are not installed."""
    models = {"model": config.model, **{f"roles.{role}": config.model_for(role) for role in config.roles}}
    wanted = [(f"{where}.provider", "anthropic") for where, model in models.items() if model.provider == "anthropic"]
    wanted += [("store.checkpoints", "postgres")] if config.store.checkpoints else []
    wanted += [("mcp", "mcp")] if config.mcp else []
    wanted += [("scrape.browser", "browser")] if config.scrape.browser else []
    return [
        Fault(key, f"it needs the extra `{extra}`, which is not installed: pip install '.[{extra}]'")
        for key, extra in wanted
        if not all(map(find_spec, EXTRAS[extra]))
    ]


def _model_faults(config: Config, where: str, model: ModelConfig) -> list[Fault]:
    faults = []
    if "provider" not in model.model_fields_set and (given := model.of_a_host):
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
    if variable and (model.api_key_env or not model.is_private) and config.api_key(model) is None:
        if not _SHOWABLE_VARIABLE.fullmatch(variable):
            what = "the value (not shown) names no variable that is set: the NAME of the variable that holds the key, never the key"
            faults.append(Fault(f"{where}.api_key_env", what))
        else:
            what = f"the environment variable {variable} is not set: provider '{model.provider}' needs a key in it"
            faults.append(Fault(f"{where}.api_key_env", what))
    return faults
