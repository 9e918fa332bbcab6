"""A chat model without a language model in it: it plans from the question, follows names from page to page, and quotes what it finds.

It speaks the messages and tool calls of any other model, is deterministic, and knows only what the messages it is sent say. The baseline
that a real model must beat, and what runs where there is no key and no network. Text from outside is words to match here, never orders:
there is nothing in this model that could follow any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from research_agent.graphs.state import PlanDraft, ReviewDraft

from . import inquiry
from .inquiry import Move
from .names import names
from .questions import asked_for, comparison, sub_questions
from .transcript import Transcript, read
from .writing import write


class ExtractiveChatModel(BaseChatModel):
    """Searches, reads and quotes by rules. `model` is only its name."""

    model: str = "extractive"

    @property
    def _llm_type(self) -> str:
        return "extractive"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Tools it has no use for are never called, and no choice can be forced on it."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        move, calls = _next(messages, kwargs)
        message = AIMessage(
            content=move.content,
            additional_kwargs={"reasoning_content": move.reasoning},
            tool_calls=[tool_call(**call) for call in calls],
            usage_metadata=_usage(messages, move, calls),
            response_metadata={"model_name": self.model, "finish_reason": "tool_calls" if calls else "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        move, calls = _next(messages, kwargs)
        last = AIMessageChunk(
            content=move.content,
            tool_call_chunks=[
                tool_call_chunk(name=call["name"], args=json.dumps(call["args"], ensure_ascii=False), id=call["id"], index=index)
                for index, call in enumerate(calls)
            ],
            usage_metadata=_usage(messages, move, calls),
            response_metadata={"model_name": self.model, "finish_reason": "tool_calls" if calls else "stop"},
            chunk_position="last",
        )
        for chunk in (AIMessageChunk(content="", additional_kwargs={"reasoning_content": move.reasoning}), last):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.text), chunk=generation)
            yield generation


def _next(messages: Sequence[BaseMessage], options: dict[str, Any]) -> tuple[Move, list[dict[str, Any]]]:
    """What to say, and the calls with their ids: derived from all that was said before, so no two turns share one."""
    transcript = read(messages)
    form = options.get("response_format")
    name = form.get("json_schema", {}).get("name", "") if isinstance(form, dict) else ""
    if name in _DRAFTS:
        return _DRAFTS[name](transcript), []
    tools = frozenset(tool.get("function", {}).get("name", "") for tool in options.get("tools") or () if isinstance(tool, dict))
    move = inquiry.next_move(transcript, tools)
    calls = []
    for number, call in enumerate(move.calls):
        key = f"{transcript.digest}{number}{call.tool}"
        calls.append({"name": call.tool, "args": call.args, "id": f"call_{hashlib.sha256(key.encode()).hexdigest()[:20]}"})
    return move, calls


def _plan(transcript: Transcript) -> Move:
    wanted = asked_for(transcript.feedback)
    parts = wanted or sub_questions(transcript.question)
    if wanted:
        why = "The person who asked gave the sub-questions."
    elif comparison(transcript.question):
        why = "The question sets two things side by side: one sub-question for each."
    elif len(parts) > 1:
        why = "The question has parts: they come first, in the order in which they are needed."
    else:
        why = "The question has one part."
    brief = "Sentences, in their sources' own words, that hold what the question asks for."
    if transcript.feedback and not wanted:
        brief += " The extractive model cannot follow instructions: it takes a plan's sub-questions as they are given, one on a line."
    return Move(why, PlanDraft(brief=brief, sub_questions=parts).model_dump_json())


def _review(transcript: Transcript) -> Move:
    """Asks again only where a sub-question that names something found nothing, and then for the name alone."""
    answered = {finding.sub_question for finding in transcript.findings}
    empty = [text for id, text in transcript.plan if id not in answered]
    planned = {text for _, text in transcript.plan}
    follow_ups = [f"What is {name}?" for text in empty for name in names(text)[:1]]
    follow_ups = [
        question for question in dict.fromkeys(follow_ups) if question not in planned and not any("What is" in text for text in empty)
    ]
    count = len(transcript.plan)
    verdict = f"{count - len(empty)} of {count} sub-questions have quotes; whether these answer the question is for the reader to judge."
    return Move("Counting the sub-questions that have findings.", ReviewDraft(verdict=verdict, follow_ups=follow_ups[:2]).model_dump_json())


def _report(transcript: Transcript) -> Move:
    limit = f" within {transcript.max_words} words" if transcript.max_words else ""
    return Move(f"Arranging the best of {len(transcript.findings)} quotes by sub-question{limit}.", write(transcript).model_dump_json())


_DRAFTS: dict[str, Callable[[Transcript], Move]] = {"plan": _plan, "review": _review, "report": _report}


def _usage(messages: Sequence[BaseMessage], move: Move, calls: Sequence[dict[str, Any]]) -> UsageMetadata:
    """Estimated, at four characters a token."""
    sent = (
        sum(len(str(message.text)) + sum(len(str(call["args"])) for call in getattr(message, "tool_calls", ())) for message in messages)
        // 4
    )
    said = (len(move.reasoning) + len(move.content) + sum(len(str(call["args"])) for call in calls)) // 4 + 1
    return UsageMetadata(input_tokens=sent, output_tokens=said, total_tokens=sent + said)
