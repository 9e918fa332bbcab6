"""One chat model for every OpenAI-compatible host: it keeps the reasoning, speaks each host's dialect, and fails with one typed error.

httpx carries the bytes; the request is made in `request.py` and the answer read in `answer.py`, whole or streamed alike. No vendor's SDK is
in between: it would check, and start, slower than the rest of a run, and refuse what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import AliasChoices, ConfigDict, Field, SecretStr, model_validator

from research_agent.graphs.ports import ModelCallError
from research_agent.memory import estimate_tokens

from . import request
from .adapt import adapted
from .answer import Answer
from .catalog import Row, lookup
from .errors import from_answer, from_exception
from .http import IDLE_TIMEOUT_S, async_client, client
from .sse import Events
from .structured import asked_by_format

_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError)
_KEY_CHARS = 8
_TRACE_HEADERS = ("x-trace-id", "x-request-id", "msh-request-id")


class ReasoningChatModel(BaseChatModel):
    """`row` says how the host speaks; without it, the catalog's row for an OpenAI-compatible host and this name."""

    model_config = ConfigDict(extra="forbid")

    model: str
    base_url: str = ""
    """The row's own if it is empty."""
    api_key: SecretStr | None = None
    row: Row = Field(default=None)  # type: ignore[assignment]
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    extra_body: dict[str, Any] | None = None
    """Further fields of the request."""
    default_headers: dict[str, SecretStr] | None = None
    """Sent with each request; any of them may be a key."""
    streaming: bool = False
    """Also `invoke` asks for a stream."""
    stream_usage: bool = True
    idle_timeout_s: float = Field(default=IDLE_TIMEOUT_S, validation_alias=AliasChoices("idle_timeout_s", "timeout"))
    max_retries: int | None = 0
    """Taken from who sets it for every model, and not used: whoever calls waits and tries again, once for all."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        """Nothing is read from the environment, so no key or organization meant for one host reaches another."""
        if self.row is None:
            self.row = lookup("openai", self.model)
        self.base_url = self.base_url or self.row.base_url
        if urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError(f"base_url {self.base_url!r}: not an http:// or https:// address")
        return self

    @property
    def origin(self) -> str:
        """Where a message comes from, as it is marked: thoughts go back to the same model at the same host and port only."""
        return f"{self.row.provider}:{urlsplit(self.base_url).netloc.rpartition('@')[2]}:{self.row.family or self.model}"

    @property
    def _llm_type(self) -> str:
        return "research-agent-chat"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """What an answer hangs on: a cache of answers keeps models apart by it."""
        own = self.model_dump(include={"model", "base_url", "temperature", "max_tokens", "stop", "extra_body"})
        return {**own, "row": {"provider": self.row.provider, "body": dict(self.row.body), "fixed": dict(self.row.fixed)}}

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).hostname or "host"

    def _secret(self) -> str:
        return self.api_key.get_secret_value() if self.api_key else ""

    def _headers(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in (self.default_headers or {}).items()}

    def _secrets(self) -> list[str]:
        """What a host may echo in an error. A header's value that is too short for a key is a word."""
        return [self._secret(), *(value for value in self._headers().values() if len(value) >= _KEY_CHARS)]

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(stop=stop or self.stop, **kwargs), "ls_provider": self.row.provider}

    def get_num_tokens(self, text: str) -> int:
        """An estimate: no tokenizer can be assumed."""
        return estimate_tokens(text)

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, strict: bool | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """`tool_choice`: auto, none, required (or any, or True), or a tool's name. What its host cannot do becomes auto."""
        formed = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        if tool_choice:
            kwargs["tool_choice"] = request.choice(tool_choice)
        return self.bind(tools=formed, **kwargs)

    def with_structured_output(
        self, schema: Any = None, *, method: str = "json_schema", include_raw: bool = False, strict: bool = True, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """By `response_format`: a forced tool call (`function_calling`) is refused while a model thinks."""
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        return asked_by_format(self, schema, json_only=method == "json_mode", include_raw=include_raw, strict=strict, **kwargs)

    def payload(self, messages: Sequence[BaseMessage], stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """The request's body as it is sent."""
        own = {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stop or self.stop}
        more = {**(self.extra_body or {}), **(kwargs.pop("extra_body", None) or {})}
        return request.fit({**own, **more, **kwargs}, messages, self.row, origin=self.origin)

    # Whole and streamed, sync and async: each only carries bytes between the host and `Answer`.

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        payload = self.payload(messages, stop, **{**kwargs, "stream": False})
        with self._sent(payload) as response:
            return self._whole(payload, response.read(), response.headers)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self.payload(messages, stop, **{**kwargs, "stream": False})
        async with self._asent(payload) as response:
            return self._whole(payload, await response.aread(), response.headers)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        payload, reader = self._streamed(messages, stop, kwargs)
        with self._sent(payload) as response:
            reader.opened(response.headers)
            for piece in response.iter_bytes():
                if chunk := reader.feed(piece):
                    yield chunk
                if reader.done:
                    break
        yield reader.end()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload, reader = self._streamed(messages, stop, kwargs)
        async with self._asent(payload) as response:
            reader.opened(response.headers)
            async for piece in response.aiter_bytes():
                if chunk := reader.feed(piece):
                    yield chunk
                if reader.done:
                    break
        yield reader.end()

    # A client for each request: one that is shared between threads or event loops closes the connections of the others.

    @contextmanager
    def _sent(self, payload: Mapping[str, Any]) -> Iterator[httpx.Response]:
        try:
            with client(httpx, self.base_url, self.idle_timeout_s) as http, http.stream("POST", **self._request(payload)) as response:
                if not response.is_success:
                    response.read()
                    raise self._refused(response, payload)
                yield response
        except _FAILURES as error:
            raise from_exception(error, host=self._host, secrets=self._secrets()) from None

    @asynccontextmanager
    async def _asent(self, payload: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        try:
            async with (
                async_client(httpx, self.base_url, self.idle_timeout_s) as http,
                http.stream("POST", **self._request(payload)) as response,
            ):
                if not response.is_success:
                    await response.aread()
                    raise self._refused(response, payload)
                yield response
        except _FAILURES as error:
            raise from_exception(error, host=self._host, secrets=self._secrets()) from None

    def _request(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        key = self._secret()
        if not (key.isascii() and key.isprintable()):  # its own error would hold the key
            raise ModelCallError("the API key holds a character that no key has (a quote, a blank or a line end around it?)", "auth")
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
            **self._headers(),
        }
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        # A lone surrogate becomes the JSON escape that it is.
        return {"url": url, "headers": headers, "content": body.encode("utf-8", "backslashreplace")}

    def _streamed(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> tuple[dict[str, Any], _Reader]:
        if kwargs.pop("stream_usage", self.stream_usage) and self.row.stream_usage:
            kwargs["stream_options"] = {"include_usage": True}
        payload = self.payload(messages, stop, **{**kwargs, "stream": True})
        return payload, _Reader(self._answer(payload), self._host, self._secrets(), self._learn)

    def _whole(self, payload: Mapping[str, Any], body: bytes, headers: Mapping[str, str]) -> ChatResult:
        text = body.decode("utf-8-sig", "replace")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):  # ValueError: also a number of more digits than Python reads
            data = None
        if not isinstance(data, dict) or data.get("error") or not data.get("choices"):
            raise from_answer(200, text, host=self._host, secrets=self._secrets())
        answer = self._answer(payload)
        answer.feed(data)
        message = message_chunk_to_message(answer.end(trace_id=_trace_id(headers)))
        self._learn(answer)
        assert isinstance(message, AIMessage)  # noqa: S101
        message.id = data.get("id") or message.id
        info = {"finish_reason": message.response_metadata.get("finish_reason")}
        output = {"model_name": data.get("model") or self.model, "token_usage": data.get("usage") or {}}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)], llm_output=output)

    def _answer(self, payload: Mapping[str, Any]) -> Answer:
        return Answer(origin=self.origin, host=self._host, asked=request.asked(payload, self.row))

    def _learn(self, answer: Answer) -> None:
        """A host whose answers begin inside a thought: the next stream is read so from its first byte."""
        if answer.opened and not self.row.opens_in_thought:
            self.row = replace(self.row, opens_in_thought=True)

    def _refused(self, response: httpx.Response, payload: Mapping[str, Any]) -> ModelCallError:
        body = response.content.decode("utf-8", "replace")  # whatever charset it says
        failure = from_answer(response.status_code, body, host=self._host, headers=response.headers, secrets=self._secrets())
        learned = adapted(self.row, failure.reason) if failure.kind == "bad_request" else None
        if learned is None or not (payload.get("response_format") or learned.structured == self.row.structured):
            return failure
        self.row = learned
        return ModelCallError(f"{failure.reason} (asking again without it)", "empty")


class _Reader:
    """Bytes of a stream to chunks. A host that ignores `stream` and answers whole is read as well."""

    def __init__(self, answer: Answer, host: str, secrets: Sequence[str], learn: Callable[[Answer], None]) -> None:
        self._answer = answer
        self._learn = learn
        self._events = Events()
        self._host = host
        self._secrets = secrets
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
        except (ValueError, RecursionError):
            if "\n" in data:  # events without the empty line between them
                for line in data.split("\n"):
                    self._read(line)
                return
            chunk = {"error": data}
        if not isinstance(chunk, dict) or chunk.get("error") or chunk.get("object") == "error":
            raise from_answer(200, data, host=self._host, secrets=self._secrets)
        self._answer.feed(chunk)


def _trace_id(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in _TRACE_HEADERS if name in headers), "")
