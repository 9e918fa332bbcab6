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
from .window import READ_TOKENS, fixed_tokens, message_tokens, step_tokens

REPORT_TOKENS, REPORT_SHARE = 6_000, 0.15
"""Output kept back for the report: so many tokens, or more where this share of the limit pays for them."""
MOST_KEPT_SHARE = 0.5
"""Of the limit, at most, for the report: where that does not pay for one, what was noted is listed without a model."""
CALL_SHARE = 0.25
"""Of what is left, that one answer before the report may take: a model that always writes as much as it may would take it all at once."""
SCARCE_TOKENS = 1_000
"""An answer may have so many fewer than it should where no more can be paid for."""
PLANNED = 5
"""Sub-questions of a plan that is not made yet."""
PROMPT_TOKENS = 1_500
"""Of the writer's rules, and what stands around the findings."""
UNCALIBRATED, CALIBRATED, CALIBRATED_TURNS = 1.5, 1.2, 4
"""How far a prompt may be over its estimate: of a tokenizer nobody has met, and after so many reports of its usage."""


STEPS = 3
"""Of a limit that would do: it pays for so many more, and for the report, each call at its worst."""


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
    enough_usd: float = math.inf
    """A limit that would do."""

    def after(self, spent: Usage) -> Purse:
        return replace(self, left_usd=self.left_usd - spent["usd"])


NO_LIMIT = Purse()


def purse(context: Context, state: ResearchState, usage: Usage, role: Role) -> Purse:
    """Of the limit, what is left for `role`: the writer may have all of it, the others leave what the report needs."""
    factor, window = _factor(context, state, role), state.get("window") if role == "investigator" else None
    calibration = state.get("calibration", 1.0) if role == "investigator" else 1.0
    left_usd, met, enough_usd = context.limits.usd - usage["usd"], usage["calls"] > 0, _enough_usd(context, state, usage, role)
    if role == "writer":
        return Purse(left_usd, factor, calibration, met=met, enough_usd=enough_usd)
    usual_usd = usage["usd"] / max(1, usage["calls"])
    kept_usd = min(context.limits.usd * MOST_KEPT_SHARE, max(usual_usd, _report_usd(context, state, context.limits.usd)))
    return Purse(left_usd - kept_usd, factor, calibration, usual_usd, window, met, CALL_SHARE, enough_usd)


def would_do(enough_usd: float) -> str:
    return f"limits.usd={enough_usd:g} pays for {STEPS} more steps and the report, at worst"


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
        raise ModelCallError(f"another call may cost ${least_usd:.4f}, and {left}: raise it ({would_do(purse.enough_usd)})", "budget")
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


def _enough_usd(context: Context, state: ResearchState, usage: Usage, role: Role) -> float:
    """A limit that pays for what is ahead, from the last call to the first: each leaves what those after it need, however much it takes."""
    investigator, factor = context.models["investigator"], _factor(context, state, "investigator")
    used, step = fixed_tokens(context) + PROMPT_TOKENS + _used_tokens(state), step_tokens(state.get("turns", ()))
    calls = [(investigator, used + n * step, factor) for n in range(STEPS)]
    if role in ("planner", "reviewer"):
        calls.insert(0, (context.models[role], PROMPT_TOKENS + _used_tokens(state), _factor(context, state, role)))
    ahead_usd, usual_usd = 0.0, usage["usd"] / max(1, usage["calls"])
    for model, tokens, factor in reversed(calls):
        prompt_usd = tokens * factor * _input_price(model.prices) / 1e6
        least_usd = prompt_usd + model.least_output_tokens * model.prices.output / 1e6
        most_usd = prompt_usd + model.max_output_tokens * model.prices.output / 1e6
        ahead_usd = max(ahead_usd + max(usual_usd, least_usd), min(ahead_usd + most_usd, ahead_usd / (1 - CALL_SHARE) + prompt_usd))
    limit_usd = _report_usd(context, state, 0.0, STEPS * step) / MOST_KEPT_SHARE
    for _ in range(20):  # a larger limit keeps a share of it back for its report: this converges
        report_usd = max(usual_usd, _report_usd(context, state, limit_usd, STEPS * step))
        limit_usd = max(limit_usd, usage["usd"] + ahead_usd + report_usd)
    return _rounded_up(limit_usd)


def _rounded_up(usd: float) -> float:
    """To two figures."""
    if usd <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return math.ceil(usd / unit) * unit


def _used_tokens(state: ResearchState) -> int:
    return sum(turn["tokens"] for turn in (*state.get("head", ()), *state.get("turns", ())))


def _report_usd(context: Context, state: ResearchState, limit_usd: float, more_tokens: float = 0.0) -> float:
    """What the report may cost. Every finding stands in the prompt, as a call or in its memory block: it is no larger than that."""
    model = context.models["writer"]
    tokens = _used_tokens(state) + more_tokens + PROMPT_TOKENS + READ_TOKENS * (len(state.get("plan", ())) or PLANNED)
    affordable = limit_usd * REPORT_SHARE / model.prices.output * 1e6 if model.prices.output > 0 else math.inf
    output: float = min(model.max_output_tokens, max(REPORT_TOKENS, model.least_output_tokens, affordable))
    prompt_usd: float = tokens * _factor(context, state, "writer") * _input_price(model.prices)
    return (prompt_usd + output * model.prices.output) / 1e6


def _input_price(prices: Prices) -> float:
    """The worst of them."""
    return max(prices.miss, prices.hit, prices.cache_write or 0.0)


def _is_priced(prices: Prices) -> bool:
    return max(_input_price(prices), prices.output) > 0
