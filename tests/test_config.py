from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from research_agent import config as config_module
from research_agent.config import Config, ConfigError
from research_agent.graphs import ports
from research_agent.models import catalog
from research_agent.settings.shapes import PROVIDERS, SEARCH_KEYS, Role

EXAMPLES = Path(__file__).parents[1] / "examples"
SECRET = "sk-proj-4f9aK2mQ7xW1zR8tB3nV6yL0"
GOOD = "question: Why?\nsearch: {providers: [ddgs]}\n"


def load(tmp_path: Path, text: str, **more: object) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return Config.load(path, **more)  # type: ignore[arg-type]


def refused(tmp_path: Path, text: str, **more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **more)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty", "question"]),
        ("- a\n- b", ["list", "mapping"]),
        ("question: [", ["not YAML", "line 1"]),
        ("question: Why?\nsearch:\n\tx: 1", ["not YAML", "line 3"]),
        ("search: {providers: [ddgs]}", ["question", "missing"]),
        ("question: ' '\nsearch: {providers: [ddgs]}", ["question", "' '", "not empty"]),
        ("question: 3\nsearch: {providers: [ddgs]}", ["question", "3", "text"]),
        (GOOD + "limits: {usd: abc}", ["limits.usd: 'abc' is not allowed: a number of dollars, 0 or more"]),
        (GOOD + "limits: {usd: -1}", ["limits.usd", "-1", "0 or more"]),
        (GOOD + "limits: {usd: .inf}", ["limits.usd", "inf", "0 or more"]),
        (GOOD + "limits: {usd: true}", ["limits.usd", "true", "number of dollars"]),
        (GOOD + "limits: {steps: 0}", ["limits.steps", "0", "1 or more"]),
        (GOOD + "limits: {steps: 1.5}", ["limits.steps", "1.5", "whole number"]),
        (GOOD + "limits: {minutes: 0}", ["limits.minutes", "0", "more than 0"]),
        (GOOD + "limits: 3", ["limits", "3", "mapping"]),
        (GOOD + "limit: {usd: 1}", ["limit:", "'limits'", "no such key"]),
        (GOOD + "limits: {dollars: 1}", ["limits.dollars", "1", "usd, steps, minutes"]),
        (GOOD + "model: {provider: opnai}", ["model.provider", "'opnai'", "openai", "extractive"]),
        (GOOD + "model: {provider: vllm, name: m, base_url: 'localhost:8000'}", ["model.base_url", "'localhost:8000'", "http://"]),
        (GOOD + "model: {provider: vllm, name: m, base_url: 'http://h:99999/v1'}", ["model.base_url", "99999", "http://"]),
        (GOOD + "model: {provider: vllm, name: m, base_url: ''}", ["model.base_url", "''"]),
        (GOOD + "model: {provider: vllm}", ["model.name", "missing", "vllm"]),
        (GOOD + "model: {provider: moonshot, name: kimi}", ["model.api_key_env", "MOONSHOT_API_KEY", "not set"]),
        (GOOD + "model: {provider: openai, name: m, api_key_env: MY_KEY}", ["model.api_key_env", "MY_KEY", "not set"]),
        (
            GOOD + "model: {provider: vllm, name: m, window_tokens: 5000, max_output_tokens: 5000}",
            ["max_output_tokens", "5000", "less than"],
        ),
        (GOOD + "model: {prices: {miss: -0.1}}", ["model.prices.miss", "-0.1", "0 or more"]),
        (GOOD + "roles: {writter: {name: x}}", ["roles.writter", "'writer'", "planner"]),
        (GOOD + "roles: {writer: {provider: deepseek, name: x}}", ["roles.writer.api_key_env", "DEEPSEEK_API_KEY", "not set"]),
        (GOOD + "roles: {writer: {provder: vllm}}", ["roles.writer.provder", "'provider'"]),
        ("question: Why?", ["search.folder", "null", "folder of documents"]),
        ("question: Why?\nsearch: {folder: nowhere}", ["search.folder", "nowhere", "exists"]),
        ("question: Why?\nsearch: {folder: config.yaml}", ["search.folder", "config.yaml", "folder"]),
        ("question: Why?\nsearch: {providers: [google]}", ["search.providers.0", "'google'", "folder, ddgs, searxng"]),
        ("question: Why?\nsearch: {providers: ddgs}", ["search.providers", "'ddgs'", "a list of"]),
        ("question: Why?\nsearch: {providers: []}", ["search.providers", "empty list", "a list of"]),
        ("question: Why?\nsearch: {providers: [searxng]}", ["search.searxng_url", "null", "http://"]),
        ("question: Why?\nsearch: {providers: [searxng], searxng_url: ftp://x}", ["search.searxng_url", "'ftp://x'", "http://"]),
        ("question: Why?\nsearch: {providers: [ddgs, exa]}", ["search.providers.1", "EXA_API_KEY", "not set", "'exa'"]),
        ("question: Why?\nsearch: {providers: [ddgs], merge: 1}", ["search.merge", "1", "true or false"]),
        (GOOD + "scrape: {allow_hosts: ['http://127.0.0.1']}", ["scrape.allow_hosts.0", "'http://127.0.0.1'", "host:port"]),
        (GOOD + "python: {enabled: maybe}", ["python.enabled", "'maybe'", "true or false"]),
        (GOOD + "memory: {embedder: openai}", ["memory.embedder", "'openai'", "openai:NAME"]),
        (GOOD + "memory: {also: [gone]}", ["memory.also", "the id or the folder of an earlier run"]),
        (GOOD + "store: {vectors: 'chroma'}", ["store.vectors", "'chroma'", "null", "http://127.0.0.1:8000"]),
        (GOOD + "store: {checkpoints: sqlite}", ["store.checkpoints", "'sqlite'", "null", "postgresql://"]),
        (GOOD + "store: {checkpoints: 'mysql://me:s3cr3t@h/d'}", ["store.checkpoints", "(not shown)", "postgresql://"]),
        (GOOD + "store: {checkpoints: 'postgresql://h/d?password=hush'}", ["store.checkpoints", "(not shown)", "PGPASSWORD"]),
        (GOOD + "store: {checkpoints: 'postgresql://'}", ["store.checkpoints", "postgresql://"]),
        (GOOD + "store: {password_env: NO_SUCH_VARIABLE}", ["store.password_env", "NO_SUCH_VARIABLE", "not set"]),
        (GOOD + "report: {formats: [pdf]}", ["report.formats.0", "'pdf'", "md, html"]),
        (GOOD + "report: {max_words: 0}", ["report.max_words", "0", "50 or more"]),
        (GOOD + "approve_plan: 'no'", ["approve_plan", "'no'", "true or false"]),
        (GOOD + "guards: {loops: 1}", ["guards.loops", "1", "true or false"]),
        (GOOD + "cache: 7", ["cache", "7", "folder"]),
        (GOOD + "1: 2", ["1", "no such key"]),
        (GOOD + "limits: {usd: 1}\nlimits: {usd: 2}", ["limits: given twice, in lines 3 and 4"]),
        (GOOD + "limits:\n  usd: 1\n  steps: 5\n  usd: 2", ["usd: given twice, in lines 4 and 6"]),
        (GOOD + "model: {base_url: 'http://127.0.0.1:8000/v1'}", ["model.provider: missing, though base_url is given", "vllm"]),
        (GOOD + "roles: {writer: {name: x}}", ["roles.writer.provider: missing, though name is given"]),
    ],
)
def test_a_bad_config_is_told_in_one_line_with_key_value_and_what_is_allowed(tmp_path: Path, text: str, parts: list[str]) -> None:
    line = refused(tmp_path, text)
    assert line.startswith(f"{tmp_path / 'config.yaml'}: ")
    for part in parts:
        assert part in line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file"):
        Config.load(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Config.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x00\xff\xfe\x80 question")
    with pytest.raises(ConfigError, match="not YAML"):
        Config.load(tmp_path / "binary.yaml")


def test_of_a_list_and_its_entry_the_entry_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "question: Why?\nsearch: {providers: [google]}").count("search.providers") == 1
    assert refused(tmp_path, GOOD + "report: {formats: [pdf]}").count("report.formats") == 1
    assert refused(tmp_path, GOOD + "report: {formats: [md, pdf, docx]}").count("report.formats") == 2


