"""A report of quotations: what the extractive model makes of the findings. It says nothing of its own but a few fixed words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from research_agent.graphs.state import ReportDraft, SectionDraft

from .names import names
from .prose import FUNCTION_WORDS, WORD, is_line, is_prose, one_line, sentences, terms, word_count
from .questions import Comparison, answer_kind, comparison, may_answer
from .transcript import Finding, Transcript

DEFAULT_WORDS = 350
ANSWER_WORDS = 0.25
"""Of the report, at most, for the short answer, if it is more than one sentence."""
SPELLED = 0.5
"""What it adds that a word is the question's very word, and not only of its family: `carter`, where `miller` has but the stem of mill."""
MOST_READ, LEAST_SHARED = 4, 2
"""Sentences quoted where none was noted, and the words that each must share with the sub-question."""
NOTHING = "Nothing that was read answers this."


def cited(quote: str, handle: str) -> str:
    """`"exact words" [S1203]`"""
    return f'"{one_line(quote)}" [{handle}]'


def write(transcript: Transcript) -> ReportDraft:
    """The best quotes of each sub-question in turn, until the words are used up."""
    plan = transcript.plan or (("1", transcript.question),)
    findings = {id: [finding for finding in transcript.findings if finding.sub_question == id] for id, _ in plan}
    for id, text in plan:
        if not findings[id]:
            findings[id] = _from_pages(transcript, id, text)
    left = transcript.max_words or DEFAULT_WORDS
    left -= sum(word_count(NOTHING) for id, _ in plan if not findings[id])
    answer, used = _answer(transcript.question, plan, findings, left)
    left -= word_count(answer)
    texts: dict[str, list[str]] = {id: [] for id, _ in plan}
    asked = dict(plan)
    for finding in _in_turn([findings[id] for id, _ in plan]):
        for quote in _unsaid(finding, used, asked[finding.sub_question]):
            text = cited(quote, finding.handle)
            if word_count(text) <= left:
                texts[finding.sub_question].append(text)
                used.append(quote)
                left -= word_count(text)
    for id, question in plan:
        if (
            len(plan) > 1 and findings[id] and not texts[id]
        ):  # all of it was said above: a part of the question is not left without its answer
            text = cited(*_best(question, findings[id])[0])
            if word_count(text) <= left:
                texts[id].append(text)
                left -= word_count(text)
    sections = [SectionDraft(sub_question=id, text=" ".join(texts[id]) or ("" if findings[id] else NOTHING)) for id, _ in plan]
    return ReportDraft(answer=answer or NOTHING, sections=[section for section in sections if section.text])


def _unsaid(finding: Finding, said: Sequence[str], question: str) -> Iterator[str]:
    """The quote, or its sentences one by one where some of them were said already or there is no room for all."""
    parts = [text for text in sentences(finding.quote) if not any(text in other for other in said)]
    if len(parts) == len(sentences(finding.quote)):
        yield finding.quote
    asked = frozenset(terms(question))
    for text in sorted(parts, key=lambda text: -len(asked.intersection(terms(text)))):
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
        if is_prose(text) or is_line(text)
    ]
    least = min(LEAST_SHARED, len(asked)) or 1
    return [finding for shared, finding in sorted(found, key=lambda item: -item[0])[:MOST_READ] if shared >= least]


def _answer(question: str, plan: Sequence[tuple[str, str]], findings: dict[str, list[Finding]], most: int) -> tuple[str, list[str]]:
    """The short answer and the sentences it quotes: the best two, or one for each part of a question of several."""
    pair = comparison(question)
    everything = [finding for id, _ in plan for finding in findings[id]]
    sides = [_naming(side, everything) for side in pair.sides] if pair else []
    if pair and all(sides):
        groups = [_best(pair.asked or question, side)[:1] for side in sides]
    elif len(plan) > 1 and all(text != question for _, text in plan):
        groups = [_best(text, findings[id])[:1] for id, text in plan]
    else:
        groups = [_best(question, [finding for id, _ in reversed(plan) for finding in findings[id]])[:2]]
    verdict = _verdict(pair, sides) if pair and all(sides) else ""
    parts: list[str] = [verdict] if verdict else []
    used: list[str] = []
    for text, handle in (chosen for group in groups for chosen in group):
        part = cited(text, handle)
        room = int(most * ANSWER_WORDS) if used else most
        if text not in used and word_count(" ".join([*parts, part])) <= room:
            parts.append(part)
            used.append(text)
    return " ".join(parts), used


def _best(question: str, findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Sentences of the findings, those first that stand early, share the question's words and hold what it asks for."""
    asked = frozenset(terms(question))
    kind = answer_kind(question)
    spelled = _spelled(question)
    scored = []
    for place, finding in enumerate(findings):
        for text in sentences(finding.quote):
            shared = len(asked.intersection(terms(text))) / (len(asked) or 1)
            shared += SPELLED * len(spelled & _spelled(text)) / (len(spelled) or 1)
            fits = may_answer(kind, text, asked)
            scored.append((shared + fits * (0.5 if kind == "name" else 0.75) + 1 / (3 + place), text, finding.handle, fits))
    scored.sort(key=lambda item: -item[0])
    return [(text, handle) for _, text, handle, fits in scored if fits or not scored[0][3]]


def _spelled(text: str) -> frozenset[str]:
    """Its words as they are, without the small ones."""
    return frozenset(word for word in map(str.lower, WORD.findall(text)) if word not in FUNCTION_WORDS)


def _verdict(pair: Comparison, sides: Sequence[Sequence[Finding]]) -> str:
    """Yes or no, where comparing the words of the quotes can tell; it says what it compared."""
    if pair.form == "which":
        return ""
    about = [" ".join(finding.quote for finding in findings) for findings in sides]
    if pair.form == "same":
        return _same(pair, *about)
    lacking = [side for side, text in zip(pair.sides, about, strict=True) if not frozenset(terms(pair.asked)) <= frozenset(terms(text))]
    return f"No, the quotes do not say it of {' or '.join(lacking)}:" if lacking else "Yes, the quotes say it of both:"


def _same(pair: Comparison, left: str, right: str) -> str:
    """What both quotes name. It is the same one only where each says so: `in Jiangsu province`, and not merely `in China`."""
    known = frozenset(terms(" ".join((*pair.sides, pair.asked))))
    kind = re.search(r"\bsame (\w+)", pair.asked)
    noun = re.escape(kind[1]) if kind else ""
    ours, theirs = ([name for name in names(text) if not known.intersection(terms(name)) and not name.isupper()] for text in (left, right))
    shared = [name for name in ours if name in theirs]
    kinds = [
        [name for name in found if noun and re.search(rf"{re.escape(name)},? {noun}\b|\b{noun} of {re.escape(name)}", text, re.IGNORECASE)]
        for found, text in ((ours, left), (theirs, right))
    ]
    if both := [name for name in kinds[0] if name in kinds[1]]:
        return f"Yes, both quotes name {both[0]}:"
    if not shared or all(kinds):
        return "No, the quotes name none that both share:"
    return f"Both quotes name {shared[0]}:"


def _naming(side: str, findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose quotes name one side, in sentences of their own where there are any."""
    own = frozenset(terms(side))
    naming = [
        Finding(finding.handle, finding.sub_question, text, text)
        for finding in findings
        for text in sentences(finding.quote)
        if own <= frozenset(terms(text))
    ]
    return naming or [finding for finding in findings if own & frozenset(terms(finding.quote))]
