"""What a call may cost. A limit in dollars holds for the worst a call can come to, and the report is paid for before anything else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from research_agent.memory import estimate_tokens

from .ports import Context, Model, ModelCallError, Prices, Role
from .state import ResearchState, Usage
from .window import READ_TOKENS, message_tokens

REPORT_TOKENS, REPORT_SHARE = 6_000, 0.15
"""Output kept back for the report: so many tokens, or more where this share of the limit pays for them."""
MOST_KEPT_SHARE = 0.5
"""Of the limit, at most, for the report: where that does not pay for one, what was noted is listed without a model."""
CALL_SHARE = 0.25
"""Of what is left, that one answer before the report may take: a model that always writes as much as it may would take it all at once."""
SCARCE_TOKENS = 1_000
"""An answer may have so many fewer than it should where no more can be paid for."""
PROMPT_TOKENS = 1_500
"""Of the writer's rules, and what stands around the findings."""
UNCALIBRATED, CALIBRATED, CALIBRATED_TURNS = 1.5, 1.2, 4
"""How far a prompt may be over its estimate: of a tokenizer nobody has met, and after so many reports of its usage."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What the calls of one node may cost, all together."""

    left_usd: float = math.inf
    factor: float = UNCALIBRATED
    """Tokens of a prompt over its estimate, at most."""
    calibration: float = 1.0
    """The same, as measured."""
    usual_usd: float = 0.0
    """What a call has cost so far: a host that counts unlike any estimate is believed."""
    window_tokens: int | None = None
    """What an overflow taught; None: the model's own."""
    met: bool = False
    """The run's models have answered before."""
    share: float = 1.0
    """Of what is left, that one answer may take, if that is enough for one."""

    def after(self, spent: Usage) -> Purse:
        return replace(self, left_usd=self.left_usd - spent["usd"])


NO_LIMIT = Purse()


def purse(context: Context, state: ResearchState, usage: Usage, role: Role) -> Purse:
    """Of the limit, what is left for `role`: the writer may have all of it, the others leave what the report needs."""
    factor, window = _factor(context, state, role), state.get("window") if role == "investigator" else None
    calibration = state.get("calibration", 1.0) if role == "investigator" else 1.0
    left_usd, met = context.limits.usd - usage["usd"], usage["calls"] > 0
    if role == "writer":
        return Purse(left_usd, factor, calibration, met=met)
    usual_usd = usage["usd"] / max(1, usage["calls"])
    kept_usd = min(context.limits.usd * MOST_KEPT_SHARE, max(usual_usd, _report_usd(context, state)))
    return Purse(left_usd - kept_usd, factor, calibration, usual_usd, window, met, CALL_SHARE)


def output_limit(model: Model, prompt_tokens: int, purse: Purse) -> int | None:
    """The output this call may have, so that it fits the window and the worst it can cost is in the purse; None: the model's own limit.

    Raises ModelCallError where that is less than an answer takes.
    """
    window, least = purse.window_tokens or model.window_tokens, min(model.least_output_tokens, model.max_output_tokens)
    counted = int(prompt_tokens * purse.calibration)
    if counted + least > window:
        raise ModelCallError(f"a prompt of about {counted:,} tokens is over the window of {window:,}", "overflow", window_tokens=window)
    room = max(least, window - int(prompt_tokens * purse.factor))
    most = min(model.max_output_tokens, room, _affordable(model, prompt_tokens, purse, least))
    return None if most >= model.max_output_tokens else int(most)


def _affordable(model: Model, prompt_tokens: int, purse: Purse, least: int) -> float:
    if purse.left_usd == math.inf or not _is_priced(model.prices):
        return math.inf
    prompt_usd = prompt_tokens * purse.factor * _input_price(model.prices) / 1e6
    scarce = max(1, least - SCARCE_TOKENS)
    least_usd = max(purse.usual_usd, prompt_usd + scarce * model.prices.output / 1e6)
    if purse.left_usd < least_usd:
        left = f"${max(0.0, purse.left_usd):.4f} of limits.usd is left for it"
        raise ModelCallError(f"another call may cost ${least_usd:.4f}, and {left}", "budget")
    if model.prices.output <= 0:
        return math.inf
    tokens = (purse.left_usd - prompt_usd) / model.prices.output * 1e6
    return min(tokens, max(least, tokens * purse.share))


def prompt_tokens(messages: Sequence[BaseMessage], tools: Sequence[BaseTool], response_format: dict[str, Any] | None) -> int:
    schemas = [convert_to_openai_tool(tool) for tool in tools] + ([response_format] if response_format else [])
    return sum(map(message_tokens, messages)) + (estimate_tokens(json.dumps(schemas)) if schemas else 0)


def calibrated(old: float, raw: int, reported: int) -> float:
    """The estimate's factor, moved half-way to what the host reported of a prompt estimated as `raw`."""
    if reported <= 0 or raw <= 0:
        return old
    return min(3.0, max(0.3, (old + reported / raw) / 2))


def _factor(context: Context, state: ResearchState, role: Role) -> float:
    same = context.models[role].name == context.models["investigator"].name
    learned: float = state.get("calibration", 1.0) * CALIBRATED
    return learned if same and state.get("turn", 0) >= CALIBRATED_TURNS else max(UNCALIBRATED, learned if same else 0.0)


def _report_usd(context: Context, state: ResearchState) -> float:
    """What the report may cost. Every finding stands in the prompt, as a call or in its memory block: it is no larger than that."""
    model = context.models["writer"]
    used = sum(turn["tokens"] for turn in (*state.get("head", ()), *state.get("turns", ())))
    tokens = used + PROMPT_TOKENS + READ_TOKENS * len(state.get("plan", ()))
    affordable = context.limits.usd * REPORT_SHARE / model.prices.output * 1e6 if model.prices.output > 0 else math.inf
    output: float = min(model.max_output_tokens, max(REPORT_TOKENS, model.least_output_tokens, affordable))
    prompt_usd: float = tokens * _factor(context, state, "writer") * _input_price(model.prices)
    return (prompt_usd + output * model.prices.output) / 1e6


def _input_price(prices: Prices) -> float:
    """The worst of them."""
    return max(prices.miss, prices.hit, prices.cache_write or 0.0)


def _is_priced(prices: Prices) -> bool:
    return max(_input_price(prices), prices.output) > 0
