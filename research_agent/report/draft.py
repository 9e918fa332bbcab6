"""A draft as the report uses it: cited by token, in the order of the plan. Without one, what was found stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from research_agent.report.citations import Book
from research_agent.report.figures import Gallery
from research_agent.report.inert import clean
from research_agent.report.invented import without
from research_agent.report.model import Investigation
from research_agent.report.sentences import without_last


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    answer: str
    sections: tuple[Section, ...]
    written: bool = True
    cut: bool = False
    """Sentences were taken out to fit."""

    @property
    def texts(self) -> list[str]:
        return [self.answer, *(section.text for section in self.sections)]

    def shorter(self) -> Draft | None:
        """Without the last sentence of its longest section, or of the answer once there is no section; None at the end."""
        if self.sections:
            longest = max(range(len(self.sections)), key=lambda i: len(self.sections[i].text.split()))
            section = self.sections[longest]
            kept = replace(section, text=without_last(section.text))
            rest = (kept,) if kept.text else ()
            return replace(self, sections=self.sections[:longest] + rest + self.sections[longest + 1 :], cut=True)
        shorter = without_last(self.answer)
        return replace(self, answer=shorter, cut=True) if shorter else None


def read(investigation: Investigation, book: Book, gallery: Gallery) -> Draft:
    loose = not investigation.extractive
    draft = investigation.draft or {}
    answer = str(draft.get("answer") or "").strip()
    given = [(str(s.get("sub_question", "")).strip(), str(s.get("text", "")).strip()) for s in draft.get("sections") or ()]
    if not answer and not any(text for _, text in given):
        return _from_findings(investigation, book)
    texts = [(id, clean(text)) for id, text in [("", answer), *given]]
    if loose:  # of a quotation nothing is taken for a figure
        texts = [(id, _without_invented(gallery.place(text), book)) for id, text in texts]
    cited = [(id, book.cite(text, loose=loose)) for id, text in texts]
    return Draft(cited[0][1] or _NO_ANSWER, tuple(_in_order(investigation, cited[1:])))


def _without_invented(text: str, book: Book) -> str:
    text, struck = without(text)
    book.struck += struck
    return text


_NO_ANSWER = "No short answer was written."


def _in_order(investigation: Investigation, given: Sequence[tuple[str, str]]) -> list[Section]:
    """A section for each sub-question that has a text or is still open, then those that name none."""
    left = [(id.rstrip("."), text) for id, text in given if text]
    sections = []
    for item in investigation.plan:
        own = [text for id, text in left if id in (item["id"], item["question"])]
        left = [(id, text) for id, text in left if id not in (item["id"], item["question"])]
        if own:
            sections.append(Section(item["question"], "\n\n".join(own)))
        elif item["status"] != "done" and investigation.status != "complete":
            sections.append(Section(item["question"], "Not investigated." if item["status"] == "open" else "No answer was found."))
    return sections + [Section(id if len(id) > 3 else "Further", text) for id, text in left]


def _from_findings(investigation: Investigation, book: Book) -> Draft:
    if not investigation.findings:
        return Draft("Nothing was found that can be cited.", (), written=False)
    by_question: dict[str, list[str]] = {}
    for found in investigation.findings:
        cited, claim = book.cite(f"[{found.source.id}]", loose=False), " ".join(clean(found.claim).split())
        said = claim if investigation.extractive else without(claim)[0]
        by_question.setdefault(found.sub_question, []).append(f"- {said} {cited}".rstrip())
    headings = {item["id"]: item["question"] for item in investigation.plan}
    sections = [Section(headings.get(id, "Further findings"), "\n".join(items)) for id, items in by_question.items()]
    return Draft("No answer was written; what was found stands below as it was noted.", tuple(sections), written=False)
