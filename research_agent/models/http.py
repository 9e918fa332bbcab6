"""HTTP clients for models' hosts: ours, and those within the vendors' SDKs."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

CONNECT_TIMEOUT_S = 15.0
IDLE_TIMEOUT_S = 300.0
"""Between two bytes: a long prompt is read for minutes before the first."""


def library(sdk: ModuleType) -> Any:
    """The HTTP library an SDK is built on: httpx, or httpx2 since openai 3 and anthropic 2. Its objects and errors are not the other's."""
    base = next(kind for kind in sdk.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
    return import_module(base.__module__.partition(".")[0])


def options(lib: Any, idle_timeout_s: float = IDLE_TIMEOUT_S) -> dict[str, Any]:
    """For the `Client` and `AsyncClient` of httpx, or of the library that an SDK is built on.

    A new connection for each call: calls are minutes apart, and an idle one dies unseen or belongs to a closed event loop.
    """
    return {
        "timeout": lib.Timeout(idle_timeout_s, connect=CONNECT_TIMEOUT_S),
        "limits": lib.Limits(max_connections=100, max_keepalive_connections=0),
        "verify": _tls(lib),
        "follow_redirects": True,
    }


@cache
def _tls(lib: Any) -> Any:
    return lib.create_ssl_context()  # reads every root certificate: 0.1 s
