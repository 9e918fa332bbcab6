"""A tool's JSON schema as a host takes it: closed everywhere, typed where that is demanded, strict where it can be enforced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = dict[str, Any]

_NOT_STRICT = {"oneOf", "allOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired", "prefixItems"}
_LOCAL = ("minLength", "maxLength", "title", "default")
"""Keywords that a strict schema may not hold: they are checked before a tool runs, here."""
EMPTY: Schema = {"type": "object", "properties": {}}


def tool_schema(tool: Mapping[str, Any], *, typed_: bool = False, strict_: bool = False) -> Schema:
    """A tool in OpenAI's form with its parameters closed. `strict_`: enforced by the host, if this schema can be."""
    function = dict(tool.get("function") or {})
    parameters = closed(function.get("parameters") or EMPTY)
    function["parameters"] = typed(parameters) if typed_ else parameters
    if strict_ and (enforced := strict(parameters)) is not None:
        function |= {"parameters": enforced, "strict": True}
    return {**tool, "function": function}


def closed(schema: Mapping[str, Any]) -> Schema:
    """No object takes a property that it does not name, unless it says that it does."""
    out = _each(schema, closed)
    if "properties" in out and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out


def typed(schema: Mapping[str, Any]) -> Schema:
    """A JSON schema with a type on every property: some hosts refuse a schema without."""
    out = dict(schema)
    if "allOf" in out and len(out["allOf"]) == 1:
        out |= out.pop("allOf")[0]
    if "oneOf" in out:
        out["anyOf"] = out.pop("oneOf")
    out = _each(out, typed)
    if "anyOf" in out:
        out.pop("type", None)  # it stands in the alternatives, or is refused
    elif "type" not in out and "$ref" not in out:
        out["type"] = _type_of(out)
    if out.get("type") == "array" and not isinstance(out.get("items"), Mapping):
        out["items"] = {"type": "string"}
    return out


def strict(schema: Mapping[str, Any]) -> Schema | None:
    """As OpenAI enforces it: closed, every property required, an optional one with its default named. None where that cannot be said.

    An optional property is not made nullable: a tool that takes a number takes no null.
    """
    if not _enforceable(schema):
        return None
    return _required(typed(closed(schema)))


def _enforceable(schema: Mapping[str, Any]) -> bool:
    if _NOT_STRICT & set(schema) or schema.get("additionalProperties"):
        return False
    properties = schema.get("properties") or {}
    if schema.get("type") == "object" and "properties" not in schema:
        return False  # of any shape
    if any(name not in schema.get("required", ()) and "default" not in part for name, part in properties.items()):
        return False
    return all(_enforceable(part) for part in _parts(schema))


def _required(schema: Mapping[str, Any]) -> Schema:
    out = _each(schema, _required)
    if "default" in schema and schema.get("description"):
        out["description"] = f"{schema['description']} Usually {schema['default']!r}."
    if "properties" in out:
        out["required"] = list(out["properties"])
    return {name: value for name, value in out.items() if name not in _LOCAL}


def _each(schema: Mapping[str, Any], change: Callable[[Mapping[str, Any]], Schema]) -> Schema:
    """The schema with every schema directly inside it changed."""
    out = dict(schema)
    for name in ("properties", "$defs", "definitions"):
        if isinstance(out.get(name), Mapping):
            out[name] = {key: change(part) for key, part in out[name].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(out.get(name), Mapping):
            out[name] = change(out[name])
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(out.get(name), list):
            out[name] = [change(part) for part in out[name]]
    return out


def _parts(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []

    def keep(part: Mapping[str, Any]) -> Schema:
        found.append(part)
        return dict(part)

    _each(schema, keep)
    return found


def _type_of(schema: Mapping[str, Any]) -> str:
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    names = {bool: "boolean", int: "integer", float: "number"}
    return names.get(type(values[0]), "string") if values else "string"
