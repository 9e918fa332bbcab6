"""How many tokens a prompt has, as its model counts them, learned from what the host reports of each call.

A report is exact for everything that was in the prompt. Of a prompt that only grew, the next report says what the new messages took;
so each message's tokens are known once it was sent, and only what is new is estimated, by weights that fit this model's tokenizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import cast

from langchain_core.messages import BaseMessage

from research_agent.memory.tokens import WEIGHTS, estimate_tokens, token_parts

from .state import Learned, ResearchState, TurnRef

Parts = tuple[float, ...]
"""What texts are made of (`memory.tokens.token_parts`), then their thoughts in estimated tokens, then how many messages they are."""

START = (*WEIGHTS, 0.0, 0.0, 1.0, 4.0)
"""A thought counts as text until a host is seen to leave it out."""
UNSURE = (0.3, 0.2, 0.6, 0.6, 0.5, 0.6, 0.5, 0.5, 0.5, 1.0, 4.0)
"""How far a weight may be from its start, as a standard deviation."""
NOISE_SHARE, NOISE_TOKENS = 0.03, 3.0
"""What no weights explain of a text's tokens."""
ABSURD = 8.0
"""Times its estimate: bytes for tokens is half of that. A host that reports so much counts something else."""
DRIFT = 0.02
"""Of its own uncertainty that a weight regains with each report: what is read changes."""
UNCOUNTED_SHARE = 0.1
"""By so much the estimate of a text that its host has not counted may be too low, at least."""
UNTOLD_SHARE = 0.35
"""By so much a text may be more than weights that were learned of no tokenizer say, at most: a first page of links, hashes or LaTeX."""
SPLIT_SHARE = 0.02
"""By so much counted messages may be more than they count for: a report is of several, and is split among them by their estimates."""
SURPRISE = 5.0
"""A report so many standard deviations under its estimate is of another prompt: its host left out the thoughts of a closed sub-question."""


def parts_of(texts: Sequence[str], thought: str = "", messages: int = 1) -> Parts:
    summed = [0.0] * len(token_parts(""))
    for text in texts:
        for at, count in enumerate(token_parts(text)):
            summed[at] += count
    return (*summed, float(estimate_tokens(thought)), float(messages))


def beginning() -> Learned:
    size = len(START)
    spread = [UNSURE[row] ** 2 if row == column else 0.0 for row in range(size) for column in range(row + 1)]
    return Learned(weights=list(START), spread=spread)