def test_of_a_key_that_is_none_its_value_is_not_told_too(tmp_path: Path) -> None:
    line = refused(tmp_path, GOOD + "roles: {wirter: 1}")
    assert line.endswith("roles.wirter: no such key: did you mean 'writer'? allowed: planner, investigator, reviewer, writer, summarizer")
    line = refused(tmp_path, GOOD + "mcp: {a b: {command: 1}}")
    assert line.endswith("mcp.a b: not allowed as a name: a mapping of names (letters, digits, _) to servers, each with a command or a url")


def test_what_a_model_without_a_host_has_no_use_for_is_told(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "model: {provider: extractive, base_url: 'http://127.0.0.1:8000/v1'}")
    assert config.unused() == ["model: base_url not used: provider 'extractive' has no language model and no host"]
    assert load(tmp_path, GOOD).unused() == []


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    line = refused(tmp_path, GOOD + "limits: {usd: x, steps: y}\ncolour: red")
    assert line.count("config.yaml") == 1
    assert "limits.usd: 'x'" in line
    assert "limits.steps: 'y'" in line
    assert "colour: no such key" in line


@pytest.mark.parametrize(
    "text",
    [
        GOOD + f"model: {{provider: openai, name: m, api_key_env: {SECRET}}}",
        GOOD + "model: {provider: openai, name: m, api_key_env: 4f9aK2mQ7xW1zR8tB3nV6yL0}",
        GOOD + "model: {provider: openai, name: m, api_key_env: aaK2mQ7xW1zR8tB3nV6yL0}",
        GOOD + f"model: {{provider: openai, name: m, api_key: {SECRET}}}",
        GOOD + f"api_key: {SECRET}",
        GOOD + "model: {password: hunter2hunter2}",
        GOOD + f"model: {{provider: vllm, name: m, base_url: 'http://user:{SECRET}@host/v1'}}",
        GOOD + "model: {provider: vllm, name: m, base_url: 'http://user:hunter2@host/v1'}",
        GOOD + f"model: {{provider: vllm, name: m, params: {{api_key: {SECRET}}}}}",
        GOOD + f"limits: {{usd: {SECRET}}}",
        GOOD + f"model: [{{api_key: {SECRET}}}]",
    ],
)
def test_a_pasted_key_is_never_echoed(tmp_path: Path, text: str) -> None:
    line = refused(tmp_path, text)
    for secret in (SECRET, "K2mQ7xW1zR8t", "hunter2"):
        assert secret not in line
    assert "model" in line or "api_key" in line or "limits.usd" in line


