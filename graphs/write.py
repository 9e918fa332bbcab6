"""The report's draft, from the findings. Whatever happened before, what was found can be written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from research_agent.memory import Segment

from . import prompts, window
from .budget import purse
from .calls import InvalidOutput, add_usage
from .fit import Versions, ask_within, thinned
from .flight import Flight
from .observation import Shown, render
from .ports import Context, ModelCallError
from .state import NO_USAGE, Failure, ReportDraft, ResearchState, SubQuestion, Writing

SOURCE_WORDS = 12
"""What a source's line in the report takes of `max_words`."""


async def write(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Asks the writer. With nothing found, or a writer that fails, the draft stays empty, and `stopped` says why.

    A draft of an earlier session stands as long as nothing was noted since: it is better than none.
    """
    context, emit = runtime.context, runtime.stream_writer
    archive, plan, usage = context.archive, state["plan"], state.get("usage", NO_USAGE)
    stopped = state.get("stopped", "")
    findings = archive.find(kind="finding")
    documents = await _read(context, plan, findings)
    done: dict[str, Any] = {"seconds": context.clock(), "again": False}
    if not findings and not documents:
        return {**done, "report": {}, "stopped": stopped or "no evidence was found"}
    earlier = standing(state, len(findings))
    if stopped and earlier and earlier["by"]["step"] == state["step"]:
        return {**done, "report": earlier, "stopped": stopped}  # it stopped again where it was: there is nothing to add
    refused = any(failure.get("final") and failure["reason"] == stopped for failure in state.get("failures", ()))
    if stopped and refused and not state.get("again"):
        return {**done, "report": earlier, "stopped": stopped}  # the same key would be refused once more
    versions = _versions(context, state, findings, documents, stopped)
    try:
        given, flight, model = purse(context, state, usage, "writer"), Flight.of(runtime), context.models["writer"]
        draft, reply = await ask_within(model, versions, ReportDraft, role="writer", emit=emit, purse=given, flight=flight)
        usage = add_usage(usage, reply.usage)
        emit({"type": "turn", "role": "writer", "reasoning": context.redact(reply.reasoning), "content": "", "calls": [], "usage": usage})
    except (InvalidOutput, ModelCallError) as error:
        usage = add_usage(usage, error.spent)
        failures = [Failure(step=state["step"], what="write", reason=str(error))]
        instead = "the report there was stands" if earlier else "the report lists the findings as they were noted"
        stopped = stopped or f"the writer failed ({error}); {instead}"
        return {**done, "report": earlier, "usage": usage, "failures": failures, "stopped": stopped}
    step, words, noted = state["step"], context.max_words, len(findings)
    by = Writing(model=model.name, extractive=model.quotes, max_words=words, step=step, findings=noted)
    report = {**draft.model_dump(), "by": by}
    await archive.archive([Segment(run=context.run, step=step, kind="answer", ordinal=0, text=draft.answer, trust="own")])
    return {**done, "report": report, "usage": usage, "stopped": stopped}


def standing(state: ResearchState, findings: int) -> dict[str, Any]:
    """The draft there is, where no more was noted since; empty where some was, or there is none."""
    draft = state.get("report") or {}
    return draft if draft.get("by", {}).get("findings") == findings else {}


def _versions(context: Context, state: ResearchState, findings: Sequence[Segment], documents: Sequence[Shown], stopped: str) -> Versions:
    """Whole; then with less of what was not noted, without quotes, and with fewer and fewer findings."""
    whole, bare = window.finding_blocks(context.archive), window.finding_blocks(context.archive, quoted="")
    assets = context.assets()

    def version(blocks: Sequence[str], read: Sequence[Shown]) -> list[BaseMessage]:
        text = prompts.write(
            state["question"],
            [(item["id"], item["question"]) for item in state["plan"]],
            blocks,
            render(read),
            max_words=_words_for_text(context.max_words, state, findings),
            stopped=stopped,
            assets=assets,
        )
        return [SystemMessage(prompts.WRITER), HumanMessage(text)]

    less = [partial(version, whole, documents[: len(documents) >> halved]) for halved in range(len(documents).bit_length() + 1)]
    few = documents[:1] if not whole else []
    fewer = [partial(version, thinned(bare, len(bare) >> halved), few) for halved in range(len(bare).bit_length() + 1)]
    return [*less, *fewer]


async def _read(context: Context, plan: Sequence[SubQuestion], findings: Sequence[Segment]) -> list[Shown]:
    """What was read on the sub-questions that have no finding."""
    covered = {finding.sub_question for finding in findings}
    passages: dict[tuple[str, str], Any] = {}
    for item in plan:
        if item["id"] not in covered:
            for passage in await context.archive.recall(item["question"], budget_tokens=window.READ_TOKENS, kinds=("observation",)):
                passages.setdefault((passage.segment.id, passage.text), passage)
    return [window.shown(passage.segment, passage.text) for passage in passages.values()]


def _words_for_text(max_words: int | None, state: ResearchState, findings: Sequence[Segment]) -> int | None:
    """What of the whole report's words is left for its text, after its title, headings and sources."""
    if max_words is None:
        return None
    headings = sum(len(item["question"].split()) + 3 for item in state["plan"]) + len(state["question"].split()) + 30
    sources = SOURCE_WORDS * min(8, len({finding.source for finding in findings}) or 4)
    return max(60, max_words - headings - sources)
