"""Claude by its own API: thinking blocks go back signed and unmodified, and the prompt's end is marked for the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import anthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk
from pydantic import SecretStr

from .catalog import Row
from .http import IDLE_TIMEOUT_S, async_client, client, library
from .settings import Settings
from .vendor import VendorModel, origin_of

_AT_START = "usage_at_start"
"""In the first chunk's `response_metadata`, on its way to the last: many hosts count the prompt only when they begin to answer."""


class Claude(VendorModel, ChatAnthropic):
    maker: str = "anthropic"
    host: str = "api.anthropic.com"

    @cached_property
    def _client(self) -> anthropic.Client:
        return anthropic.Client(**self._client_params, http_client=client(library(anthropic), self.anthropic_api_url or ""))

    @cached_property
    def _async_client(self) -> anthropic.AsyncClient:
        return anthropic.AsyncClient(**self._client_params, http_client=async_client(library(anthropic), self.anthropic_api_url or ""))

    def errors(self) -> tuple[type[Exception], ...]:
        return (anthropic.APIError, library(anthropic).HTTPError, OSError)

    def secret(self) -> str:
        return self.anthropic_api_key.get_secret_value()

    def ends(self, chunk: ChatGenerationChunk) -> bool:
        return bool(chunk.message.response_metadata.get("stop_reason"))

    def _make_message_chunk_from_anthropic_event(self, event: Any, **kwargs: Any) -> Any:
        """The base reads the count of the prompt at the end of a stream only."""
        chunk, block = super()._make_message_chunk_from_anthropic_event(event, **kwargs)
        if event.type == "message_start" and isinstance(chunk, AIMessageChunk):
            chunk.response_metadata[_AT_START] = _prompt_usage(event.message.usage)
        return chunk, block

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        started: UsageMetadata | None = None
        for chunk in super()._stream(*args, **kwargs):
            started = _counted(chunk, started)
            yield chunk

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        started: UsageMetadata | None = None
        async for chunk in super()._astream(*args, **kwargs):
            started = _counted(chunk, started)
            yield chunk


def _prompt_usage(usage: Any) -> UsageMetadata:
    """Of the prompt, as LangChain counts: what was read from the cache and written to it is part of it."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    total = (usage.input_tokens or 0) + read + written
    return UsageMetadata(
        input_tokens=total, output_tokens=0, total_tokens=total, input_token_details={"cache_read": read, "cache_creation": written}
    )


def _counted(chunk: ChatGenerationChunk, started: UsageMetadata | None) -> UsageMetadata | None:
    """What the host counted when it began, to be handed on; put into the chunk that reports usage without it."""
    message = chunk.message
    started = message.response_metadata.pop(_AT_START, started)
    last = message.usage_metadata if isinstance(message, AIMessageChunk) else None
    if last and started and last["input_tokens"] < started["input_tokens"]:
        total = started["input_tokens"] + last["output_tokens"]
        whole: UsageMetadata = {**last, **started, "output_tokens": last["output_tokens"], "total_tokens": total}
        message.usage_metadata = whole  # type: ignore[attr-defined]
    return started


def claude(settings: Settings, row: Row) -> Claude:
    base_url = settings.base_url or row.base_url
    params = {**row.body, **settings.params}
    return Claude(
        model_name=settings.name,
        base_url=base_url,
        api_key=settings.api_key or SecretStr("none"),
        max_tokens_to_sample=settings.max_output_tokens or row.max_output_tokens,
        max_retries=0,
        timeout=IDLE_TIMEOUT_S,
        stop=None,
        streaming=True,
        host=urlsplit(base_url).hostname or base_url,
        origin=origin_of(settings, row),
        model_kwargs={"cache_control": {"type": "ephemeral"}},
        **params,
    )
