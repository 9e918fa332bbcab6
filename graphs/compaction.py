"""A compaction: whole turns leave the prompt, all of them archived before, and one block stands for them: the findings, what was answered,
the handles of what left, and a recall for the open sub-question.

It fits by construction. Of what a prompt may hold beside its rules, tools and brief, the newest turns come first and the block has at least
a third; each part of the block takes what the parts before it left. A newest turn that is too large by itself is cut where it can be, and
leaves like the others where it cannot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from research_agent.memory import best_passages, estimate_tokens
from research_agent.memory.clip import head

from . import prompts
from .calls import reasoning_of
from .observation import cut, render
from .ports import Archive, Context, ModelCallError
from .state import ResearchState, SubQuestion, TurnRef
from .window import (
    HANDLE_TOKENS,
    HANDLES,
    RECALL_TOKENS,
    Marks,
    evict,
    findings_within,
    keep,
    live_segments,
    load,
    message_tokens,
    newest_tokens,
    read_before,
    shown,
    written,
)
from .window import handles as listed

SUMMARY_TOKENS = 600
"""Of what a summarizing role may say, where there is one."""
ANSWER_TOKENS = 200
"""Of what was said at the end of each sub-question."""
LEAST_ROOM_TOKENS = 400
"""Of a prompt beside its rules, tools and brief: with less, nothing can be investigated."""
FRAME_TOKENS = 60
"""What stands around the parts of the block."""
THOUGHT_CHARS = 400
"""Of the latest thought, its end: what it was about to look for is recalled with the sub-question."""
LEAST_RESULT_TOKENS = 60
"""A result that has less room is left out for its handles."""

Summarize = Callable[[Sequence[TurnRef]], Awaitable[str]]
"""The turns that leave, to a summary of all that left so far; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Compacted:
    head: list[TurnRef]
    turns: list[TurnRef]


