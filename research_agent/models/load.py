"""From plain settings to a model the graph can use: one line a provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel

from research_agent.config import Config, ModelConfig
from research_agent.graphs.ports import Model, Prices, Role

from .catalog import Row, lookup
from .settings import Settings as Settings

ANSWER_TOKENS = 2_000
"""The least that an answer may have, after the thought."""


class CannotLoad(Exception):
    """The model cannot be made: one line that says what to do."""


def load(settings: Settings) -> Model:
    """The model as the graph sees it. Opens no connection. Raises CannotLoad."""
    factory = FACTORIES.get(settings.provider)
    if factory is None:
        raise CannotLoad(f"model.provider {settings.provider!r} is unknown; allowed: {', '.join(FACTORIES)}")
    return factory(settings)


def load_roles(config: Config) -> dict[Role, Model]:
    """The model of each role that is played; roles with the same settings share one."""
    made: dict[str, Model] = {}
    return {role: _made(config, config.model_for(role), made) for role in config.played}


def _made(config: Config, wanted: ModelConfig, made: dict[str, Model]) -> Model:
    key = wanted.model_dump_json()
    if key not in made:
        prices = wanted.prices
        made[key] = load(
            Settings(
                provider=wanted.provider,
                name=wanted.name,
                base_url=wanted.base_url,
                api_key=config.api_key(wanted),
                key=wanted.key_variable or "",
                window_tokens=wanted.window_tokens,
                max_output_tokens=wanted.max_output_tokens,
                prices=Prices(prices.miss, prices.hit, prices.output, prices.cache_write) if prices else None,
                like=wanted.like,
                wire=wanted.wire.model_dump(exclude_none=True),
                params=wanted.params,
            )
        )
    return made[key]


def _row(settings: Settings) -> Row:
    return replace(lookup(settings.provider, settings.like or settings.name), **settings.wire)


def _compatible(settings: Settings) -> Model:
    from .chat import ReasoningChatModel

    row = _row(settings)
    limit = settings.max_output_tokens or row.max_output_tokens
    params = dict(settings.params)
    chat = ReasoningChatModel(
        model=settings.name,
        base_url=settings.base_url or row.base_url,
        api_key=settings.api_key,
        row=row,
        max_tokens=limit,
        streaming=True,
        temperature=params.pop("temperature", None),
        extra_body=params or None,
    )
    return _model(chat, settings, row)


def _extractive(settings: Settings) -> Model:
    from .extractive import ExtractiveChatModel

    chat: BaseChatModel = ExtractiveChatModel()
    return Model(
        chat=chat,
        name="extractive",
        window_tokens=settings.window_tokens or 32_768,
        max_output_tokens=settings.max_output_tokens or 4_096,
        prices=settings.prices or Prices(),
        quotes=True,
    )


def _openai(settings: Settings) -> Model:
    """GPT by the Responses API, which alone carries its reasoning on; everything else by chat completions."""
    row = _row(settings)
    own = settings.base_url in (None, row.base_url)
    if row.api != "responses" or not (own or settings.params.get("use_responses_api")):
        return _compatible(settings)
    from .gpt import gpt

    return _model(gpt(settings, row), settings, row)


def _anthropic(settings: Settings) -> Model:
    try:
        from .claude import claude
    except ImportError:
        raise CannotLoad("model.provider anthropic needs the extra `anthropic`: pip install '.[anthropic]'") from None
    row = _row(settings)
    return _model(claude(settings, row), settings, row)


def _model(chat: BaseChatModel, settings: Settings, row: Row) -> Model:
    known = row.prices
    return Model(
        chat=chat,
        name=settings.name,
        window_tokens=settings.window_tokens or row.window_tokens,
        max_output_tokens=settings.max_output_tokens or row.max_output_tokens,
        prices=settings.prices or (Prices(known.miss, known.hit, known.output, known.cache_write) if known else Prices()),
        priced=settings.prices is not None or known is not None,
        least_output_tokens=_least_output_tokens({**row.body, **settings.params}),
        host=urlsplit(settings.base_url or row.base_url).netloc,
        key=settings.key,
    )


def _least_output_tokens(params: dict[str, Any]) -> int:
    """An output limit that is not above the budget of the thought is refused."""
    thinking = params.get("thinking")
    return ANSWER_TOKENS + (int(thinking.get("budget_tokens") or 0) if isinstance(thinking, dict) else 0)


FACTORIES: dict[str, Callable[[Settings], Model]] = {
    "extractive": _extractive,
    "openai": _openai,
    "moonshot": _compatible,
    "cometapi": _compatible,
    "openrouter": _compatible,
    "deepseek": _compatible,
    "vllm": _compatible,
    "sglang": _compatible,
    "ollama": _compatible,
    "llamacpp": _compatible,
    "anthropic": _anthropic,
}
