"""A chat model and its scripted host: asked, and answered."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from pydantic import SecretStr

from research_agent.graphs.ports import ModelCallError
from research_agent.models.chat import ReasoningChatModel
from research_agent.models.load import Settings, load
from research_agent.testing.host import Reply, ScriptedHost
from research_agent.testing.rules import Dialect

KEY = "sk-very-secret-1234567890"


SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def model(host: ScriptedHost, provider: str = "openai", name: str = "any", **more: Any) -> ReasoningChatModel:
    chat = load(Settings(provider=provider, name=name, base_url=host.base_url, api_key=SecretStr(KEY), **more)).chat
    assert isinstance(chat, ReasoningChatModel)
    return chat


async def ask(chat: ReasoningChatModel, messages: Any = "Q", **kwargs: Any) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    async for chunk in chat.astream(messages, **kwargs):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


async def replied(*replies: Reply, dialect: Dialect | None = None, **kwargs: Any) -> AIMessageChunk:
    with ScriptedHost(replies, dialect=dialect) as host:
        return await ask(model(host), **kwargs)


async def failure(*replies: Reply, **kwargs: Any) -> ModelCallError:
    with pytest.raises(ModelCallError) as caught:
        await replied(*replies, **kwargs)
    return caught.value
