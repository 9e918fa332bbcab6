"""An investigation as a report: cited, audited, cut to its length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from research_agent.memory.segment import Segment
from research_agent.report import html
from research_agent.report.audit import Judgement, judge, nearest, plain
from research_agent.report.citations import ANCHOR, TOKEN, Book, bare, numbered, places
from research_agent.report.draft import Draft, read
from research_agent.report.figures import FIGURE, Gallery, judged
from research_agent.report.inert import block, clean, line
from research_agent.report.model import Checked, Found, Investigation, Report
from research_agent.report.page import Listed, Page, quoted
from research_agent.report.sentences import split

MAX_LISTED = 20
"""Failures and flags that are written out; the rest are counted."""


def build(investigation: Investigation) -> Report:
    """The report. The same investigation gives the same bytes."""
    return _Composer(investigation).report()


@dataclass(frozen=True, slots=True)
class _Extras:
    """What stands beside the draft, while there is room."""

    quotes: bool = True
    details: bool = True
    footer: bool = True


class _Composer:
    def __init__(self, investigation: Investigation) -> None:
        self.of = investigation
        self.book = Book(investigation.lookup)
        self.gallery = Gallery(investigation.assets)
        self.draft = read(investigation, self.book, self.gallery)
        self.judged: dict[str, Judgement] = {}

    def report(self) -> Report:
        draft, page = self._fitting()
        numbers = self._numbers(draft)
        number_of = {place: numbers[_key(segment)] for place, segment in enumerate(self.book.passages) if _key(segment) in numbers}
        tokens = page.markdown()
        markdown = self.gallery.markdown(_finished(tokens, number_of))
        sources, findings = self._tables(draft, numbers)
        return Report(
            markdown=markdown,
            answer=FIGURE.sub("", numbered(block(page.answer), number_of, _bracketed)),
            html=html.render(tokens, self.of.question, number_of, lambda body: self.gallery.html(body, self.of.data_of)),
            sources=sources,
            findings=findings,
            audit=tuple(self._checked(sentence, number_of) for sentence in self._sentences(draft)),
            struck=tuple(self.book.struck),
            words=len(markdown.split()),
        )

    def _fitting(self) -> tuple[Draft, Page]:
        """The fullest page within the words allowed: quotes under the sources go first, then details, then the ends of sections."""
        limit = self.of.max_words
        draft, extras = self.draft, _Extras()
        page = self._page(draft, extras)
        if limit is None or _count(page) <= limit:
            return draft, page
        page = self._page(draft, replace(extras, quotes=False))
        if _count(page) <= limit:
            return draft, self._with_quotes(page, self._listed(draft, quotes=True), limit)
        extras = _Extras(quotes=False, details=False, footer=False)
        page = self._page(draft, extras)
        while (excess := _count(page) - limit) > 0:
            shorter = _shorter(draft, excess)
            if shorter is None:
                return self._truncated(draft, limit)
            draft, page = shorter, self._page(shorter, extras)
        return draft, self._with_quotes(page, self._listed(draft, quotes=True), limit)

    def _with_quotes(self, page: Page, listed: Sequence[Listed], limit: int) -> Page:
        room = limit - _count(page)
        kept = []
        for source in listed:
            quotes = []
            for text in source.quotes:
                cost = len(quoted(text).split())
                if cost <= room:
                    room -= cost
                    quotes.append(text)
            kept.append(replace(source, quotes=tuple(quotes)))
        return replace(page, sources=kept)

    def _truncated(self, draft: Draft, limit: int) -> tuple[Draft, Page]:
        """One sentence is too much, or the question is: whole words from the front, no citation left without its source."""
        draft = replace(draft, answer=bare(draft.answer), sections=())
        page = self._page(draft, _Extras(False, False, False))
        if _count(page) > limit:
            page = replace(page, notes=page.notes[:1])
        while (excess := _count(page) - limit) > 0 and (answer := _fewer(page.answer, excess)) != page.answer:
            page = replace(page, answer=answer)
        while (excess := _count(page) - limit) > 0 and (title := _fewer(page.title, excess)) != page.title:
            page = replace(page, title=title)
        while (excess := _count(page) - limit) > 0 and page.notes and (note := _fewer(page.notes[0], excess)) != page.notes[0]:
            page = replace(page, notes=[note])
        return replace(draft, answer=page.answer), page

    def _page(self, draft: Draft, extras: _Extras) -> Page:
        flags = self._flags(draft)
        failures = [f"step {f['step']}, {line(f['what'])}: {line(self._without_handles(f['reason'])[:300])}" for f in self.of.failures]
        notes = self._notes(draft)
        if not extras.details:
            notes += [f"{_plural(len(flags), 'sentence')} to check against the sources."] if flags else []
            notes += [f"{_plural(len(failures), 'step')} did not work."] if failures else []
            flags, failures = [], []
        return Page(
            title=self.of.question,
            notes=notes,
            answer=draft.answer,
            sections=[(section.heading, section.text) for section in draft.sections],
            sources=self._listed(draft, quotes=extras.quotes),
            files=_capped(self.gallery.files("\n".join(draft.texts))) if extras.details else (),
            flags=_capped(flags),
            failures=_capped(failures),
            footer=self._footer() if extras.footer and draft.written else "",
        )

    def _without_handles(self, reason: str) -> str:
        """A tool's error as a reader of the report understands it: a handle is the source's title or address."""

        def name(match: re.Match[str]) -> str:
            segment = self.of.lookup(match[1])
            return f"“{segment.title or segment.url}”" if segment and (segment.title or segment.url) else match[0]

        without_hint = re.sub(r", such as S\d+,?", "", reason)
        return re.sub(r"\[?\b(S\d{3,})\b\]?", name, without_hint)

    def _notes(self, draft: Draft) -> list[str]:
        notes = []
        if self.of.status != "complete":
            open_questions = [line(item["question"]) for item in self.of.plan if item["status"] == "open"]
            still = f" Still open: {_ended(open_questions)}" if open_questions else ""
            reason = line(self.of.reason.rstrip(". ") or "no reason was given")
            notes.append(f"**{self.of.status.capitalize()}**: {reason}.{still}")
        if self.of.extractive and draft.written:
            notes.append("No language model wrote this report: it is made of quotations from what was read.")
        if count := len(self.book.struck):
            one = count == 1
            named = (
                "1 citation named a source that was never read and was" if one else f"{count} citations named sources never read and were"
            )
            notes.append(f"{named} removed.")
        if count := len(self.gallery.struck):
            what = "1 picture or file" if count == 1 else f"{count} pictures or files"
            notes.append(f"{what} that no code of this run made {'was' if count == 1 else 'were'} removed.")
        if draft.cut:
            notes.append(f"Shortened to {self.of.max_words} words.")
        if not self.of.extractive and draft.written:
            sentences = self._sentences(draft)
            uncited = sum(1 for sentence in sentences if not TOKEN.search(sentence))
            if uncited:
                notes.append(f"{uncited} of {_plural(len(sentences), 'sentence')} cite no source.")
        return notes

    def _footer(self) -> str:
        by = "" if self.of.extractive or not self.of.model else f"Written by {line(self.of.model)}. "
        when = f"Finished {line(self.of.finished_at[:10])}." if self.of.finished_at else ""
        return f"*{(by + when).strip()}*" if by or when else ""

    def _numbers(self, draft: Draft) -> dict[str, int]:
        """Each cited source's number, by its key, in the order of first citation."""
        keys = dict.fromkeys(_key(self.book.passages[place]) for place in places("\n".join(draft.texts)))
        return {key: number for number, key in enumerate(keys, 1)}

    def _listed(self, draft: Draft, *, quotes: bool) -> list[Listed]:
        numbers = self._numbers(draft)
        first = {_key(segment): segment for segment in reversed(self.book.passages)}
        text = _flat(bare("\n".join(draft.texts)))
        return [
            Listed(number, first[key], self.of.folder, self._quotes(key, draft, text) if quotes else ()) for key, number in numbers.items()
        ]

    def _quotes(self, key: str, draft: Draft, text: str) -> tuple[str, ...]:
        """The quotes noted from a source that do not stand in the text already; without any, the passage nearest to its citations."""
        noted = dict.fromkeys(found.quote for found in self.of.findings if _key(found.source) == key)
        if not noted:
            for sentence in self._sentences(draft):
                for place in places(sentence):
                    if _key(self.book.passages[place]) == key:
                        noted[nearest(sentence, self.book.passages[place].text)] = None
        return tuple(quote for quote in noted if quote.strip() and _flat(quote) not in text)

    def _sentences(self, draft: Draft) -> list[str]:
        found = (judged(sentence) for text in draft.texts for sentence in split(text))
        return [sentence for sentence in found if _says_something(sentence)]

    def _judge(self, sentence: str) -> Judgement:
        if sentence not in self.judged:
            cited = [self.book.passages[place] for place in places(sentence)]
            pairs = [([f.quote for f in self.of.findings if _key(f.source) == _key(segment)], segment.text) for segment in cited]
            self.judged[sentence] = judge(sentence, pairs) if pairs else Judgement("uncited")
        return self.judged[sentence]

    def _checked(self, sentence: str, number_of: dict[int, int]) -> Checked:
        found = self._judge(sentence)
        sources = tuple(dict.fromkeys(number_of[place] for place in places(sentence)))
        return Checked(plain(sentence), sources, found.verdict, found.missing, found.evidence)

    def _flags(self, draft: Draft) -> list[str]:
        if self.of.extractive:
            return []
        flags = []
        for sentence in self._sentences(draft):
            found = self._judge(sentence)
            start = line(_start(plain(sentence)))
            if found.missing:
                flags.append(f"“{start}”: what it cites does not name {line(', '.join(found.missing))}.")
            elif found.verdict == "unsupported":
                flags.append(f"“{start}”: what it cites has few of its words.")
        return flags

    def _tables(self, draft: Draft, numbers: dict[str, int]) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """`sources.json` and `findings.json`: a source that only findings name is numbered after those cited."""
        numbers = dict(numbers)
        segments: dict[str, Segment] = {}
        for segment in [*self.book.passages, *(found.source for found in self.of.findings)]:
            segments.setdefault(_key(segment), segment)
        for found in self.of.findings:
            numbers.setdefault(_key(found.source), len(numbers) + 1)
        sources = tuple(_source_row(number, segments[key]) for key, number in numbers.items())
        return sources, tuple(_finding_row(found, numbers[_key(found.source)]) for found in self.of.findings)