def test_a_pasted_key_is_answered_with_where_the_name_goes(tmp_path: Path) -> None:
    assert "model.api_key_env takes the NAME" in refused(tmp_path, GOOD + f"model: {{api_key: {SECRET}}}")
    assert "model.api_key_env takes the NAME" in refused(tmp_path, GOOD + f"api_key: {SECRET}")
    assert "the NAME of the environment variable" in refused(tmp_path, GOOD + f"model: {{api_key_env: {SECRET}}}")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("limits.usd", ["--set", "'limits.usd'", "key.path=value"]),
        ("=3", ["--set", "'=3'", "key.path=value"]),
        ("limits..usd=3", ["--set", "limits..usd", "key.path=value"]),
        ("limits.usd=abc", ["--set limits.usd", "'abc'", "dollars"]),
        ("limit.usd=3", ["--set limit", "'limits'"]),
        ("question.x=3", ["--set question.x", "3", "no mapping"]),
        ("search.folder=nowhere", ["--set search.folder", "nowhere", "exists"]),
        (SECRET, ["--set", "not shown", "key.path=value"]),
    ],
)
def test_a_bad_override_is_told_as_the_option_it_came_from(tmp_path: Path, override: str, parts: list[str]) -> None:
    line = refused(tmp_path, GOOD, overrides=[override])
    assert "config.yaml" not in line
    assert SECRET not in line
    for part in parts:
        assert part in line


