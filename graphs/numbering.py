"""Where a turn stands in the run: on the steps after its state's, unless another turn was archived there.

That is so after checkpoints were lost: the ledger is ahead of the state, and a model that is asked again answers otherwise. What it asks
for now is not what was brought then, and its thoughts are not those in the ledger, whose places are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from research_agent.memory import Segment

from .ports import Archive

Turn = Callable[[int], Sequence[Segment]]
"""From the step that a turn follows on to what is archived of it."""


def follows(archive: Archive, own: int, turn: Turn) -> int:
    """The step that a turn follows on, never one before its state's. A turn that was archived is found where it stands: its process may
    have died after that.
    """
    if not _taken(archive, turn(own)):
        return own
    for step in _same_calls(archive, turn(own)):
        if step >= own and all((there := archive.get(segment.id)) and there.text == segment.text for segment in turn(step)):
            return step
    last = archive.last_step()
    return last + 1 if _taken(archive, turn(last)) else last


def _taken(archive: Archive, segments: Sequence[Segment]) -> bool:
    return any((there := archive.get(segment.id)) and there.text != segment.text for segment in segments)


def _same_calls(archive: Archive, segments: Sequence[Segment]) -> list[int]:
    """The steps that a call as the first of these follows on, where it was made."""
    first = next((segment for segment in segments if segment.kind == "call"), None)
    return [segment.step - 1 for segment in archive.find(kind="call", args_hash=first.args_hash)] if first else []
