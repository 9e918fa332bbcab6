"""What is wrong with a config, told in one line: the key, the value given, what is allowed. A value that may be a secret is not told."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from research_agent.redact import MARK, Redactor

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SECRET_NAME = re.compile(r"(?i)(api[_-]?key|token$|secret|passw|authori[sz]ation|credential)")
_KEY_LIKE = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{24,}")
_WITH_USER = re.compile(r"://.*(:.*@|passw)")
_redact = Redactor()


class ConfigError(Exception):
    """A config that cannot be run with. One line."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


@dataclass(frozen=True, slots=True)
class Fault:
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


def not_allowed(key: str, value: object, allowed: str) -> Fault:
    return Fault(key, f"{show(value, key)} is not allowed: {allowed}")


def show(value: object, key: str = "") -> str:
    """A value as a person would find it again in the file, unless it may be a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if SECRET_NAME.search(key.rpartition(".")[2]):
        return "the value (not shown)"
    text = str(value)
    if MARK in _redact(text) or _KEY_LIKE.search(text) or _WITH_USER.search(text):
        return "a value that looks like a secret (not shown)"
    if len(text) > 80:
        text = text[:39] + "…" + text[-40:]  # a path says most at its end
    return repr(text) if isinstance(value, str) else text


def read(errors: Iterable[ErrorDetails], root: type[BaseModel]) -> list[Fault]:
    """pydantic's errors as faults; a field's description is what is allowed there.

    Of a list and its entry, the entry is told; of a key that is none, nothing but that.
    """
    told = [(_fault(error, root), "[key]" in error["loc"]) for error in errors]
    wrong = {fault.key for fault, is_key in told if is_key}
    values = [fault for fault, is_key in told if not is_key and not any(_within(fault.key, key) for key in wrong)]
    entries = [fault for fault in values if not any(other.key != fault.key and _within(other.key, fault.key) for other in values)]
    return list(dict.fromkeys([*(fault for fault, is_key in told if is_key), *entries]))


def _within(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.")


def _fault(error: ErrorDetails, root: type[BaseModel]) -> Fault:
    loc = [part for part in error["loc"] if part != "[key]"]
    key = ".".join(map(str, loc))
    given = error["input"]
    if error["type"] in ("extra_forbidden", "invalid_key") or "[key]" in error["loc"]:
        known = _keys_at(root, loc[:-1])
        if not known:
            return Fault(key, f"not allowed as a name: {_described(root, loc)}")
        return _unknown(key, given if error["type"] == "extra_forbidden" else None, known)
    allowed = _described(root, loc)
    if error["type"] == "missing":
        return Fault(key, f"missing: {allowed}")
    return not_allowed(key, given, allowed)


def _unknown(key: str, value: object, known: Sequence[str]) -> Fault:
    parent, _, name = key.rpartition(".")
    if SECRET_NAME.search(name):
        hint = f"{parent}.api_key_env" if "api_key_env" in known else "model.api_key_env"
        return Fault(
            key, f"the value (not shown) is not allowed: keys are never written here; {hint} takes the NAME of the variable that holds it"
        )
    near = difflib.get_close_matches(name, known, 1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    given = "" if value is None else f" (given {show(value, key)})"
    return Fault(key, f"no such key{given}: {guess}allowed: {', '.join(known)}")


def _keys_at(root: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    annotation: Any = root
    for part in loc:
        annotation = _step(annotation, part)
    if (model := _model(annotation)) is not None:
        return list(model.model_fields)
    for option in _options(annotation):
        if get_origin(option) is dict:
            names = get_args(option)[0]
            return list(get_args(names)) if get_origin(names) is Literal else []
    return []


def _described(root: type[BaseModel], loc: Sequence[str | int]) -> str:
    """The innermost description on the way to a value."""
    annotation: Any = root
    found = "see the README"
    for part in loc:
        model = _model(annotation)
        if model is not None and isinstance(part, str) and part in model.model_fields:
            found = model.model_fields[part].description or found
        annotation = _step(annotation, part)
    return found


def _step(annotation: Any, part: str | int) -> Any:
    model = _model(annotation)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field is not None else None
    for option in _options(annotation):
        arguments = get_args(option)
        if get_origin(option) is dict:
            return arguments[1]
        if get_origin(option) is tuple:
            return arguments[0]
    return None


def _model(annotation: Any) -> type[BaseModel] | None:
    return next((o for o in _options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
