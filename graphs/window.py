"""The prompt: what is in it, what it costs, and when it is compacted.

Between compactions (compaction.py) it only grows at its end, so that a host's prefix cache holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import BaseMessage, SystemMessage, message_to_dict, messages_from_dict

from research_agent.memory import Segment, content_hash, estimate_tokens

from . import prompts
from .observation import Shown
from .ports import Archive, Context, Model, Prices
from .state import TurnRef

NEWEST_TURNS = 4
"""Whole turns that stay in the prompt through a compaction, if the window can hold them."""
READ_TOKENS = 1_500
"""Recalled for the report, for a sub-question that has no finding."""
RECALL_TOKENS = 1_500
"""Of a memory block's recalled passages."""
HANDLES, HANDLE_TOKENS = 30, 20
"""Evicted documents that a memory block lists by handle, the newest; and what a line of them takes."""
UNPRICED_HIGH_TOKENS = 27_000
"""The high mark where the model's prices say nothing."""
LEFT_OUT_TOKENS = 40
"""Of the line that says how many findings there was no room for."""
MIN_CYCLE_STEPS = 6
PICTURE_TOKENS = 2_800
"""Of a picture, whatever its bytes: one of 1920 x 1080 costs 1,100 with Gemini, 2,450 with GPT, up to 2,770 with Claude (2026-11)."""
_PICTURES = ("image", "image_url", "input_image")
SAFETY = 1.03
"""On estimated tokens, against the hard cap."""


@dataclass(frozen=True, slots=True)
class Marks:
    """In tokens of the whole prompt."""

    high: int
    """A prompt above it is compacted."""
    low: int
    """What a compaction aims at."""
    cap: int
    """Never exceeded: the window less the reserved output."""

    def over(self, calibration: float) -> Marks:
        """The marks in estimated tokens, where the model counts `calibration` times as many."""
        return Marks(*(int(mark / calibration) for mark in (self.high, self.low, self.cap)))


def body_of(message: BaseMessage) -> str:
    """A message as it is kept. What varies between equal runs (ids, timings) stays out."""
    data = message_to_dict(message)["data"]
    kept = {k: v for k, v in data.items() if k not in ("id", "usage_metadata", "response_metadata") and v not in (None, "", [], {})}
    provider = data.get("response_metadata", {}).get("model_provider")
    if provider:
        kept["response_metadata"] = {"model_provider": provider}
    return json.dumps({"type": message.type, "data": {"content": "", **kept}}, ensure_ascii=False, sort_keys=True)


def written(message: BaseMessage, *, step: int, opens: bool, segments: Sequence[str] = ()) -> tuple[TurnRef, str]:
    """A message's reference, and its body for the archive."""
    body = body_of(message)
    return TurnRef(ref=content_hash(body), tokens=message_tokens(message), step=step, opens=opens, segments=list(segments)), body


def keep(message: BaseMessage, archive: Archive, *, step: int, opens: bool) -> TurnRef:
    """Puts a message's body into the archive and returns its reference."""
    ref, body = written(message, step=step, opens=opens)
    archive.put_body(body)
    return ref


def load(ref: str, archive: Archive) -> BaseMessage:
    [message] = messages_from_dict([json.loads(archive.get_body(ref))])
    return message


def message_tokens(message: BaseMessage) -> int:
    content, pictures = message.content, 0
    if not isinstance(content, str):
        words = [block for block in content if not (isinstance(block, dict) and block.get("type") in _PICTURES)]
        content, pictures = json.dumps(words, ensure_ascii=False), len(content) - len(words)
    reasoning = message.additional_kwargs.get("reasoning_content") or ""
    calls = getattr(message, "tool_calls", None)
    return (
        4
        + PICTURE_TOKENS * pictures
        + estimate_tokens(content)
        + estimate_tokens(reasoning)
        + (estimate_tokens(json.dumps(calls)) if calls else 0)
    )


def system_messages() -> list[BaseMessage]:
    return [SystemMessage(prompts.INVESTIGATOR)]


def assemble(head: Sequence[TurnRef], turns: Sequence[TurnRef], archive: Archive) -> list[BaseMessage]:
    """The prompt's messages, byte for byte the same for the same references."""
    return [*system_messages(), *(load(turn["ref"], archive) for turn in (*head, *turns))]


def fixed_tokens(context: Context) -> int:
    """System rules and tool schemas."""
    return sum(map(message_tokens, system_messages())) + context.schema_tokens


