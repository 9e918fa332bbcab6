"""LangChain's own suites for a chat model, on ours, against a scripted host that answers from the request's schemas alone."""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import SecretStr

from research_agent.models.catalog import lookup
from research_agent.models.chat import ReasoningChatModel
from research_agent.testing.host import Call, Reply, Request, ScriptedHost


def obliging(request: Request) -> Reply:
    """Calls the tool that was asked for, fills in the schema that was given, and counts aloud."""
    last, text = request["messages"][-1], json.dumps(request["messages"], ensure_ascii=False)
    tools = [tool["function"] for tool in request.get("tools") or ()]
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        return Reply(reasoning="A schema.", content=json.dumps(_filled(form["json_schema"]["schema"], text)))
    if form.get("type") == "json_object":
        return Reply(reasoning="An object.", content=json.dumps({"setup": "Why?", "punchline": "Because."}))
    if tools and last["role"] == "user" and request.get("tool_choice") != "none":
        return Reply(reasoning="A tool.", calls=[Call(tools[0]["name"], _filled(tools[0]["parameters"], text))])
    reply = Reply(reasoning="One by one.", content="one two three four five six seven eight nine ten", chunk_chars=4)
    stop = request.get("stop")
    return reply if not stop else Reply(content=re.split("|".join(map(re.escape, stop)), reply.content)[0])


def _filled(schema: dict[str, Any], text: str) -> Any:
    for name in ("anyOf", "allOf"):
        if name in schema:
            return _filled(schema[name][0], text)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _filled(part, text) for name, part in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [_filled(schema.get("items", {"type": "string"}), text)]
    numbers = re.findall(r"\((\d+)\)", text)
    unicode = re.findall(r"[^\x00-\x7f\"\\]+(?:[ ,]+[^\x00-\x7f\"\\]+)*", text)
    filled = {"integer": int(numbers[0]) if numbers else 1, "number": 1.0, "boolean": True, "null": None}
    return filled.get(kind, unicode[0] if unicode else "text")


class _Ours:
    """Left out, and skipped by the suites: a forced tool (refused while a model thinks); images, PDFs and sound (a research run sends text
    only); settings from the environment (config.py alone reads it); serialization (a model holds its connections); recorded cassettes."""

    base_url = "http://127.0.0.1:9/v1"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ReasoningChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "scripted", "row": lookup("vllm", "scripted"), "api_key": SecretStr("sk-test"), "base_url": self.base_url}

    @property
    def has_tool_choice(self) -> bool:
        return False  # thinking models refuse a forced tool, so none is ever sent

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestUnit(_Ours, ChatModelUnitTests):
    pass


class TestIntegration(_Ours, ChatModelIntegrationTests):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _host(cls) -> Iterator[None]:
        with ScriptedHost(obliging) as host:
            cls.base_url = host.base_url
            yield

    @property
    def supported_usage_metadata_details(self) -> Any:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._asked("Why is the sky blue?", stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        long = "A long question. " * 200
        self._asked(long, stream)
        return self._asked(long, stream)

    def _asked(self, question: str, stream: bool) -> AIMessage:
        chat = ReasoningChatModel(**self.chat_model_params)
        if not stream:
            return chat.invoke(question)
        return functools.reduce(operator.add, chat.stream(question))

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "another"
