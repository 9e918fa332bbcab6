"""HTTP clients for models' hosts: ours, and those within the vendors' SDKs."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

CONNECT_TIMEOUT_S = 15.0
IDLE_TIMEOUT_S = 300.0
"""Between two bytes: a long prompt is read for minutes before the first."""
_ANYWHERE = {"host", "accept", "accept-encoding", "connection", "content-length", "content-type", "transfer-encoding", "user-agent"}


def library(sdk: ModuleType) -> Any:
    """The HTTP library an SDK is built on: httpx, or httpx2 since openai 3 and anthropic 2. Its objects and errors are not the other's."""
    base = next(kind for kind in sdk.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
    return import_module(base.__module__.partition(".")[0])


def client(lib: Any, base_url: str, idle_timeout_s: float = IDLE_TIMEOUT_S) -> Any:
    """A `Client` of httpx, or of the library that an SDK is built on."""

    def bare(request: Any) -> None:
        _bare_elsewhere(request, lib.URL(base_url))

    return lib.Client(**_options(lib, idle_timeout_s), event_hooks={"request": [bare]})


def async_client(lib: Any, base_url: str, idle_timeout_s: float = IDLE_TIMEOUT_S) -> Any:
    """The same as an `AsyncClient`."""

    async def bare(request: Any) -> None:
        _bare_elsewhere(request, lib.URL(base_url))

    return lib.AsyncClient(**_options(lib, idle_timeout_s), event_hooks={"request": [bare]})


def _options(lib: Any, idle_timeout_s: float) -> dict[str, Any]:
    """A new connection for each call: calls are minutes apart, and an idle one dies unseen or belongs to a closed event loop."""
    return {
        "timeout": lib.Timeout(idle_timeout_s, connect=CONNECT_TIMEOUT_S),
        "limits": lib.Limits(max_connections=100, max_keepalive_connections=0),
        "verify": _tls(lib),
        "follow_redirects": True,
    }


def _bare_elsewhere(request: Any, home: Any) -> None:
    """A redirect is followed to any host, but a header that may hold a key goes to none but the model's own: httpx drops only the one
    that is named Authorization."""
    if _origin(request.url) in (_origin(home), ("https", home.host, 443)):
        return
    for name in set(request.headers) - _ANYWHERE:
        del request.headers[name]


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


@cache
def _tls(lib: Any) -> Any:
    return lib.create_ssl_context()  # reads every root certificate: 0.1 s
