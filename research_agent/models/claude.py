"""Claude by its own API: thinking blocks go back signed and unmodified, and the prompt's end is marked for the cache."""

from __future__ import annotations

from functools import cached_property
from urllib.parse import urlsplit

import anthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.outputs import ChatGenerationChunk
from pydantic import SecretStr

from .catalog import Row
from .http import IDLE_TIMEOUT_S, library, options
from .settings import Settings
from .vendor import VendorModel


class Claude(VendorModel, ChatAnthropic):
    maker: str = "anthropic"
    host: str = "api.anthropic.com"

    @cached_property
    def _client(self) -> anthropic.Client:
        return anthropic.Client(**self._client_params, http_client=library(anthropic).Client(**options(anthropic)))

    @cached_property
    def _async_client(self) -> anthropic.AsyncClient:
        return anthropic.AsyncClient(**self._client_params, http_client=library(anthropic).AsyncClient(**options(anthropic)))

    def errors(self) -> tuple[type[Exception], ...]:
        return (anthropic.APIError, library(anthropic).HTTPError, OSError)

    def secret(self) -> str:
        return self.anthropic_api_key.get_secret_value()

    def ends(self, chunk: ChatGenerationChunk) -> bool:
        return bool(chunk.message.response_metadata.get("stop_reason"))


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
        model_kwargs={"cache_control": {"type": "ephemeral"}},
        **params,
    )
