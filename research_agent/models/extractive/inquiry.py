"""The next move on a sub-question: search its words, follow names, read on, note the best sentences, say what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .names import names
from .prose import content_words, one_line, terms
from .quoting import choose
from .trails import Lead, Map
from .transcript import Finding, Transcript
from .writing import NOTHING, cited

ROUNDS = 2
"""Of following names, after the first search."""
SEARCHES = 9
"""Names looked for in a round, over all sub-questions that share the effort."""
NOTE_WORDS = 520
NOTES = 12
READINGS = 2
"""Long pages read in a round."""
QUERY_WORDS = 12
OWN_NAMES = 4
WHOLE = 3
"""The sub-question that is the question itself gets this many times the effort of a part."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    tool: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """A turn of the model: why, and either words or calls."""

    reasoning: str
    content: str = ""
    calls: tuple[ToolUse, ...] = ()


def next_move(transcript: Transcript, tools: frozenset[str]) -> Move:
    """Follows from the transcript alone. After a compaction it does not set out again: it recalls, notes and ends."""
    sub_question = transcript.sub_question[1] or transcript.question
    if transcript.kept or (transcript.compacted and _found_before(transcript)):
        return _told(transcript)
    if transcript.turns == 0 and (move := _open(transcript, sub_question, tools)).calls:
        return move
    map = Map(sub_question, transcript.passages, transcript.searches)
    if 0 < transcript.turns <= ROUNDS and not transcript.compacted and (move := _follow(transcript, map, tools)).calls:
        return move
    if transcript.turns <= ROUNDS + 1 and "note" in tools and (move := _note(transcript, map)).calls:
        return move
    return _told(transcript)


def _open(transcript: Transcript, sub_question: str, tools: frozenset[str]) -> Move:
    calls = []
    if (transcript.compacted or transcript.earlier) and "recall" in tools:
        calls.append(ToolUse("recall", {"query": sub_question}))
    if "web_search" in tools:
        done = {search.query for search in transcript.searches}
        own = names(sub_question)[:OWN_NAMES]
        queries = [sub_question, *(f'"{name}"' for name in own)]
        calls += [ToolUse("web_search", {"query": query}) for query in queries if query not in done]
        about = f", and for {', '.join(own)} by name" if own else ""
        return Move(f"Searching for the sub-question's words{about}.", calls=tuple(calls))
    if not calls and "recall" in tools:
        calls.append(ToolUse("recall", {"query": sub_question}))
    return Move("Recalling what was read on this.", calls=tuple(calls))


def _follow(transcript: Transcript, map: Map, tools: frozenset[str]) -> Move:
    reasons = []
    calls = []
    if "web_search" in tools:
        done = frozenset(search.name.lower() for search in transcript.searches if search.name)
        leads = map.leads(done | {name.lower() for name in names(map.question)[:OWN_NAMES]})[: max(3, round(SEARCHES * _share(transcript)))]
        calls += [ToolUse("web_search", {"query": _query(map, lead)}) for lead in leads]
        if leads:
            first = leads[0]
            more = f" and {_plural(len(leads) - 1, 'other name')}" if len(leads) > 1 else ""
            reasons.append(f"Looking for '{first.name}', named in {transcript.passages[first.passage].handle}{more}")
    if "scrape" in tools:
        urls = dict.fromkeys(transcript.passages[key].url for key in map.ranking[:8])
        long = [url for url in urls if url in transcript.unread][:READINGS]
        calls += [ToolUse("scrape", {"url": url}) for url in long]
        if long:
            reasons.append(f"Reading on in '{transcript.unread[long[0]] or long[0]}'")
    return Move("; ".join(reasons) + ".", calls=tuple(calls))


def _query(map: Map, lead: Lead) -> str:
    """The name, and the words of the question that are still open."""
    name = lead.name.replace('"', " ")
    return " ".join([f'"{name}"', *content_words(map.question, lead.open_terms)[:QUERY_WORDS]])


def _note(transcript: Transcript, map: Map) -> Move:
    share = _share(transcript)
    quotes = choose(map, round(NOTE_WORDS * share), max(3, round(NOTES * share)), transcript.tried, transcript.noted - transcript.tried)
    calls = tuple(ToolUse("note", {"claim": one_line(quote.text), "quote": quote.text, "source": quote.handle}) for quote in quotes)
    seen = len({passage.url or passage.title for passage in transcript.passages.values()})
    return Move(f"Noting {_plural(len(quotes), 'quote')} from {_plural(seen, 'document')} seen.", calls=calls)


def _told(transcript: Transcript) -> Move:
    kept = transcript.kept or _found_before(transcript)
    if not kept:
        return Move("No sentence that was read shares enough with the sub-question.", NOTHING)
    said = " ".join(cited(finding.quote, finding.handle) for finding in kept[:2])
    return Move(f"{_plural(len(kept), 'quote')} noted; no further lead is worth following.", said)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _found_before(transcript: Transcript) -> tuple[Finding, ...]:
    return tuple(finding for finding in transcript.findings if finding.sub_question == transcript.sub_question[0])


def _share(transcript: Transcript) -> float:
    """Of the whole effort, what the open sub-question gets."""
    whole = terms(transcript.question)
    weigh = {id: WHOLE if terms(text) == whole else 1 for id, text in transcript.plan}
    return weigh.get(transcript.sub_question[0], 1) / (sum(weigh.values()) or 1)
