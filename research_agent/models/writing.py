"""A report of quotations: what the extractive model makes of the findings. It says nothing of its own but a few fixed words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from research_agent.graphs.state import ReportDraft, SectionDraft

from .names import names
from .prose import is_prose, sentences, terms, word_count
from .questions import Comparison, answer_kind, comparison, may_answer
from .transcript import Finding, Transcript

DEFAULT_WORDS = 350
ANSWER_WORDS = 0.25
"""Of the report, at most, for the short answer."""
NOTHING = "Nothing that was read answers this."


def cited(quote: str, handle: str) -> str:
    """`"exact words" [S1203]`"""
    return f'"{" ".join(quote.split())}" [{handle}]'


def write(transcript: Transcript) -> ReportDraft:
    """The best quotes of each sub-question in turn, until the words are used up."""
    plan = transcript.plan or (("1", transcript.question),)
    findings = {id: [finding for finding in transcript.findings if finding.sub_question == id] for id, _ in plan}
    for id, text in plan:
        if not findings[id] and not transcript.findings:
            findings[id] = _from_pages(transcript, id, text)
    left = transcript.max_words or DEFAULT_WORDS
    left -= sum(word_count(NOTHING) for id, _ in plan if not findings[id])
    answer, used = _answer(transcript.question, plan, findings, int(left * ANSWER_WORDS))
    left -= word_count(answer)
    texts: dict[str, list[str]] = {id: [] for id, _ in plan}
    for finding in _in_turn([findings[id] for id, _ in plan]):
        for quote in _unsaid(finding, used):
            text = cited(quote, finding.handle)
            if word_count(text) <= left:
                texts[finding.sub_question].append(text)
                used.append(quote)
                left -= word_count(text)
    sections = [SectionDraft(sub_question=id, text=" ".join(texts[id]) or ("" if findings[id] else NOTHING)) for id, _ in plan]
    return ReportDraft(answer=answer or NOTHING, sections=[section for section in sections if section.text])


def _unsaid(finding: Finding, said: Sequence[str]) -> Iterator[str]:
    """The quote, or its sentences one by one where some of them were said already or there is no room for all."""
    parts = [text for text in sentences(finding.quote) if not any(text in other for other in said)]
    if len(parts) == len(sentences(finding.quote)):
        yield finding.quote
    for text in sorted(parts, key=lambda text: text != finding.claim):
        if not any(text in other for other in said):
            yield text


def _in_turn(columns: Sequence[Sequence[Finding]]) -> Iterator[Finding]:
    for row in zip_longest(*columns):
        yield from (finding for finding in row if finding is not None)


def _from_pages(transcript: Transcript, id: str, question: str) -> list[Finding]:
    """Where nothing was noted: the sentences of what was read that share the most words with the sub-question."""
    asked = frozenset(terms(question))
    found = [
        (len(asked.intersection(terms(text))), Finding(passage.handle, id, text, text))
        for passage in transcript.passages.values()
        for text in sentences(passage.text)
        if is_prose(text)
    ]
    return [finding for shared, finding in sorted(found, key=lambda item: -item[0])[:6] if shared]


def _answer(question: str, plan: Sequence[tuple[str, str]], findings: dict[str, list[Finding]], limit: int) -> tuple[str, list[str]]:
    """The short answer and the sentences it quotes: the best one, or one for each side of a comparison."""
    pair = comparison(question)
    if pair is None:
        candidates = [finding for id, _ in reversed(plan) for finding in findings[id]]
        best = _best(question, candidates)
        groups = [best[:2]]
    else:
        groups = [_best(text, findings[id])[:1] for id, text in plan]
    parts: list[str] = []
    used: list[str] = []
    for text, handle in (chosen for group in groups for chosen in group):
        part = cited(text, handle)
        if text not in used and (not parts or word_count(" ".join([*parts, part])) <= limit):
            parts.append(part)
            used.append(text)
    verdict = _verdict(pair, [findings[id] for id, _ in plan[:2]]) if pair and len(plan) > 1 else ""
    return " ".join([verdict, *parts] if verdict else parts), used


def _best(question: str, findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Sentences of the findings, those first that stand early, share the question's words and hold what it asks for."""
    asked = frozenset(terms(question))
    kind = answer_kind(question)
    scored = []
    for place, finding in enumerate(findings):
        for text in sentences(finding.quote):
            shared = len(asked.intersection(terms(text))) / (len(asked) or 1)
            scored.append((shared + may_answer(kind, text, asked) / 2 + 1 / (2 + place), text, finding.handle))
    return [(text, handle) for _, text, handle in sorted(scored, key=lambda item: -item[0])]


def _verdict(pair: Comparison, sides: Sequence[Sequence[Finding]]) -> str:
    """Yes or no, where comparing the words of the quotes can tell; it says what it compared."""
    if pair.form == "which" or len(sides) != 2 or not all(sides):
        return ""
    about = [_about(side, findings) for side, findings in zip(pair.sides, sides, strict=True)]
    if not all(about):
        return ""
    if pair.form == "same":
        known = frozenset(terms(" ".join((*pair.sides, pair.asked))))
        shared = [name for name in names(about[0]) if name in names(about[1]) and not known.intersection(terms(name))]
        return f"Yes, both quotes name {shared[0]}:" if shared else "No, the quotes name nothing that both share:"
    lacking = [side for side, text in zip(pair.sides, about, strict=True) if not frozenset(terms(pair.asked)) <= frozenset(terms(text))]
    return f"No, the quotes do not say it of {' or '.join(lacking)}:" if lacking else "Yes, the quotes say it of both:"


def _about(side: str, findings: Sequence[Finding]) -> str:
    """What the quotes that name it say of one side."""
    own = frozenset(terms(side))
    return " ".join(finding.quote for finding in findings if own & frozenset(terms(finding.quote)))
