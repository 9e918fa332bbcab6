"""A request to a model as it is recorded: hashes, so that two can be told apart, and their texts found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from research_agent.graphs.ports import Asked
from research_agent.graphs.window import body_of
from research_agent.memory import content_hash


@dataclass(frozen=True, slots=True)
class Written:
    """A request, its texts aside."""

    model: str
    role: str
    messages: tuple[str, ...]
    """The hash of each message's body."""
    tools: str
    """The hash of their schemas; empty if none may be called."""
    params: Mapping[str, Any]

    @property
    def hash(self) -> str:
        whole = [self.model, self.role, list(self.messages), self.tools, dict(self.params)]
        return content_hash(json.dumps(whole, sort_keys=True, ensure_ascii=False))


def schemas(tools: Sequence[BaseTool]) -> str:
    return json.dumps([convert_to_openai_tool(tool) for tool in tools], ensure_ascii=False, sort_keys=True)


class Writer:
    """Makes requests of what is asked, and hands each text that it has not met before to `put`."""

    def __init__(self, put: Callable[[str], object]) -> None:
        self._put = put
        self._met: set[str] = set()
        self._tools: tuple[Sequence[BaseTool], str] | None = None

    def write(self, asked: Asked) -> Written:
        return Written(
            model=asked.model,
            role=asked.role,
            messages=tuple(self._ref(body_of(message)) for message in asked.messages),
            tools=self._schemas(asked.tools) if asked.tools else "",
            params={"response_format": asked.response_format, "output_tokens": asked.output_tokens},
        )

    def _schemas(self, tools: Sequence[BaseTool]) -> str:
        if self._tools is None or self._tools[0] is not tools:
            self._tools = tools, self._ref(schemas(tools))
        return self._tools[1]

    def _ref(self, text: str) -> str:
        ref = content_hash(text)
        if ref not in self._met:
            self._put(text)
            self._met.add(ref)
        return ref
