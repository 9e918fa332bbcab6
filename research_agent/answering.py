"""What a person says to a plan that waits, as text."""

from __future__ import annotations

from typing import Any

YES = ("y", "yes", "ok", "approve")


def answer_of(text: str) -> dict[str, Any]:
    """As the graph takes it (graphs.approve); empty for a text without words."""
    said = text.strip()
    if not said:
        return {}
    return {"approve": True} if said.lower() in YES else {"feedback": said}
