"""Does a value pass a store's filter? `{"color": "red"}`, `{"score": {"$gte": 3}}`, `{"owner": {"name": "Ada"}}`. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

_ORDER: dict[str, Callable[[Any, Any], bool]] = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Raises ValueError for an operator that there is not. What cannot be compared does not pass."""
    return all(_passes(value.get(key), part) for key, part in (wanted or {}).items())


def _passes(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_applies(value, name, limit) for name, limit in wanted.items())
        return isinstance(value, Mapping) and matches(value, wanted)
    if isinstance(wanted, list | tuple):
        return isinstance(value, list | tuple) and len(value) == len(wanted) and all(map(_passes, value, wanted))
    return bool(value == wanted)


def _applies(value: Any, name: str, limit: Any) -> bool:
    if name == "$eq":
        return bool(value == limit)
    if name == "$ne":
        return bool(value != limit)
    if name not in _ORDER:
        raise ValueError(f"{name!r} is no operator of a filter: $eq, $ne, $gt, $gte, $lt, $lte")
    try:
        return _ORDER[name](float(value), float(limit))
    except (TypeError, ValueError):  # texts, such as dates, by their order
        return isinstance(value, str) and isinstance(limit, str) and _ORDER[name](value, limit)
