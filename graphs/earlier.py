"""What earlier runs read, for a run that may recall it. A passage of theirs that is shown is archived here too: so it has a handle of
this run, can be noted and cited as anything read can, and stays when the earlier run is deleted."""

from __future__ import annotations

from collections.abc import Sequence

from research_agent.memory.segment import Kind, Passage, Segment

from .ports import Archive, Document

MOST = 3
"""Documents of earlier runs that one recall brings: each is archived whole."""


async def from_earlier(
    archive: Archive, earlier: Sequence[Archive], query: str, *, kinds: Sequence[Kind], source: str, budget_tokens: int
) -> list[tuple[Document, str]]:
    """Documents that earlier runs read and this one has not, each with the passage that serves. What they noted stands for its source."""
    wanted: tuple[Kind, ...] = ("observation", "finding") if not kinds else tuple(k for k in kinds if k in ("observation", "finding"))
    if not wanted or not earlier:
        return []
    ranked: list[tuple[int, Archive, Passage]] = []
    for other in earlier:
        passages = await other.recall(query, budget_tokens=budget_tokens // len(earlier), kinds=wanted, source=source)
        best_first = sorted(passages, key=lambda passage: -passage.score)
        ranked += [(place, other, passage) for place, passage in enumerate(best_first)]
    found: dict[str, tuple[Document, str]] = {}
    for _, other, passage in sorted(ranked, key=lambda item: item[0]):  # scores of two memories cannot be compared, places can
        segment = other.get(passage.segment.source) if passage.segment.kind == "finding" else passage.segment
        if segment is None or segment.kind != "observation" or _known(archive, segment):
            continue
        quote = passage.segment.quote if passage.segment.kind == "finding" else passage.text
        found.setdefault(segment.id, (_document(segment), quote))
    return list(found.values())[:MOST]


def _known(archive: Archive, segment: Segment) -> bool:
    """Whether this run has read the same, or was shown it before."""
    same = archive.find(kind="observation", url=segment.url) if segment.url else archive.find(kind="observation", newest=200)
    return any(mine.text == segment.text for mine in same)


def _document(segment: Segment) -> Document:
    return Document(
        text=segment.text,
        url=segment.url,
        title=segment.title or f"{segment.tool} at step {segment.step}",
        retrieved_at=segment.retrieved_at,
        run=segment.earlier_run or segment.run,
    )
