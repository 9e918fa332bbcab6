"""GPT by the Responses API: nothing is stored there, and its reasoning goes back encrypted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from .answer import REASONING
from .catalog import Row
from .http import IDLE_TIMEOUT_S, async_client, client, library
from .settings import Settings
from .vendor import VendorModel, origin_of


class Gpt(VendorModel, ChatOpenAI):
    maker: str = "openai"
    host: str = "api.openai.com"
    strict_tools: bool = True

    def errors(self) -> tuple[type[Exception], ...]:
        return (openai.APIError, library(openai).HTTPError, OSError)

    def secret(self) -> str:
        return self.openai_api_key.get_secret_value() if isinstance(self.openai_api_key, SecretStr) else ""

    def ends(self, chunk: ChatGenerationChunk) -> bool:
        return bool(chunk.message.response_metadata.get("status"))

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        return map(_with_thought, super()._stream(*args, **kwargs))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*args, **kwargs):
            yield _with_thought(chunk)


def _with_thought(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    """The summary of its thought also where every other model of ours has it. It is never sent: the encrypted item is."""
    message = chunk.message
    blocks = message.content if isinstance(message.content, list) else []
    items = [block for block in blocks if isinstance(block, dict) and block.get("type") == "reasoning"]
    thought = "".join(str(part.get("text") or "") for item in items for part in item.get("summary") or ())
    if thought and isinstance(message, AIMessageChunk):
        message.additional_kwargs[REASONING] = thought
    return chunk


def gpt(settings: Settings, row: Row) -> Gpt:
    lib = library(openai)
    base_url = settings.base_url or row.base_url
    params = {**row.body, **settings.params, "use_responses_api": True}
    reasoning = {"summary": "auto", **({"effort": effort} if (effort := params.pop("reasoning_effort", None)) else {})}
    return Gpt(
        model=settings.name,
        base_url=base_url,
        api_key=settings.api_key or SecretStr("none"),
        max_completion_tokens=settings.max_output_tokens or row.max_output_tokens,
        max_retries=0,
        timeout=IDLE_TIMEOUT_S,
        http_client=client(lib, base_url),
        http_async_client=async_client(lib, base_url),
        streaming=True,
        store=False,
        include=["reasoning.encrypted_content"],
        output_version="responses/v1",
        host=urlsplit(base_url).hostname or base_url,
        origin=origin_of(settings, row),
        **{"reasoning": reasoning, **params},
    )
