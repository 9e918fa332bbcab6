"""The ideal reader of the long run, as a chat model: it uses nothing but the prompt it is sent, and measures every prompt as it comes.

It acts a fixed script: search, read, note, and think. When a question becomes its open need, it thinks so and, where it is given a tool
that looks into memory, calls it with the question's own words; whether the answer then stands in its next prompt is what is counted.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from long_run_world import STEPS, SUB_QUESTIONS, Probe, Step, World

from research_agent.memory import estimate_tokens

BLOCK_TOKENS = 256
NEWEST_TURNS = 4
_SENTENCE = re.compile(r"[A-Z][^.!?<>\[\]]{60,240}[.!?]")

Ask = Callable[[str], dict[str, Any]]
"""A question to the call that looks for it in memory: its name and arguments."""


def rendered(message: BaseMessage) -> str:
    """What a host reads of a message."""
    content = message.content if isinstance(message.content, str) else json.dumps(message.content)
    calls = getattr(message, "tool_calls", None)
    return "\n".join(
        (
            message.type,
            content,
            str(message.additional_kwargs.get("reasoning_content", "")),
            json.dumps([[c["name"], c["args"]] for c in calls]) if calls else "",
        )
    )


@dataclass
class Host:
    """What a host with a prefix cache in blocks would have counted."""

    window_tokens: int
    max_output_tokens: int
    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    biggest: int = 0
    violations: int = 0
    breaks: int = 0
    """Requests of the investigation that do not begin with the whole request before."""
    _recent: list[list[str]] = field(default_factory=list)
    _last: list[str] = field(default_factory=list)
    _tokens: dict[str, int] = field(default_factory=dict)

    def request(self, parts: list[str], *, investigating: bool) -> tuple[int, int]:
        """Tokens of the prompt, and those that the cache holds."""
        counts = [self._count(part) for part in parts]
        total = sum(counts)
        hit = max((self._common(parts, earlier) for earlier in self._recent), default=0) // BLOCK_TOKENS * BLOCK_TOKENS
        self._recent = [*self._recent[-3:], parts]
        if investigating:
            self.breaks += parts[: len(self._last)] != self._last
            self._last = parts
        self.requests += 1
        self.input += total
        self.cached += hit
        self.biggest = max(self.biggest, total)
        self.violations += total + self.max_output_tokens > self.window_tokens
        return total, hit

    def _count(self, part: str) -> int:
        if part not in self._tokens:
            self._tokens[part] = 4 + estimate_tokens(part)
        return self._tokens[part]

    def _common(self, parts: list[str], earlier: list[str]) -> int:
        tokens = 0
        for part, before in zip(parts, earlier, strict=False):
            if part != before:
                same = next((n for n, (a, b) in enumerate(zip(part, before, strict=False)) if a != b), min(len(part), len(before)))
                return tokens + estimate_tokens(part[:same])
            tokens += self._count(part)
        return tokens


@dataclass
class Mind:
    """Acts a world's script for one contender, and keeps the score."""

    world: World
    host: Host
    ask: Ask | None = None
    answers: bool = False
    """It answers a sub-question every STEPS / SUB_QUESTIONS steps, without a call."""
    pause: Callable[[], Awaitable[None]] | None = None
    """What can be done while a model thinks, which takes it seconds and this reader none: the index catches up."""
    at: int = 0
    found: Counter[str] = field(default_factory=Counter)
    missed: list[Probe] = field(default_factory=list)
    torn: int = 0
    """Prompts without the four newest turns, whole."""
    cpu_s: float = 0.0
    """Of the reader and the measuring, not of what is measured."""
    _said: list[tuple[str, list[str]]] = field(default_factory=list)
    """Its turns as it made them, and their results as it first saw them."""
    _open: Probe | None = None
    _answered: int = 0

    def reply(self, messages: list[BaseMessage], schemas: str, wanted: str) -> AIMessage:
        begun = time.thread_time()
        parts = [schemas, *map(rendered, messages)]
        investigating = bool(schemas)
        total, hit = self.host.request(parts, investigating=investigating)
        message = self._turn(messages, parts) if investigating else _structured(wanted, self.world, parts)
        out = estimate_tokens(rendered(message))
        self.host.output += out
        details: Any = {"cache_read": hit}
        message.usage_metadata = {"input_tokens": total, "output_tokens": out, "total_tokens": total + out, "input_token_details": details}
        self.cpu_s += time.thread_time() - begun
        return message

    def _turn(self, messages: list[BaseMessage], parts: list[str]) -> AIMessage:
        self._look(messages, parts)
        if self.at >= STEPS:
            return AIMessage("That is all there is.")
        if self.answers and self.at // (STEPS // SUB_QUESTIONS) > self._answered:
            self._answered += 1
            message = AIMessage(f"The works were paid for in several ways; see what was read up to step {self.at}.")
        else:
            message = self._act(self.world.steps[self.at], messages)
            self.at += 1
        self._said.append((rendered(message), []))
        return message

    def _look(self, messages: list[BaseMessage], parts: list[str]) -> None:
        """Scores the prompt: the open need, and the four newest turns."""
        if self._said:
            tail = [part for message, part in zip(messages, parts[1:], strict=True) if isinstance(message, ToolMessage)]
            made = sum("[[" in turn for turn, _ in self._said[-1:])
            self._said[-1] = (self._said[-1][0], tail[-made:] if made else [])
        for turn, results in self._said[-NEWEST_TURNS:]:
            if turn not in parts or any(result not in parts for result in results):
                self.torn += 1
                break
        if self._open:
            if any(self._open.fact.answer in part for part in parts):
                self.found[self._open.fact.wording] += 1
            else:
                self.missed.append(self._open)
            self._open = None

    def _act(self, step: Step, messages: list[BaseMessage]) -> AIMessage:
        thought = self.world.thoughts[self.at]
        if step.probe:
            self._open = step.probe
            thought = f"{thought} Now I need to know: {step.probe.fact.question}"
            call = self.ask(step.probe.fact.question) if self.ask else None
        elif step.kind == "note":
            call = _note(messages)
        elif step.page:
            call = {"name": "scrape", "args": {"url": step.page.url}}
        else:
            call = {"name": "web_search", "args": {"query": step.query}}
        call = call or {"name": "web_search", "args": {"query": f"regional overview {self.at}"}}
        extra = {"reasoning_content": thought}
        return AIMessage("", additional_kwargs=extra, tool_calls=[{**call, "id": f"{call['name']}:{self.at}", "type": "tool_call"}])