def test_overrides_are_typed_as_yaml_and_beat_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        GOOD + "limits: {usd: 1, steps: 7}",
        overrides=["limits.usd=0.5", "search.providers=[ddgs, searxng]", "search.searxng_url=http://s:8080", "report.max_words=null"],
        out=tmp_path / "elsewhere",
    )
    assert (config.limits.usd, config.limits.steps) == (0.5, 7)
    assert config.search.providers == ("ddgs", "searxng")
    assert config.report.max_words is None
    assert config.out == tmp_path / "elsewhere"


def test_a_question_with_a_colon_stays_a_text(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, overrides=["question=Rust: what limits it?"]).question == "Rust: what limits it?"
    assert load(tmp_path, GOOD, question="- odd: one").question == "- odd: one"
    assert refused(tmp_path, GOOD, question=" ").startswith("--question: ")


def test_a_config_needs_no_file(tmp_path: Path) -> None:
    config = Config.load(None, question="Why?", overrides=[f"search.folder={tmp_path}"])
    assert (config.model.provider, config.search.folder) == ("extractive", tmp_path)


def test_folders_are_relative_to_whoever_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside / "docs", here / "docs"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    text = "question: Why?\nsearch: {folder: ./docs}\ncache: c\n"
    config = load(beside, text)
    assert config.search.folder == beside / "docs"
    assert config.cache == Path("c")
    assert load(beside, text, overrides=["search.folder=docs"]).search.folder == here / "docs"


def test_a_key_is_read_when_it_is_asked_for_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONSHOT_API_KEY", SECRET)
    config = load(tmp_path, GOOD + "model: {provider: moonshot, name: kimi, params: {user: 'Bearer " + SECRET + "'}}")
    key = Config.api_key(config.model)
    assert key is not None
    assert key.get_secret_value() == SECRET
    assert SECRET not in repr(config.public()) + repr(key)
    assert SECRET in config.secrets(config.model)


def test_the_key_of_an_mcp_server_is_known_as_one_whatever_its_variable_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_mcp_adapters")
    monkeypatch.setenv("LIBRARY_CARD", "card-of-the-library")
    config = load(tmp_path, GOOD + "mcp: {library: {url: 'http://127.0.0.1:9/mcp', api_key_env: LIBRARY_CARD}}")
    assert "card-of-the-library" in config.secrets(config.model)


def test_a_private_address_asks_for_no_key_and_is_sent_none_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:8000/v1", "http://192.168.1.4/v1", "http://[::1]:8000/v1", "http://vllm:8000/v1", "http://gpu.local/v1"):
        config = load(tmp_path, GOOD + f"model: {{provider: openai, name: m, base_url: '{url}'}}")
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        assert Config.api_key(config.model) is None
        named = load(tmp_path, GOOD + f"model: {{provider: openai, name: m, base_url: '{url}', api_key_env: OPENAI_API_KEY}}")
        assert Config.api_key(named.model) is not None
        monkeypatch.delenv("OPENAI_API_KEY")


