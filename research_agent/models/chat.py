"""One chat model for every OpenAI-compatible host: it keeps the reasoning, speaks each host's dialect, and fails with one typed error.

The openai SDK carries the request; payload and answer are ours, whole or streamed alike (`request.py`, `answer.py`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self
from urllib.parse import urlsplit

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import Field, SecretStr, model_validator

from research_agent.graphs.ports import ModelCallError

from . import request
from .adapt import adapted
from .answer import Answer
from .catalog import Row, lookup
from .errors import from_answer, from_exception
from .http import IDLE_TIMEOUT_S, library, options
from .sse import Events

_NO_KEY = "none"
_FAILURES = (openai.APIError, library(openai).HTTPError, OSError)
_TRACE_HEADERS = ("x-trace-id", "x-request-id", "msh-request-id")


class ReasoningChatModel(BaseChatOpenAI):
    """`row` says how the host speaks; without it, the catalog's row for an OpenAI-compatible host and this name."""

    row: Row = Field(default=None)  # type: ignore[assignment]
    use_responses_api: bool | None = False
    stream_usage: bool | None = True
    max_retries: int | None = 0
    idle_timeout_s: float = IDLE_TIMEOUT_S

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Replaces the base's: nothing is read from the environment, so no key or organization meant for one host reaches another."""
        if self.row is None:
            self.row = lookup("openai", self.model_name)
        self.openai_api_base = self.openai_api_base or self.row.base_url
        http, lib = options(openai, self.idle_timeout_s), library(openai)
        common: dict[str, Any] = {
            "api_key": self._secret() or _NO_KEY,
            "base_url": self.openai_api_base,
            "max_retries": 0,
            "default_headers": {**(self.default_headers or {}), "OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()},
        }
        if self.root_client is None:
            self.http_client = common["http_client"] = self.http_client or lib.Client(**http)
            self.root_client = openai.OpenAI(**common)
            self.client = self.root_client.chat.completions
        if self.root_async_client is None:
            self.http_async_client = common["http_client"] = self.http_async_client or lib.AsyncClient(**http)
            self.root_async_client = openai.AsyncOpenAI(**common)
            self.async_client = self.root_async_client.chat.completions
        return self

    @property
    def origin(self) -> str:
        """Where a message comes from, as it is marked: thoughts go back to the same model at the same host only."""
        return f"{self.row.provider}:{self._host}:{self.row.family or self.model_name}"

    @property
    def _llm_type(self) -> str:
        return "research-agent-chat"

    @property
    def _host(self) -> str:
        return urlsplit(self.openai_api_base or "").hostname or "host"

    def _secret(self) -> str:
        return self.openai_api_key.get_secret_value() if isinstance(self.openai_api_key, SecretStr) else ""

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": self.row.provider}

    def _get_request_payload(self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        messages = self._convert_input(input_).to_messages()
        payload = super()._get_request_payload(messages, stop=stop, **kwargs)
        payload.update(payload.pop("extra_body", None) or {})
        return request.fit(payload, messages, self.row, origin=self.origin)

    def with_structured_output(self, schema: Any = None, *, method: Any = "json_schema", **kwargs: Any) -> Any:
        """By `response_format`: a forced tool call is refused while a model thinks."""
        if method == "json_schema" and schema is not None:
            wire = convert_to_json_schema(schema)
            named = {"name": wire.get("title", "answer"), "schema": wire, "strict": bool(kwargs.pop("strict", True))}
            told = {"kwargs": {"method": method}, "schema": convert_to_openai_tool(schema)}
            kwargs |= {"response_format": {"type": "json_schema", "json_schema": named}, "ls_structured_output_format": told}
            method = "json_mode"  # as the base reads the answer: whatever the host can, the text is one JSON object
        return super().with_structured_output(schema, method=method, **kwargs)

    # Whole and streamed, sync and async: each only carries bytes between the SDK and `Answer`.

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": False})
        try:
            with self.client.with_streaming_response.create(**_sdk(payload)) as response:
                return self._whole(payload, response.read(), response.headers)
        except _FAILURES as error:
            raise self._failed(error, payload) from None

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": False})
        try:
            async with self.async_client.with_streaming_response.create(**_sdk(payload)) as response:
                return self._whole(payload, await response.read(), response.headers)
        except _FAILURES as error:
            raise self._failed(error, payload) from None

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        payload, reader = self._streamed(messages, stop, kwargs)
        try:
            with self.client.with_streaming_response.create(**_sdk(payload)) as response:
                reader.opened(response.headers)
                for piece in response.iter_bytes():
                    if chunk := reader.feed(piece):
                        yield chunk
                    if reader.done:
                        break
        except _FAILURES as error:
            raise self._failed(error, payload) from None
        yield reader.end()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload, reader = self._streamed(messages, stop, kwargs)
        try:
            async with self.async_client.with_streaming_response.create(**_sdk(payload)) as response:
                reader.opened(response.headers)
                async for piece in response.iter_bytes():
                    if chunk := reader.feed(piece):
                        yield chunk
                    if reader.done:
                        break
        except _FAILURES as error:
            raise self._failed(error, payload) from None
        yield reader.end()

    def _streamed(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> tuple[dict[str, Any], _Reader]:
        if self._should_stream_usage(kwargs.pop("stream_usage", None), **kwargs) and self.row.stream_usage:
            kwargs["stream_options"] = {"include_usage": True}
        payload = self._get_request_payload(messages, stop=stop, **{**kwargs, "stream": True})
        return payload, _Reader(self._answer(payload), self._host, self._secret(), self._learn)

    def _whole(self, payload: Mapping[str, Any], body: bytes, headers: Mapping[str, str]) -> ChatResult:
        text = body.decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except json.JSONDecodeError:
            data = None
        if not isinstance(data, dict) or data.get("error") or not data.get("choices"):
            raise from_answer(200, text, host=self._host, secret=self._secret())
        answer = self._answer(payload)
        answer.feed(data)
        message = message_chunk_to_message(answer.end(trace_id=_trace_id(headers)))
        self._learn(answer)
        assert isinstance(message, AIMessage)  # noqa: S101
        message.id = data.get("id") or message.id
        info = {"finish_reason": message.response_metadata.get("finish_reason")}
        output = {"model_name": data.get("model") or self.model_name, "token_usage": data.get("usage") or {}}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)], llm_output=output)

    def _answer(self, payload: Mapping[str, Any]) -> Answer:
        return Answer(origin=self.origin, host=self._host, asked=request.asked(payload, self.row))

    def _learn(self, answer: Answer) -> None:
        """A host whose answers begin inside a thought: the next stream is read so from its first byte."""
        if answer.opened and not self.row.opens_in_thought:
            self.row = replace(self.row, opens_in_thought=True)

    def _failed(self, error: Exception, payload: Mapping[str, Any]) -> ModelCallError:
        failure = from_exception(error, host=self._host, secret=self._secret())
        learned = adapted(self.row, failure.reason) if failure.kind == "bad_request" else None
        if learned is None or not (payload.get("response_format") or learned.structured == self.row.structured):
            return failure
        self.row = learned
        return ModelCallError(f"{failure.reason} (asking again without it)", "empty")