def _fewer(text: str, excess: int) -> str:
    words = clean(text).removesuffix(" …").split()
    return " ".join(words[: max(1, len(words) - excess)]) + " …"


def _ended(texts: Sequence[str]) -> str:
    """Each with an end of its own: `What is it? And why?`, `The length. The weight.`"""
    return " ".join(text if text.endswith((".", "?", "!", "…", "。", "？", "！")) else f"{text}." for text in texts)


def _says_something(sentence: str) -> bool:
    """A sentence, not a heading, a table's head or a word of ours."""
    return TOKEN.search(sentence) is not None or (len(plain(sentence).split()) > 3 and not sentence.startswith(("|", "**", "```", "~~~")))


def _shorter(draft: Draft, excess: int) -> Draft | None:
    """Shorter by about half of what is too much: with the sentences go sources, which are not counted here."""
    before, shorter = _words_in(draft), draft.shorter()
    while shorter is not None and before - _words_in(shorter) < excess / 2 and (next_one := shorter.shorter()) is not None:
        shorter = next_one
    return shorter


def _words_in(draft: Draft) -> int:
    return sum(len(text.split()) for text in draft.texts)


def _finished(tokens: str, number_of: dict[int, int]) -> str:
    return ANCHOR.sub("", numbered(tokens, number_of, _bracketed))


def _bracketed(number: int) -> str:
    return f"[{number}]"


def _count(page: Page) -> int:
    """Words of the page as it will be written; a citation is one wherever it stands apart, whatever its number."""
    text = FIGURE.sub("![Figure 1](assets/figure.png)", page.markdown())
    return len(ANCHOR.sub("", TOKEN.sub("[1]", text)).split())


def _key(segment: Segment) -> str:
    """What makes two passages one source: their address, else themselves."""
    return segment.url.strip() or segment.id


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def _start(sentence: str, words: int = 12) -> str:
    parts = sentence.split()
    return sentence if len(parts) <= words else " ".join(parts[:words]) + " …"


def _capped(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MAX_LISTED else [*lines[:MAX_LISTED], f"and {len(lines) - MAX_LISTED} more"]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _source_row(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "number": number,
        "id": segment.id,
        "url": segment.url,
        "title": segment.title,
        "retrieved_at": segment.retrieved_at,
        "tool": segment.tool,
        **({"run": segment.earlier_run} if segment.earlier_run else {}),
    }


def _finding_row(found: Found, source: int) -> dict[str, Any]:
    return {"id": found.id, "claim": found.claim, "quote": found.quote, "source": source, "sub_question": found.sub_question}
