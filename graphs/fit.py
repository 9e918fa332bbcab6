"""A structured answer from what was found, whatever its amount: what a role is shown is cut to its model's window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from .budget import Purse, prompt_tokens
from .calls import Emit, InvalidOutput, Reply, add_usage, ask, wire_format
from .flight import Flight
from .ports import Model, ModelCallError, Role
from .state import NO_USAGE

Draft = TypeVar("Draft", bound=BaseModel)
Versions = Sequence[Callable[[], list[BaseMessage]]]
"""Of one prompt, each shorter than the one before; the first that fits is asked."""

OUTPUT_SHARE = 3
"""A window's part kept for the answer, where the model's own limit is more."""
OVERFLOWS, SMALLER = 3, 0.7
"""How often a host may say that the prompt is too long, and what is believed of the window where its words do not say."""


async def ask_within(
    model: Model, versions: Versions, schema: type[Draft], *, role: Role, emit: Emit, purse: Purse, flight: Flight | None = None
) -> tuple[Draft, Reply]:
    """As `ask`, with the fullest version that fits the window. Raises ModelCallError and InvalidOutput."""
    window, spent = purse.window_tokens or model.window_tokens, NO_USAGE
    for left in reversed(range(OVERFLOWS + 1)):
        messages = fullest(versions, _room(model, window, max(purse.factor, purse.calibration)), schema)  # as `output_limit` counts
        try:
            draft, reply = await ask(
                model, messages, schema, role=role, emit=emit, purse=replace(purse, window_tokens=window).after(spent), flight=flight
            )
            return draft, replace(reply, usage=add_usage(spent, reply.usage))
        except InvalidOutput as error:
            error.spent = add_usage(spent, error.spent)
            raise
        except ModelCallError as error:
            error.spent = spent = add_usage(spent, error.spent)
            if error.kind != "overflow" or not left:
                raise
            window = min(int(window * SMALLER), error.window_tokens or window)
    raise AssertionError("unreachable")


def fullest(versions: Versions, room_tokens: int, schema: type[BaseModel]) -> list[BaseMessage]:
    """The shortest, if none fits."""
    for version in versions:
        messages = version()
        if prompt_tokens(messages, (), wire_format(schema)) <= room_tokens:
            return messages
    return messages


def _room(model: Model, window: int, factor: float) -> int:
    """Estimated tokens that a prompt may have."""
    return int((window - max(model.least_output_tokens, min(model.max_output_tokens, window // OUTPUT_SHARE))) / factor)


def thinned(items: Sequence[str], keep: int) -> list[str]:
    """So many of them, evenly from first to last: every part of an investigation stays heard."""
    if keep >= len(items):
        return list(items)
    return [items[at * len(items) // keep] for at in range(keep)]