class _Reader:
    """Bytes of a stream to chunks. A host that ignores `stream` and answers whole is read as well."""

    def __init__(self, answer: Answer, host: str, secret: str, learn: Callable[[Answer], None]) -> None:
        self._answer = answer
        self._learn = learn
        self._events = Events()
        self._host = host
        self._secret = secret
        self._trace_id = ""
        self._body: list[bytes] | None = None
        self.done = False

    def opened(self, headers: Mapping[str, str]) -> None:
        self._trace_id = _trace_id(headers)
        if "json" in headers.get("content-type", ""):
            self._body = []

    def feed(self, piece: bytes) -> ChatGenerationChunk | None:
        if self._body is not None:
            self._body.append(piece)
            return None
        for data in self._events.feed(piece):
            self._read(data)
        said = self._answer.take()
        return None if said is None else ChatGenerationChunk(message=said)

    def end(self) -> ChatGenerationChunk:
        for data in self._events.flush() if self._body is None else [b"".join(self._body).decode("utf-8", "replace")]:
            self._read(data)
        last = self._answer.end(trace_id=self._trace_id, done=self.done)
        self._learn(self._answer)
        return ChatGenerationChunk(message=last)

    def _read(self, data: str) -> None:
        if self.done or data.startswith("[DONE]"):
            self.done = True
            return
        try:
            chunk = json.loads(data)
        except json.JSONDecodeError:
            if "\n" in data:  # events without the empty line between them
                for line in data.split("\n"):
                    self._read(line)
                return
            chunk = {"error": data}
        if not isinstance(chunk, dict) or chunk.get("error") or chunk.get("object") == "error":
            raise from_answer(200, data, host=self._host, secret=self._secret)
        self._answer.feed(chunk)


def _sdk(payload: dict[str, Any]) -> dict[str, Any]:
    """Through `extra_body`: the SDK refuses fields it does not know, and walks every message to check those it does."""
    return {"model": payload["model"], "messages": [], "stream": payload["stream"], "extra_body": payload}


def _trace_id(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in _TRACE_HEADERS if name in headers), "")
