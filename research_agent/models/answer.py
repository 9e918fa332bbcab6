"""One answer of a host, put together from its stream: thought, text, calls and usage, whatever the layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk

from research_agent.graphs.ports import ModelCallError, ModelErrorKind

from .calls import CallBuilder
from .channels import Channel, Splitter, closes_unopened, json_in, leaked_calls, thinks_aloud
from .usage import read_usage

REASONING = "reasoning_content"
"""Where a thought stands in `additional_kwargs`; LangChain's content blocks read it there."""
REASONING_FIELD = "reasoning_field"
"""The name it came in: `reasoning_content`, `reasoning`, or `think` for a block in the content."""

REASONING_DETAILS = "reasoning_details"
"""An aggregator's structured thoughts, signed or encrypted ones among them: they go back as they came."""

_FIELDS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request asked for, where it changes how its answer is read."""

    tools: frozenset[str] = frozenset()
    structured: bool = False
    opened: bool = False
    """The prompt's template opens the thought, so that only its end stands in the content."""


class Answer:
    """Feed it the decoded chunks (a whole answer is one); `take` what was said since; `end` raises ModelCallError if there is no answer."""

    def __init__(self, *, origin: str, host: str, asked: Asked) -> None:
        self._origin = origin
        self._host = host
        self._asked = asked
        self._content = Splitter("answer")
        self._held: str | None = ""
        """The content's beginning, while it may yet turn out to be a thought."""
        self._thought = Splitter("thought")
        self._calls = CallBuilder(asked.tools)
        self._usage: UsageMetadata | None = None
        self._finish = ""
        self._model = ""
        self._field = ""
        self._named = ""
        self._details: list[dict[str, Any]] = []
        self._pending: list[tuple[Channel, str]] = []
        self._said: dict[Channel, list[str]] = {"answer": [], "thought": [], "leak": []}

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Raises ModelCallError for a chunk of another shape than any host's."""
        try:
            self._feed(chunk)
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._failed(f"an answer that cannot be read ({type(error).__name__}: {error})", "empty") from error

    def _feed(self, chunk: Mapping[str, Any]) -> None:
        self._model = chunk.get("model") or self._model
        self._read_usage(chunk.get("usage"))
        for choice in (chunk.get("choices") or [])[:1]:
            self._read_usage(choice.get("usage"))
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or choice.get("message") or {}
            self._calls.feed(delta.get("tool_calls") or ())
            self._detail(delta.get(REASONING_DETAILS) or ())
            self._pending += self._pieces(delta)

    def end(self, *, trace_id: str = "", done: bool = False) -> AIMessageChunk:
        """The last chunk: the calls, whole; usage; how it ended. Raises where there is no usable answer. `done`: the host said so."""
        self._pending += [*self._thought.flush(), *self._released(), *self._content.flush()]
        rest = self.take()
        if not self._finish and done and (self._calls or any(self._said.values())):
            self._finish = "tool_calls" if self._calls else "stop"
        if not self._finish:
            raise self._failed("the stream stopped before the answer was finished", "network")
        self._refused()
        cut_off = self._finish == "length"
        if not self._calls:
            for id, name, args in leaked_calls("".join(self._said["leak"])):
                self._calls.add(id, name, args)
        calls = self._calls.finish(cut_off=cut_off)
        recovered = self._recovered(calls)
        last = AIMessageChunk(
            content=recovered,
            additional_kwargs={REASONING_DETAILS: self._details} if self._details else {},
            tool_call_chunks=calls,
            usage_metadata=self._usage,
            response_metadata=self._metadata(trace_id, bool(recovered)),
            chunk_position="last",
        )
        merged = last if rest is None else rest + last
        assert isinstance(merged, AIMessageChunk)  # noqa: S101
        return merged

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, dict) and usage:
            self._usage = read_usage(usage)  # the newest report replaces the last: each is a total

    def _detail(self, details: Iterable[Any]) -> None:
        """Pieces of one block carry its index and type; their texts are joined."""
        for detail in details:
            if not isinstance(detail, dict):
                continue
            last = self._details[-1] if self._details else None
            if last is None or (last.get("index"), last.get("type")) != (detail.get("index"), detail.get("type")):
                self._details.append(dict(detail))
                continue
            for name, value in detail.items():
                joins = name in ("text", "summary", "data") and isinstance(value, str) and isinstance(last.get(name), str)
                last[name] = last[name] + value if joins else value if value is not None else last.get(name)

    def _pieces(self, delta: Mapping[str, Any]) -> Iterable[tuple[Channel, str]]:
        thought = self._thought_in(delta)
        content = delta.get("content")
        pieces = self._thought.feed(thought) if thought else []
        if isinstance(content, list):  # blocks
            content = "".join(str(block.get("text") or "") for block in content if isinstance(block, dict))
        if content:
            pieces = [*pieces, *self._thought.flush(), *self._content_in(content)]
        return pieces

    def _content_in(self, text: str) -> list[tuple[Channel, str]]:
        """Where a thought may come first that no tag opens, the beginning waits for the tag that closes it."""
        if self._held is None:
            return self._content.feed(text)
        self._held += text
        known = self._field or self._asked.opened or self._held.lstrip().startswith("<") or thinks_aloud(self._held) is False
        closed = "</think>" in self._held[-len(text) - len("</think>") :]
        return self._released() if known or closed else []

    def _released(self) -> list[tuple[Channel, str]]:
        held, self._held = self._held, None
        if held and not self._field and (self._asked.opened or closes_unopened(held)):
            self._content = Splitter("answer", opened=True)
        return self._content.feed(held) if held else []

    @property
    def opened(self) -> bool:
        """Whether the answer began inside a thought: what this host will do again."""
        return not self._field and (self._content.opened or closes_unopened("".join(self._said["answer"])))

    def _thought_in(self, delta: Mapping[str, Any]) -> str:
        for name in (self._field, *_FIELDS) if self._field in _FIELDS else _FIELDS:
            value = delta.get(name)
            if isinstance(value, str) and value:
                self._field = self._field or name
                return value
        return ""

    def take(self) -> AIMessageChunk | None:
        """What was said since the last time. Chunks that arrived together are one: each costs more to handle than to read."""
        said: dict[Channel, str] = {}
        for channel, text in self._pending:
            said[channel] = said.get(channel, "") + text
            self._said[channel].append(text)
        self._pending.clear()
        content, thought = said.get("answer", ""), said.get("thought", "")
        if not content and not thought:
            return None
        extra: dict[str, Any] = {}
        if thought:
            extra[REASONING] = thought
            if not self._named:  # once: merging chunks joins strings
                extra[REASONING_FIELD] = self._named = self._field or "think"
        return AIMessageChunk(content=content, additional_kwargs=extra, response_metadata={"model_provider": self._origin})

    def _refused(self) -> None:
        if self._finish == "content_filter":
            raise self._failed("the answer was withheld by a content filter", "content_filter")
        if self._finish in ("insufficient_system_resource", "error", "abort"):
            raise self._failed(f"the answer broke off ({self._finish})", "overloaded")

    def _recovered(self, calls: list[ToolCallChunk]) -> str:
        """The answer, where it came in the reasoning channel. Raises where there is none: asking again is the remedy."""
        answer, thought = "".join(self._said["answer"]).strip(), "".join(self._said["thought"]).strip()
        if answer or calls:
            return ""
        if self._asked.opened and not self._field and thought and self._finish != "length":
            return thought  # it did not think, this time
        if not thought:
            raise self._failed("the answer was empty", "empty")
        if self._finish == "length":
            raise self._failed("the output limit was used up by thinking, before an answer", "empty")
        found = json_in(thought) if self._asked.structured else thought if not self._asked.tools else ""
        if not found:  # a thought that was to end in a call is not an answer
            raise self._failed("the model thought, but did not answer", "empty")
        return found

    def _failed(self, reason: str, kind: ModelErrorKind) -> ModelCallError:
        return ModelCallError(f"{self._host}: {reason}", kind, usage=self._usage)

    def _metadata(self, trace_id: str, recovered: bool) -> dict[str, Any]:
        facts = {"finish_reason": self._finish, "model_name": self._model, "trace_id": trace_id}
        metadata: dict[str, Any] = {key: value for key, value in facts.items() if value}
        if recovered:
            metadata["recovered"] = "the answer came in the reasoning channel"
        return {**metadata, "model_provider": self._origin}
