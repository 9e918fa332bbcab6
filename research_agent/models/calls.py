"""Tool calls put together from deltas, however a host cuts them; whole or rejected, never half."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk

CUT_OFF = "cut off at the output limit: "
NOT_JSON = "not a JSON object: "


@dataclass(slots=True)
class _Slot:
    id: str = ""
    name: str = ""
    args: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.args)


class CallBuilder:
    """Collects the `tool_calls` of deltas. `offered`: the names of the tools in the request."""

    def __init__(self, offered: frozenset[str]) -> None:
        self._offered = offered
        self._slots: list[_Slot] = []
        self._by_index: dict[int, _Slot] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def feed(self, deltas: Iterable[Mapping[str, Any]]) -> None:
        for delta in deltas:
            function = delta.get("function") or {}
            id, name, args = str(delta.get("id") or ""), function.get("name") or "", function.get("arguments")
            slot = self._slot(delta.get("index"), id, name, args)
            slot.id = slot.id or id
            self._name(slot, name)
            if args:
                slot.args.append(args if isinstance(args, str) else json.dumps(args, ensure_ascii=False))

    def add(self, id: str, name: str, args: str) -> None:
        """A whole call."""
        self._slots.append(_Slot(id, name, [args]))

    def finish(self, *, cut_off: bool) -> list[ToolCallChunk]:
        """The calls, each whole. What is no JSON object becomes arguments LangChain cannot parse either: an invalid call.

        Its own parser completes a truncated object, and would run half a call.
        """
        taken: set[str] = set()
        chunks = []
        for index, slot in enumerate(self._slots):
            id = slot.id or f"call_{uuid4().hex[:24]}"
            while id in taken:  # results are keyed by it
                id = f"{slot.id}_{index}"
                slot.id = id
            taken.add(id)
            chunks.append(tool_call_chunk(name=self._known(slot.name), args=_whole(slot.text, cut_off), id=id, index=index))
        return chunks

    def _slot(self, index: Any, id: str, name: str, args: Any) -> _Slot:
        slot = self._by_index.get(index) if isinstance(index, int) else self._without_index(id, name, args)
        if slot is not None and id and slot.id and id != slot.id and name:
            slot = None  # a host that numbers every parallel call 0
        if slot is None:
            slot = _Slot()
            self._slots.append(slot)
        if isinstance(index, int):
            self._by_index[index] = slot
        return slot

    def _without_index(self, id: str, name: str, args: Any) -> _Slot | None:
        if id:
            return next((slot for slot in self._slots if slot.id == id), None)
        last = self._slots[-1] if self._slots else None
        if last is None or not name:
            return last
        starts_anew = isinstance(args, dict) or (isinstance(args, str) and args.lstrip().startswith("{"))
        return None if starts_anew and _object(last.text) is not None else last

    def _name(self, slot: _Slot, name: str) -> None:
        longer = slot.name + name in self._offered  # `search` and `search_web` may both be there
        if not name or name == slot.name or (slot.name and self._known(slot.name) in self._offered and not longer):
            return  # a host that repeats the name in each delta
        slot.name = name if name.startswith(slot.name) else slot.name + name

    def _known(self, name: str) -> str:
        bare = name.removeprefix("functions.")
        return bare if bare in self._offered else name


def _whole(text: str, cut_off: bool) -> str:
    if not text.strip():
        return CUT_OFF if cut_off else "{}"
    value = _object(text)
    if value is None:
        return (CUT_OFF if cut_off else NOT_JSON) + text
    return json.dumps(value, ensure_ascii=False)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text, strict=False)  # raw newlines in strings are the commonest slip, and harmless
        if isinstance(value, str):
            value = json.loads(value, strict=False)  # encoded twice
    except (ValueError, RecursionError):  # a model that goes round in circles writes brackets or digits without end
        return None
    return value if isinstance(value, dict) else None
