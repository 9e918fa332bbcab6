"""The state machine of an investigation. `TraceMemoryMiddleware` loads when it is first used: it needs the extra `middleware`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .middleware import TraceMemoryMiddleware as TraceMemoryMiddleware

__all__ = ["TraceMemoryMiddleware"]


def __getattr__(name: str) -> Any:
    if name != "TraceMemoryMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .middleware import TraceMemoryMiddleware

    return TraceMemoryMiddleware
