"""A model call that failed: how long to wait before the next try, and, where waiting will not help, what to do, in one line."""

from __future__ import annotations

import random

from .ports import RETRYABLE, Model, ModelCallError

ATTEMPTS, ATTEMPTS_UNMET = 6, 3
"""Of a call; and of one to a host that nothing was ever heard of, where nothing listens: waiting seldom makes a wrong address right."""
BASE_WAIT_S, MAX_WAIT_S = 1.0, 60.0
LONGEST_WAIT_S = 600.0
"""What a host may ask for; one that asks for more is not waited for: the run ends with what it has, and can be resumed."""


def passes(error: ModelCallError, attempt: int, *, met: bool = True) -> bool:
    """Whether another try may help. `met`: the host has answered in this run."""
    attempts = ATTEMPTS_UNMET if error.unreached and not met else ATTEMPTS
    return error.kind in RETRYABLE and attempt < attempts and (error.retry_after_s or 0.0) <= LONGEST_WAIT_S


def wait_s(error: ModelCallError, attempt: int) -> float:
    """As long as the host said, or twice as long each time. Jittered: runs that were refused together do not come back together."""
    if error.retry_after_s is not None:
        return error.retry_after_s * random.uniform(1.0, 1.1)  # noqa: S311 - jitter; never sooner than was asked for
    return min(MAX_WAIT_S, BASE_WAIT_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311


def ends_all(error: ModelCallError) -> bool:
    """No call with this key will be answered until a person does something."""
    return error.kind in ("auth", "quota")


def same_key(one: Model, other: Model) -> bool:
    return one.chat is other.chat or (bool(one.host) and (one.host, one.key) == (other.host, other.key))


def told(model: Model, error: ModelCallError, attempts: int) -> str:
    """The reason in one line that says what to do. It ends so that `then ...` can follow."""
    host, key, reason = model.host or "the host", f"the key in {model.key}" if model.key else "the request", error.reason
    tries = f"after {attempts} tries" if attempts > 1 else "at once"
    match error.kind:
        case "auth" if not model.key:
            return f"{host} wants a key ({reason}): name its variable in model.api_key_env"
        case "auth":
            return f"{key} was refused by {host} ({reason}): check it"
        case "quota":
            return f"{key} has no credit left at {host} ({reason}): top it up"
        case "rate_limit" | "overloaded" if (error.retry_after_s or 0.0) > LONGEST_WAIT_S:
            return f"{host} asks for a pause of {error.retry_after_s or 0.0:,.0f} s ({reason}): wait that long"
        case "rate_limit" | "overloaded":
            return f"{host} was still busy {tries} ({reason}): wait a while"
        case "network" if error.unreached:
            return f"nothing answers at {host}, given up {tries} ({reason}): start it, or check model.base_url"
        case "network":
            return f"{host} gave no whole answer, given up {tries} ({reason}): check model.base_url and the connection"
        case "empty":
            return f"{model.name} gave no usable answer {tries} ({reason}): raise model.max_output_tokens, or take another model"
        case "bad_request":
            return f"{host} refused the request ({reason}): check model.name and model.params with `research-agent doctor CONFIG`"
        case "content_filter":
            return f"{host} will not answer this ({reason}): word the question otherwise, or take another model"
        case "overflow":
            return f"a prompt is too long for {model.name} ({reason}): set model.window_tokens to what {host} allows"
    return reason