def _note(messages: list[BaseMessage]) -> dict[str, Any]:
    for message in reversed(messages):
        text = str(message.content)
        url = re.search(r"https://world\.example/\d+\b(?!-)", text)
        if isinstance(message, ToolMessage) and message.name == "scrape" and url and (quote := _SENTENCE.search(text)):
            return {"name": "note", "args": {"claim": f"It is told that {quote[0][:100]}", "quote": quote[0], "source": url[0]}}
    return {"name": "note", "args": {"claim": "Nothing to note.", "quote": "no page is left in the prompt", "source": "none"}}


def _structured(wanted: str, world: World, parts: list[str]) -> AIMessage:
    """Planning, review and writing; and a summary, for those who ask for one: what a page was about, and its opening."""
    if wanted == "plan":
        return AIMessage(json.dumps({"brief": "Who built what, and who paid.", "sub_questions": world.sub_questions}))
    if wanted == "review":
        return AIMessage(json.dumps({"verdict": "Enough.", "follow_ups": []}))
    if wanted == "report":
        return AIMessage(json.dumps({"answer": "Told in the findings.", "sections": []}))
    openings = dict.fromkeys(_SENTENCE.findall("\n".join(parts)))
    return AIMessage("\n".join(list(openings)[:40]))


class Reader(BaseChatModel):
    """The ideal reader behind LangChain's interface."""

    mind: Any

    @property
    def _llm_type(self) -> str:
        return "ideal-reader"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(schemas=json.dumps([convert_to_openai_tool(tool) for tool in tools]))

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        wanted = kwargs.get("response_format", {}).get("json_schema", {}).get("name", "")
        message = self.mind.reply(messages, kwargs.get("schemas", ""), wanted)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.mind.pause:
            await self.mind.pause()
        message = self._generate(messages, stop, None, **kwargs).generations[0].message
        calls = [
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=n)
            for n, call in enumerate(message.tool_calls)
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=message.content,
                additional_kwargs=message.additional_kwargs,
                tool_call_chunks=calls,
                usage_metadata=message.usage_metadata,
            )
        )
