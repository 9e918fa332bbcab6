"""What must hold of every prompt that is sent, whoever sends it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage, ToolMessage


def check_turns(prompt: Sequence[BaseMessage]) -> None:
    """Turns are whole: each call stands directly before its result."""
    open_calls: list[str] = []
    for message in prompt:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id == open_calls.pop(0)
        else:
            assert not open_calls
            open_calls = [call["id"] for call in getattr(message, "tool_calls", [])]
    assert not open_calls
