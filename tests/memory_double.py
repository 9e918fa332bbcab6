"""A small archive in memory, for the tools' tests."""

from __future__ import annotations

from collections.abc import Sequence

from research_agent.memory.segment import Kind, Passage, Segment, parse_handle


def read(step: int, text: str, *, ordinal: int = 0, url: str = "", title: str = "", kind: Kind = "observation", **more: str) -> Segment:
    return Segment(
        run="r",
        step=step,
        kind=kind,
        ordinal=ordinal,
        text=text,
        trust="untrusted" if kind == "observation" else "own",
        url=url,
        title=title,
        tool="scrape",
        **more,
    )


class Memory:
    """Recalls the segments that share a word with the query."""

    def __init__(self, *segments: Segment) -> None:
        self.segments = list(segments)
        self.budgets: list[int] = []

    async def archive(self, segments: Sequence[Segment], *, bodies: Sequence[str] = ()) -> None:
        self.segments += segments

    async def recall(
        self,
        query: str,
        *,
        budget_tokens: int,
        kinds: Sequence[Kind] = (),
        source: str = "",
        since_step: int = 0,
        exclude: frozenset[str] = frozenset(),
    ) -> list[Passage]:
        self.budgets.append(budget_tokens)
        words = set(query.lower().split())
        return [
            Passage(segment, segment.text, 1.0)
            for segment in self.segments
            if words & set(segment.text.lower().split())
            and (not kinds or segment.kind in kinds)
            and source in f"{segment.url} {segment.title} {segment.handle}"
            and segment.step >= since_step
            and segment.id not in exclude
        ]

    def get(self, id_or_handle: str) -> Segment | None:
        place = parse_handle(id_or_handle)
        for segment in self.segments:
            if segment.id == id_or_handle or (segment.kind == "observation" and place == (segment.step, segment.ordinal)):
                return segment
        return None

    def find(self, *, kind: Kind, url: str = "", args_hash: str = "", newest: int = 0) -> list[Segment]:
        found = [segment for segment in self.segments if segment.kind == kind and (not url or segment.url == url)]
        return found[-newest:]

    def put_body(self, text: str) -> str:
        raise NotImplementedError

    def get_body(self, ref: str) -> str:
        raise NotImplementedError