def prompt_cap(model: Model, learned_window: int | None = None) -> int:
    """The largest prompt: the window less the reserved output."""
    window = min(model.window_tokens, learned_window or model.window_tokens)
    reserved = min(model.max_output_tokens, max(window // 3, model.least_output_tokens))
    return int((window - reserved) / SAFETY)


def fixed_texts(context: Context) -> list[str]:
    """The same as text, to be counted by kind."""
    return [*(str(message.text) for message in system_messages()), context.schema_text]


def marks(model: Model, *, fixed: int, kept: int, step_tokens: float, learned_window: int | None = None) -> Marks:
    """Where to compact, from the model's own prices: the inventory problem of DESIGN.md.

    `fixed` tokens never change in a run, `kept` survive a compaction, `step_tokens` is a step's measured size.
    """
    cap = prompt_cap(model, learned_window)
    low = fixed + kept
    cycle = _cycle_steps(model.prices, kept, step_tokens)
    wanted = UNPRICED_HIGH_TOKENS if cycle is None else low + int(min(step_tokens * cycle, cap))
    high = min(max(wanted, low + int(step_tokens * MIN_CYCLE_STEPS)), cap)
    return Marks(high=high, low=min(low, high), cap=cap)


def _cycle_steps(prices: Prices, kept: int, step_tokens: float) -> float | None:
    """Steps between compactions at the least cost, or None where prices do not say."""
    if prices.miss <= 0:
        return None
    if prices.hit <= 0:
        return math.inf
    return math.sqrt(2 * kept * max(0.0, prices.miss - prices.hit) / (prices.hit * max(step_tokens, 1.0)))


def step_tokens(turns: Sequence[TurnRef]) -> float:
    """The measured size of a step; a cautious guess before there is one."""
    steps = len({turn["step"] for turn in turns if turn["step"] > 0})
    return sum(turn["tokens"] for turn in turns) / steps if steps >= 3 else 3_500.0


def newest_tokens(turns: Sequence[TurnRef]) -> int:
    """Of the newest whole turns, as many as stay through a compaction."""
    return sum(turn["tokens"] for group in whole_turns(turns)[-NEWEST_TURNS:] for turn in group)


def live_segments(turns: Sequence[TurnRef]) -> frozenset[str]:
    return frozenset(segment for turn in turns for segment in turn["segments"])


def whole_turns(turns: Sequence[TurnRef]) -> list[list[TurnRef]]:
    """The turns, a call together with its results."""
    whole: list[list[TurnRef]] = []
    for turn in turns:
        if turn["opens"] or not whole:
            whole.append([])
        whole[-1].append(turn)
    return whole


def evict(turns: Sequence[TurnRef], *, keep_tokens: int, hard_tokens: int) -> tuple[list[TurnRef], list[TurnRef]]:
    """(evicted, kept): the newest whole turns up to `keep_tokens`, at least NEWEST_TURNS of them unless `hard_tokens` forbids."""
    groups = whole_turns(turns)
    kept: list[list[TurnRef]] = []
    size = 0
    for group in reversed(groups):
        tokens = sum(turn["tokens"] for turn in group)
        limit = hard_tokens if sum(map(_thought, kept)) < NEWEST_TURNS else keep_tokens
        if kept and size + tokens > limit:
            break
        kept.insert(0, group)
        size += tokens
    gone = groups[: len(groups) - len(kept)]
    return [turn for group in gone for turn in group], [turn for group in kept for turn in group]


def _thought(group: Sequence[TurnRef]) -> bool:
    """A turn of the model; the message that opens a sub-question is none."""
    return any(turn["segments"] for turn in group)


def shown(segment: Segment, text: str, *, more_tokens: int = 0) -> Shown:
    """An archived text, or what of it is shown, as a data block: its handle, its source, and whose words it is."""
    own = segment.kind != "observation"
    return Shown(
        handle="" if own else segment.handle,
        title=segment.title or (f"your {segment.kind} at step {segment.step}" if own else segment.tool),
        url=segment.url,
        run=segment.earlier_run,
        step=segment.step,
        more_tokens=more_tokens,
        trust=segment.trust,
        text=text,
    )


def finding_blocks(archive: Archive, *, quoted: str | None = None) -> list[str]:
    """The findings as prompt blocks, in the order of the run. `quoted`: only this sub-question's with the words they rest on."""
    return [_finding(finding, handle, quoted in (None, finding.sub_question)) for finding, handle in _findings(archive)]


def findings_within(archive: Archive, budget_tokens: int, *, quoted: str | None = None) -> list[str]:
    """As `finding_blocks`, within a budget: where they are too many first the quotes go, then the oldest, and that is said."""
    blocks = finding_blocks(archive, quoted=quoted)
    if estimate_tokens("\n".join(blocks)) <= budget_tokens:
        return blocks
    bare = [(finding, _finding(finding, handle, False)) for finding, handle in _findings(archive)]
    left = budget_tokens - LEFT_OUT_TOKENS
    taken: set[str] = set()
    for finding, block in sorted(bare, key=lambda pair: (pair[0].sub_question != quoted, -pair[0].step)):
        cost = estimate_tokens(block) + 1
        if cost <= left:
            taken.add(finding.id)
            left -= cost
    kept = [block for finding, block in bare if finding.id in taken]
    if len(kept) == len(bare) or budget_tokens < LEFT_OUT_TOKENS:
        return kept
    return [prompts.findings_left_out(len(bare) - len(kept)), *kept]


def read_before(archive: Archive, live: frozenset[str]) -> list[str]:
    """A line for each of the newest documents without what is live: its handle and title."""
    seen: dict[str, str] = {}
    for segment in archive.find(kind="observation", newest=3 * HANDLES):  # a page and what a search showed of it are one
        if segment.id not in live and (segment.title or segment.url):
            seen[segment.url or segment.id] = f"{segment.handle} {prompts.defuse(' '.join((segment.title or segment.url).split()))[:100]}"
    return list(seen.values())[-HANDLES:]


def handles(lines: Sequence[str]) -> str:
    return "Read before, a `recall` away:\n" + "\n".join(lines) if lines else ""


def _findings(archive: Archive) -> list[tuple[Segment, str]]:
    """Each with the handle of its source."""
    pairs = ((finding, archive.get(finding.source)) for finding in archive.find(kind="finding"))
    return [(finding, source.handle) for finding, source in pairs if source is not None]


def _finding(finding: Segment, handle: str, quoted: bool) -> str:
    return prompts.finding(handle, finding.sub_question, finding.text, finding.quote if quoted else "")