async def compact(
    context: Context,
    state: ResearchState,
    turns: Sequence[TurnRef],
    current: SubQuestion,
    *,
    fixed: int,
    marks: Marks,
    summarize: Summarize | None = None,
) -> Compacted:
    """The prompt's references after it. Without `summarize` it calls no model: the agent's own notes and handles are the summary.

    Raises ModelCallError where rules, tools and brief leave no room.
    """
    archive, brief = context.archive, state["head"][0]
    room = marks.cap - fixed - brief["tokens"]
    if room < LEAST_ROOM_TOKENS:
        raise ModelCallError(
            f"the rules, the tools and the question take {fixed + brief['tokens']:,} of the {max(0, marks.cap):,} tokens that the window "
            "leaves for a prompt: take a model with a larger window, or fewer tools",
            "overflow",
        )
    opening = prompts.sub_question(current["id"], current["question"])
    recall_tokens = min(RECALL_TOKENS, marks.cap // 8)
    block = _Block(archive, state, current, limit=room - FRAME_TOKENS - estimate_tokens(opening))
    wanted = FRAME_TOKENS + estimate_tokens(opening) + block.own_tokens + HANDLE_TOKENS * HANDLES + recall_tokens
    wanted += SUMMARY_TOKENS if summarize else 0
    memory = min(wanted, max(room // 3, room - newest_tokens(turns)))
    gone, kept = evict(turns, keep_tokens=max(0, marks.low - fixed - brief["tokens"] - memory), hard_tokens=room - memory)
    if sum(turn["tokens"] for turn in kept) > room - memory:
        kept = await _smaller(kept, context, current, room - memory)
    live = live_segments(kept)
    block.limit = memory - FRAME_TOKENS - estimate_tokens(opening)
    own = block.own()
    summary = block.fitted(_summary(await summarize(gone))) if summarize and gone else ""
    handles = block.handles(live)
    recalled = await block.recalled(needed(current["question"], _latest(turns, archive)), live, recall_tokens)
    text = prompts.memory([own, summary, handles, recalled], opening)
    return Compacted([brief, keep(HumanMessage(text), archive, step=state.get("step", 0), opens=True)], kept)


class _Block:
    """The parts of the memory block, each within what is left of `limit` tokens."""

    def __init__(self, archive: Archive, state: ResearchState, current: SubQuestion, *, limit: int) -> None:
        self._archive, self._plan, self._current = archive, state["plan"], current
        self.limit = limit
        self.own_tokens = estimate_tokens(self._own(limit))

    def _own(self, limit: int) -> str:
        """What was found and answered: always in, as much of it as there is room for."""
        answers = _answers(self._plan)
        if estimate_tokens(answers) > limit // 2:
            answers = head(answers, max(limit // 2, 1))
        findings = findings_within(self._archive, limit - estimate_tokens(answers), quoted=self._current["id"])
        return "\n\n".join(["\n".join(findings), answers])

    def own(self) -> str:
        own = self._own(self.limit)
        self.limit -= estimate_tokens(own)
        return own

    def fitted(self, text: str) -> str:
        """The text, if there is room for it."""
        tokens = estimate_tokens(text)
        if tokens > self.limit:
            return ""
        self.limit -= tokens
        return text

    def handles(self, live: frozenset[str]) -> str:
        """The newest documents that left, by title."""
        lines = read_before(self._archive, live)
        while lines:
            text = listed(lines)
            if estimate_tokens(text) <= self.limit:
                return self.fitted(text)
            lines = lines[len(lines) // 2 + 1 :]
        return ""

    async def recalled(self, query: str, live: frozenset[str], budget_tokens: int) -> str:
        """What serves a query, of all that was read."""
        budget = min(budget_tokens, self.limit)
        if budget <= 0:
            return ""
        found = await self._archive.recall(query, budget_tokens=budget, kinds=("observation",), exclude=live)
        passages = list(found)
        while passages:
            text = render(shown(passage.segment, passage.text) for passage in passages)
            if estimate_tokens(text) <= self.limit:
                return self.fitted(text)
            passages.remove(min(passages, key=lambda passage: passage.score))
        return ""


def needed(question: str, thought: str) -> str:
    """What the next thought is likely to need: what serves the question, and what was thought last."""
    return f"{question} {thought[-THOUGHT_CHARS:]}".strip()


def _latest(turns: Sequence[TurnRef], archive: Archive) -> str:
    """The newest turn's thought; empty where it is not the model's: a sub-question was just opened."""
    newest = next((turn for turn in reversed(turns) if turn["opens"]), None)
    message = load(newest["ref"], archive) if newest else None
    return reasoning_of(message) if isinstance(message, AIMessage) else ""


def _answers(plan: Sequence[SubQuestion]) -> str:
    lines = [
        f"{item['id']}. {item['question']}\n   {prompts.defuse(head(item['answer'], ANSWER_TOKENS))}" for item in plan if item["answer"]
    ]
    return "Sub-questions worked on:\n" + "\n".join(lines) if lines else ""


def _summary(text: str) -> str:
    """As a block of data: what it was made from came from outside."""
    return prompts.summary(head(text, SUMMARY_TOKENS)) if text else ""


async def _smaller(turns: Sequence[TurnRef], context: Context, current: SubQuestion, budget: int) -> list[TurnRef]:
    """A newest turn that is too large, its results cut to what serves the sub-question; nothing of it, where that is not enough.

    All of it is archived: what is cut is a `recall` away.
    """
    archive = context.archive
    messages = [load(turn["ref"], archive) for turn in turns]
    made = smaller(messages, current["question"], budget)
    if not made:
        return []
    refs, bodies = [], []
    for turn, before, message in zip(turns, messages, made, strict=True):
        same = message is before
        ref, body = written(message, step=turn["step"], opens=turn["opens"], segments=turn["segments"] if same else ())
        refs.append(turn if same else ref)
        bodies.append(body)
    await archive.archive([], bodies=bodies)
    return refs


def smaller(messages: Sequence[BaseMessage], query: str, budget: int) -> list[BaseMessage]:
    """A turn, its results cut to what serves a query; empty where that is not enough."""
    said = [_less_thought(message, budget // 3) for message in messages if not isinstance(message, ToolMessage)]
    results = [message for message in messages if isinstance(message, ToolMessage)]
    left = budget - sum(map(message_tokens, said))
    if left < LEAST_RESULT_TOKENS * len(results):
        return []
    shares = _shares([message_tokens(message) for message in results], left)
    made = [*said, *(_cut(message, share, query) for message, share in zip(results, shares, strict=True))]
    return made if sum(map(message_tokens, made)) <= budget else []


def _less_thought(message: BaseMessage, budget: int) -> BaseMessage:
    """Of a thought that is too long, its end. One that its provider signed cannot be cut."""
    thought: Any = message.additional_kwargs.get("reasoning_content")
    if not isinstance(thought, str) or estimate_tokens(thought) <= budget:
        return message
    tail = thought[-2 * budget :]
    while estimate_tokens(tail) > budget - 4:
        tail = tail[len(tail) // 4 + 1 :]
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, "reasoning_content": f"[...] {tail}"}})


def _shares(sizes: Sequence[int], total: int) -> list[int]:
    """An equal share for each; what a small one leaves goes to the others."""
    shares = [0] * len(sizes)
    left, waiting = total, sorted(range(len(sizes)), key=lambda n: sizes[n])
    for done, n in enumerate(waiting):
        shares[n] = min(sizes[n], left // (len(waiting) - done))
        left -= shares[n]
    return shares


def _cut(message: ToolMessage, budget: int, query: str) -> ToolMessage:
    if message_tokens(message) <= budget:
        return message
    text = cut(str(message.content), lambda text, tokens: best_passages(text, query, tokens).text, budget - 8)
    return message.model_copy(update={"content": text})
