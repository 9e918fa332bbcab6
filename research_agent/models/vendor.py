"""What Claude and GPT, spoken to by their own interfaces, have in common with the rest: one error, and no thought of another model's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from research_agent.graphs.ports import ModelCallError

from .catalog import Row
from .errors import from_exception
from .schemas import tool_schema
from .settings import Settings

ORIGIN = "model_origin"
"""In a message's `additional_kwargs`, where it is not the maker's own host and key."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class VendorModel(BaseChatModel):
    """Stands before a vendor's LangChain class. A subclass names `maker`, `host` and its SDK's errors."""

    maker: str = ""
    """As LangChain marks its messages: `anthropic`, `openai`."""
    strict_tools: bool = False
    host: str = ""
    origin: str = ""
    """As `origin_of` says. A signed or encrypted thought is good there only."""

    def errors(self) -> tuple[type[Exception], ...]:
        raise NotImplementedError

    def secret(self) -> str:
        raise NotImplementedError

    def ends(self, chunk: ChatGenerationChunk) -> bool:
        """True for the chunk that says how the answer ended."""
        raise NotImplementedError

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """With closed schemas; enforced by the host where `strict_tools` says so."""
        formed = [tool_schema(convert_to_openai_tool(tool), strict_=self.strict_tools) if _is_ours(tool) else tool for tool in tools]
        return super().bind_tools(formed, **kwargs)

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        try:
            made = super()._generate(self._seen(messages), stop, run_manager, **kwargs)  # type: ignore[safe-super]
        except self.errors() as error:
            raise self._failed(error) from None
        for generation in made.generations:
            self._mark(generation.message)
        return made

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            made = await super()._agenerate(self._seen(messages), stop, run_manager, **kwargs)
        except self.errors() as error:
            raise self._failed(error) from None
        for generation in made.generations:
            self._mark(generation.message)
        return made

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        ended = False
        try:
            for chunk in super()._stream(self._seen(messages), stop, run_manager, **kwargs):
                if not ended and self.ends(chunk):
                    ended = True
                    self._mark(chunk.message)  # once: merging chunks joins strings
                yield chunk
        except self.errors() as error:
            raise self._failed(error) from None
        self._whole(ended)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        ended = False
        try:
            async for chunk in super()._astream(self._seen(messages), stop, run_manager, **kwargs):
                if not ended and self.ends(chunk):
                    ended = True
                    self._mark(chunk.message)  # once: merging chunks joins strings
                yield chunk
        except self.errors() as error:
            raise self._failed(error) from None
        self._whole(ended)

    def _seen(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        return adopted(messages, self.maker, self.origin)

    def _mark(self, message: BaseMessage) -> None:
        if self.origin:
            message.additional_kwargs[ORIGIN] = self.origin

    def _failed(self, error: Exception) -> ModelCallError:
        return from_exception(error, host=self.host, secrets=[self.secret()])

    def _whole(self, ended: bool) -> None:
        if not ended:
            raise ModelCallError(f"{self.host}: the stream stopped before the answer was finished", "network")


def _is_ours(tool: Any) -> bool:
    """A tool of the vendor's own, such as its web search, is no function."""
    return not isinstance(tool, dict) or "function" in tool


def origin_of(settings: Settings, row: Row) -> str:
    """Where a model is spoken to, and by whose key, as far as that is other than its maker says; empty where it is not.

    The key by its variable's name: another organization's is under another.
    """
    own = urlsplit(row.base_url).netloc
    host = urlsplit(settings.base_url or row.base_url).netloc.rpartition("@")[2]
    return " ".join(part for part in (host if host != own else "", settings.key if settings.key != row.api_key_env else "") if part)


def adopted(messages: Sequence[BaseMessage], maker: str, origin: str = "") -> list[BaseMessage]:
    """A conversation as `maker`'s models at `origin` may see it: of others' turns the text and the calls, and ids in a form it takes.

    No id stands twice: some models number their calls by what they see, and what they see grows shorter at a compaction.
    """
    used = {str(call["id"]) for message in messages if _is_own(message, maker, origin) for call in message.tool_calls}
    now: dict[str, list[str]] = {}
    found: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            ids = now.get(message.tool_call_id) or [message.tool_call_id]
            found.append(message.model_copy(update={"tool_call_id": ids.pop(0) if len(ids) > 1 else ids[0]}))
            continue
        olds = [str(call["id"] or "") for call in getattr(message, "tool_calls", ())]
        now |= {old: [] for old in olds}
        if isinstance(message, AIMessage) and not _is_own(message, maker, origin):
            news = [_taken(old, used) for old in olds]
            calls = [{**call, "id": new} for call, new in zip(message.tool_calls, news, strict=True)]
            found.append(AIMessage(content=str(message.text), tool_calls=calls))
        else:
            news = olds
            found.append(message)
        for old, new in zip(olds, news, strict=True):  # calls of one turn that have one id: their results come in their order
            now[old].append(new)
    return found


def _is_own(message: BaseMessage, maker: str, origin: str) -> TypeGuard[AIMessage]:
    own = isinstance(message, AIMessage) and message.response_metadata.get("model_provider") == maker
    return own and message.additional_kwargs.get(ORIGIN, "") == origin


def _taken(old: str, used: set[str]) -> str:
    new = safe = _UNSAFE.sub("_", old) or "call"
    count = 1
    while new in used:
        count += 1
        new = f"{safe}_{count}"
    used.add(new)
    return new
