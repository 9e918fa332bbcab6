"""A report written of little: its sources, findings and draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markdown_it import MarkdownIt

from research_agent.graphs.state import SubQuestion
from research_agent.memory.segment import Segment
from research_agent.report import Found, Investigation, Report, build

COLD = "Lithium-ion cells lose 20 to 40 percent of their capacity at -20 degrees Celsius. The electrolyte thickens as it cools."


SODIUM = "Sodium-ion packs of Hina keep 88 percent at -20 degrees Celsius. They weigh more."


HEAT = "The heat pump of the car draws 3 kW on a cold morning."


def observation(step: int, text: str, url: str = "", title: str = "", **more: Any) -> Segment:
    fields: dict[str, Any] = {"kind": "observation", "trust": "untrusted", "tool": "scrape", "retrieved_at": "2026-11-22T10:00:00Z"}
    return Segment(run="r", step=step, text=text, url=url, title=title, **{**fields, **more})


S1 = observation(1, COLD, "https://example.org/cold", "Cold cells")


S2 = observation(2, SODIUM, "/data/docs/sodium ion.pdf", "Sodium-ion: a review")


S3 = observation(3, HEAT, "https://example.org/cold", "Cold cells, page 2")


SEGMENTS = (S1, S2, S3)


def sub_question(id: str, question: str, status: str = "done") -> SubQuestion:
    return {"id": id, "question": question, "status": status, "answer": ""}  # type: ignore[typeddict-item]


PLAN = [sub_question("1", "How much is lost in the cold?"), sub_question("2", "Do sodium-ion packs do better?")]


FINDINGS = (
    Found(id="f1", claim="Cold costs capacity", quote=COLD.partition(" The")[0], source=S1, sub_question="1"),
    Found(id="f2", claim="Sodium keeps more", quote=SODIUM.partition(" They")[0], source=S2, sub_question="2"),
)


def draft(answer: str, **sections: str) -> dict[str, Any]:
    return {"answer": answer, "sections": [{"sub_question": id.lstrip("_"), "text": text} for id, text in sections.items()]}


DRAFT = draft(
    "Lithium cells lose up to 40 percent [S200, S100].",
    _1="Cells lose 20 to 40 percent of their capacity at -20 degrees. [S100]",
    _2="Hina's sodium-ion packs keep 88 percent [S200].",
)


def written(the_draft: Mapping[str, Any] | None = DRAFT, *segments: Segment, **more: Any) -> Report:
    known = {name: segment for segment in (*SEGMENTS, *segments) for name in (segment.handle, segment.id)}
    fields: dict[str, Any] = {"question": "How cold is too cold?", "plan": PLAN, "findings": FINDINGS, "lookup": known.get}
    return build(Investigation(draft=the_draft, **{**fields, **more}))


def rendered(markdown: str) -> str:
    """As a viewer that lets everything through would show it."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
