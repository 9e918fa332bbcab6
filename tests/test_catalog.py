"""The catalog, and models made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from research_agent.config import Config
from research_agent.graphs.ports import Prices
from research_agent.memory import estimate_tokens
from research_agent.models import catalog
from research_agent.models.chat import ReasoningChatModel
from research_agent.models.load import FACTORIES, CannotLoad, Settings, load, load_roles
from research_agent.settings.shapes import PROVIDERS


def test_a_known_model_is_found_under_the_names_hosts_give_it() -> None:
    for name in ("kimi-k2-thinking", "moonshotai/Kimi-K2-Thinking", "moonshotai/kimi-k2-thinking:nitro"):
        assert catalog.lookup("openrouter", name).family == "kimi-k2-thinking"


def test_a_model_of_ones_own_costs_nothing() -> None:
    assert load(Settings(provider="vllm", name="moonshotai/Kimi-K2-Thinking")).prices == Prices(0, 0, 0, 0)
    assert load(Settings(provider="moonshot", name="kimi-k2-thinking")).prices == Prices(0.60, 0.15, 2.50, 0.60)


def test_an_unknown_model_gets_cautious_values_and_a_config_overrides_them() -> None:
    row = catalog.lookup("openai", "nobody-knows-it")
    assert row.family == ""
    assert row.prices is None
    assert load(Settings(provider="openai", name="nobody-knows-it")).window_tokens == 32768
    given = load(Settings(provider="openai", name="x", window_tokens=9000, max_output_tokens=500, prices=Prices(1, 2, 3)))
    assert (given.window_tokens, given.max_output_tokens, given.prices) == (9000, 500, Prices(1, 2, 3))


def test_a_config_may_say_otherwise_of_everything() -> None:
    model = {
        "provider": "vllm",
        "name": "our-fine-tune",
        "like": "kimi-k2-thinking",
        "prices": {"miss": 1, "hit": 0.5, "output": 2, "cache_write": 1.5},
        "wire": {"reasoning_field": "reasoning_content", "structured": "text", "tool_choice": ["auto"], "fixed": {"temperature": 0.6}},
    }
    config = Config.from_mapping({"question": "Q", "search": {"providers": ["ddgs"]}, "model": model}, base=Path())
    made = load_roles(config)["planner"]
    chat = made.chat
    assert isinstance(chat, ReasoningChatModel)
    assert (made.name, made.window_tokens, made.prices) == ("our-fine-tune", 262144, Prices(1, 0.5, 2, 1.5))
    assert (chat.row.reasoning_field, chat.row.structured, chat.row.tool_choice) == ("reasoning_content", "text", ("auto",))
    assert (chat.row.fixed, chat.row.call_ids, chat.row.needs_reasoning) == ({"temperature": 0.6}, "kimi", True)


def test_every_provider_of_a_config_can_be_made_from_the_catalog() -> None:
    assert set(FACTORIES) == {*catalog.providers(), "extractive"}
    with pytest.raises(CannotLoad, match="allowed: extractive"):
        load(Settings(provider="nope"))


def test_every_row_says_where_it_is_from() -> None:
    assert catalog.rows()
    for row in catalog.rows():
        assert row.source, row.name
        assert row.date, row.name
        assert row.base_url, row.provider


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("The quick brown fox jumps over the lazy dog, and then it sleeps for a while.", 15, 20),
        ("月球绕地球运行的轨道不是一个完美的圆。", 13, 24),
        ("def area(radius: float) -> float:\n    return math.pi * radius ** 2\n", 17, 27),
        ("", 0, 0),
    ],
)
def test_tokens_are_estimated_without_a_tokenizer(text: str, low: int, high: int) -> None:
    assert low <= estimate_tokens(text) <= high


def test_the_config_knows_the_same_addresses() -> None:
    for provider in catalog.providers():
        row = catalog.lookup(provider, "any")
        assert (row.base_url, row.api_key_env) == tuple(PROVIDERS[provider])


def test_roles_with_the_same_settings_share_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-router")
    hosted = {"provider": "openrouter", "name": "moonshotai/kimi-k2-thinking", "prices": {"miss": 1, "hit": 0.5, "output": 2}}
    config = Config.from_mapping(
        {"question": "Q", "search": {"providers": ["ddgs"]}, "model": hosted, "roles": {"writer": {"max_output_tokens": 999}}}, base=Path()
    )
    roles = load_roles(config)
    assert roles["planner"] is roles["investigator"] is roles["reviewer"]
    assert (roles["writer"].max_output_tokens, roles["writer"].name) == (999, "moonshotai/kimi-k2-thinking")
    assert roles["planner"].prices == Prices(1, 0.5, 2)