@pytest.mark.parametrize("provider", [name for name, defaults in PROVIDERS.items() if defaults.api_key_env])
def test_a_hosted_provider_demands_its_key(tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = PROVIDERS[provider].api_key_env
    assert variable is not None
    text = GOOD + f"model: {{provider: {provider}, name: m}}"
    assert variable in refused(tmp_path, text)
    monkeypatch.setenv(variable, "abcdefgh")
    assert load(tmp_path, text).model.url == PROVIDERS[provider].base_url


@pytest.mark.parametrize("provider", SEARCH_KEYS)
def test_a_search_provider_reads_its_key_from_its_variable(tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEARCH_KEYS[provider], SECRET)
    config = load(tmp_path, f"question: Why?\nsearch: {{providers: [ddgs, {provider}]}}")
    assert {name: key.get_secret_value() for name, key in config.search_keys().items()} == {provider: SECRET}
    assert SECRET not in repr(config.public()) + repr(config.search_keys())


def test_a_role_inherits_the_model_but_not_across_providers_or_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "abcdefgh")
    config = load(
        tmp_path,
        GOOD
        + "model: {provider: vllm, name: big, base_url: 'http://10.0.0.1/v1', window_tokens: 9000, params: {temperature: 1.0}}\n"
        + "roles:\n  planner: {params: {temperature: 0.5}}\n  reviewer: {name: small}\n  writer: {provider: deepseek, name: d}\n",
    )
    assert config.model_for("investigator") == config.model
    planner, reviewer, writer = (config.model_for(role) for role in ("planner", "reviewer", "writer"))
    assert (planner.name, planner.window_tokens, planner.params) == ("big", 9000, {"temperature": 0.5})
    assert (reviewer.base_url, reviewer.window_tokens, reviewer.params) == ("http://10.0.0.1/v1", None, {})
    assert (writer.base_url, writer.url) == (None, "https://api.deepseek.com/v1")


def test_public_settings_read_back_as_the_same_config(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    config = load(tmp_path, "question: Why?\nsearch: {folder: docs}\nlimits: {usd: 1}\nroles: {writer: {provider: vllm, name: m}}")
    assert Config.from_mapping(config.public(), base=Path("/")) == config


@pytest.mark.parametrize(
    ("setting", "key", "extra", "library"),
    [
        ("store: {checkpoints: 'postgresql://u@h/d'}", "store.checkpoints", "postgres", "psycopg"),
        ("store: {checkpoints: 'postgresql://u@h/d'}", "store.checkpoints", "postgres", "langgraph.checkpoint.postgres"),
        ("model: {provider: anthropic, name: claude}", "model.provider", "anthropic", "langchain_anthropic"),
        ("roles: {writer: {provider: anthropic, name: claude}}", "roles.writer.provider", "anthropic", "langchain_anthropic"),
        ("mcp: {library: {command: [a-server]}}", "mcp", "mcp", "langchain_mcp_adapters"),
        ("scrape: {browser: true}", "scrape.browser", "browser", "playwright"),
    ],
)
def test_a_setting_whose_extra_is_not_installed_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, key: str, extra: str, library: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    load(tmp_path, GOOD + setting)
    monkeypatch.setitem(sys.modules, library, None)
    line = refused(tmp_path, GOOD + setting)
    assert line.endswith(f"{key}: it needs the extra `{extra}`, which is not installed: pip install '.[{extra}]'")


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.limits.usd = 100.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["kimi.yaml", "self_hosted.yaml"])
def test_the_examples_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_API_KEY", "abcdefgh")
    config = Config.load(EXAMPLES / name)
    assert config.model.name.lower().endswith("kimi-k2-thinking")
    assert config.search.providers == ("ddgs",)


def test_roles_are_those_of_the_graph() -> None:
    assert get_args(Role) == get_args(ports.Role)


def test_providers_are_those_of_the_catalog() -> None:
    for provider in catalog.providers():
        row = catalog.lookup(provider, "any")
        assert (PROVIDERS[provider].base_url or "", PROVIDERS[provider].api_key_env) == (row.base_url, row.api_key_env)


def test_only_the_config_reads_the_environment() -> None:
    package = Path(config_module.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("os.environ", "getenv"))
    }
    assert readers == {"config.py"}


def test_a_config_loads_without_the_graph() -> None:
    code = "import sys, research_agent.config; sys.exit(any(m in sys.modules for m in ('langchain_core', 'langgraph', 'chromadb', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False, timeout=30).returncode == 0
