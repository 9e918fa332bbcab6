"""The summarizing role, if a run has one: what leaves the prompt at a compaction, told by a model in a few sentences.

Off unless the config names the role. A summary is made from text from outside, so it is data wherever it stands, in the archive too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from research_agent.memory import Segment, content_hash, estimate_tokens
from research_agent.memory.clip import head

from . import prompts
from .budget import purse
from .calls import Emit, add_usage, call, reasoning_of
from .flight import Flight
from .ports import Context, ModelCallError
from .state import Failure, ResearchState, SubQuestion, TurnRef, Usage
from .window import load

RESULT_TOKENS, THOUGHT_TOKENS = 600, 400
"""What the summarizer is shown of a result, and of a thought, at most."""


@dataclass(slots=True)
class Summarizer:
    """Summarizes what leaves, for one model turn of the investigator; keeps what that cost and why it failed."""

    context: Context
    state: ResearchState
    current: SubQuestion
    emit: Emit
    flight: Flight
    usage: Usage
    """Of the run so far."""
    summary: str
    """The id of the last summary's segment; empty before the first."""
    failures: list[Failure]

    async def __call__(self, gone: Sequence[TurnRef]) -> str:
        """A summary of all that left so far. A model that fails leaves the last one as it is, and that is told."""
        archive = self.context.archive
        before = archive.get(self.summary) if self.summary else None
        earlier = before.text if before else ""
        request = self._request(gone, earlier)
        digest = content_hash(request)
        model, messages = self.context.models["summarizer"], [SystemMessage(prompts.SUMMARIZER), HumanMessage(request)]
        try:
            given = purse(self.context, self.state, self.usage, "summarizer")
            reply = await call(model, messages, role="summarizer", emit=self.emit, purse=given, flight=self.flight)
        except ModelCallError as error:
            self.usage = add_usage(self.usage, error.spent)
            reason = f"no summary of what left the prompt: {error.reason}"
            self.failures.append(Failure(step=self.state["step"], what="summary", reason=reason))
            self.emit({"type": "warning", "text": reason})
            return earlier
        self.usage = add_usage(self.usage, reply.usage)
        text = self.context.redact(reply.text.strip())
        segment = Segment(
            run=self.context.run,
            thread=f"summary {digest[:16]}",
            step=self.state["step"],
            kind="answer",
            text=text,
            trust="untrusted",
            sub_question=self.current["id"],
            title="summary of earlier steps",
        )
        await archive.archive([segment])
        self.emit({"type": "summary", "text": text, "turns": len(gone)})
        self.summary = segment.id
        return text

    def _request(self, gone: Sequence[TurnRef], earlier: str) -> str:
        """Within the summarizer's own window: the newest turns of what left, if not all of it has room."""
        model = self.context.models["summarizer"]
        room = (model.window_tokens - min(model.max_output_tokens, model.window_tokens // 3)) * 2 // 3
        left = room - estimate_tokens(prompts.SUMMARIZER + prompts.summarize(self.state["question"], self.current["question"], earlier, []))
        parts: list[str] = []
        for turn in reversed(gone):
            part = _told(load(turn["ref"], self.context.archive), turn["step"])
            left -= estimate_tokens(part)
            if left < 0:
                break
            parts.insert(0, part)
        return prompts.summarize(self.state["question"], self.current["question"], earlier, parts)


def _told(message: BaseMessage, step: int) -> str:
    if isinstance(message, ToolMessage):
        return f"Step {step}, {message.name} brought: {head(str(message.text), RESULT_TOKENS)}"
    if isinstance(message, AIMessage):
        calls = ", ".join(f"{item['name']}({item['args']})" for item in message.tool_calls)
        said = [head(reasoning_of(message), THOUGHT_TOKENS), head(str(message.text), THOUGHT_TOKENS), head(calls, THOUGHT_TOKENS)]
        return "\n".join(f"{who}: {text}" for who, text in zip(("Thought", "Said", "Called"), said, strict=True) if text)
    return head(str(message.text), THOUGHT_TOKENS)