class Meter:
    """Counts one model's prompts. `parts` of a message and `fixed` are looked at only while they are not known exactly."""

    def __init__(self, learned: Learned | None, parts: Callable[[TurnRef], Parts], fixed: Callable[[], Parts]) -> None:
        self.learned = (
            learned if learned and len(learned["weights"]) == len(START) else beginning()
        )  # an older version's are of other parts
        self._parts, self._fixed_parts = parts, fixed
        self._known_parts: dict[str, Parts] = {}

    def tokens(self, turns: Sequence[TurnRef]) -> int:
        """Of the system rules, the tool schemas and these messages."""
        return round(self._fixed() + sum(self._of(turn) for turn in turns))

    def worst(self, turns: Sequence[TurnRef]) -> int:
        """The same, if what no host has counted yet is as much more as it may be: the less was learned of such texts, the more."""
        new = [turn for turn in turns if "exact" not in turn]
        guess = sum(self._of(turn) for turn in new)
        untold = (1 + UNTOLD_SHARE) * sum(turn["tokens"] for turn in new) - guess
        fixed = 0.0 if "fixed" in self.learned else self._fixed()
        more = max(UNCOUNTED_SHARE * (guess + fixed), min(2 * self._deviation(new), untold))
        split = SPLIT_SHARE * sum(turn["exact"] for turn in turns if "exact" in turn)
        return self.tokens(turns) + math.ceil(more + split)

    def _deviation(self, turns: Sequence[TurnRef]) -> float:
        """Of the estimate of these messages, as the reports so far leave it."""
        parts = [sum(column) for column in zip(*map(self._parts_of, turns), strict=True)]
        spread = self.learned["spread"]
        return math.sqrt(max(0.0, sum(a * b * spread[_at(row, column)] for row, a in enumerate(parts) for column, b in enumerate(parts))))

    def reported(self, turns: Sequence[TurnRef], tokens: int) -> list[TurnRef]:
        """The messages with their tokens known, after a host counted so many for all of them; what it taught is learned."""
        if tokens <= 0:
            return list(turns)
        new = [turn for turn in turns if "exact" not in turn]
        parts = [self._parts_of(turn) for turn in new] + ([] if "fixed" in self.learned else [self._fixed_parts()])
        known = self.learned.get("fixed", 0.0) + sum(turn["exact"] for turn in turns if "exact" in turn)
        guesses = {turn["ref"]: self._of(turn) for turn in new}
        fixed_guess = 0.0 if "fixed" in self.learned else self._fixed()
        guess = sum(guesses.values()) + fixed_guess
        if tokens > ABSURD * (known + guess):
            return list(turns)
        left = tokens - known
        if parts and not self._learn(tuple(map(sum, zip(*parts, strict=True))), left):
            fixed = self.learned.get("fixed", fixed_guess)
            return self._scaled(turns, max(0.0, tokens - fixed) / max(1.0, known + guess - fixed))
        share = max(0.0, left) / guess if guess > 0 else 1.0
        if "fixed" not in self.learned:
            self.learned = {**self.learned, "fixed": fixed_guess * share}
        return [turn if "exact" in turn else {**turn, "exact": round(guesses[turn["ref"]] * share)} for turn in turns]

    def _fixed(self) -> float:
        return self.learned["fixed"] if "fixed" in self.learned else self._guess(self._fixed_parts())

    def _of(self, turn: TurnRef) -> float:
        return turn["exact"] if "exact" in turn else self._guess(self._parts_of(turn))

    def _parts_of(self, turn: TurnRef) -> Parts:
        if turn["ref"] not in self._known_parts:
            self._known_parts[turn["ref"]] = self._parts(turn)
        return self._known_parts[turn["ref"]]

    def _guess(self, parts: Parts) -> float:
        return max(1.0, sum(weight * part for weight, part in zip(self.learned["weights"], parts, strict=True)))

    def _scaled(self, turns: Sequence[TurnRef], by: float) -> list[TurnRef]:
        return [{**turn, "exact": round(self._of(turn) * by)} for turn in turns]

    def _learn(self, parts: Parts, tokens: float) -> bool:
        """One step of recursive least squares; False, and nothing learned, from what cannot be these texts' tokens."""
        size, weights = len(START), self.learned["weights"]
        spread = [[self.learned["spread"][_at(row, column)] for column in range(size)] for row in range(size)]
        for row in range(size):
            spread[row][row] += (DRIFT * UNSURE[row]) ** 2
        gain = [sum(spread[row][column] * parts[column] for column in range(size)) for row in range(size)]
        noise = (NOISE_SHARE * tokens) ** 2 + NOISE_TOKENS**2
        total = noise + sum(part * part_gain for part, part_gain in zip(parts, gain, strict=True))
        missed = tokens - sum(weight * part for weight, part in zip(weights, parts, strict=True))
        if missed < -SURPRISE * math.sqrt(total):
            return False
        self.learned = {
            **self.learned,
            "weights": [weight + gain[at] / total * missed for at, weight in enumerate(weights)],
            "spread": [spread[row][column] - gain[row] * gain[column] / total for row in range(size) for column in range(row + 1)],
        }
        return True


def _at(row: int, column: int) -> int:
    row, column = max(row, column), min(row, column)
    return row * (row + 1) // 2 + column


def measured_for(state: ResearchState, model: str) -> ResearchState:
    """The state as this model finds it: what another one's host counted, or taught of its window, says nothing of this one."""
    if state.get("measured", model) == model:
        return state
    of_another = ("learned", "calibration", "window")
    kept = {key: value for key, value in state.items() if key not in of_another}
    plain = {key: [{k: v for k, v in turn.items() if k != "exact"} for turn in state[key]] for key in ("head", "turns")}
    return cast(ResearchState, {**kept, **plain})


def message_parts(message: BaseMessage) -> Parts:
    text = message.content if isinstance(message.content, str) else json.dumps(message.content, ensure_ascii=False)
    calls = [f"{call['name']} {json.dumps(call['args'], ensure_ascii=False)} {call['id']}" for call in getattr(message, "tool_calls", ())]
    return parts_of([text, *calls], str(message.additional_kwargs.get("reasoning_content") or ""))
