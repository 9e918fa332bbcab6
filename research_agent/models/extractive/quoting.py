"""Which sentences to quote: every sentence of the pages on the trails, ranked for how likely it holds what is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .prose import ends_well, is_line, is_prose, is_rule, one_line, sentences, terms, word_count
from .questions import answer_kind, may_answer
from .trails import Map

PASSAGES = 25
"""Of a map's best, read for quotes."""
QUOTE_WORDS = 90
"""A quote of neighbouring sentences is no longer than this."""
BREVITY = 0.3
"""How much a long sentence must be better than a short one; at 1, value counts per word."""

FAR_BEHIND = 3.0
"""A sentence that much worse than the best is not quoted, however much room there is."""

LINE_MARGIN = 1.2
"""A table's row or a list's item reads worse than a sentence: it is quoted where it answers this much better than any sentence does."""
LEAST_SHARED = 1 / 3
"""Of what the best sentence shares with the question; less is about something else, unless a name led there."""
AGAIN = 2
"""Of the best sentences, may be noted a second time: one document answers several sub-questions."""

WEIGHTS = {
    "behind": 3.0,  # how far its page's best trail is behind the best of all (negative)
    "place": 0.5,  # its page is among the first
    "opening": 0.5,  # it opens its page
    "asked": 1.5,  # it says the question's words
    "open": 1.5,  # it says those that the trail's other pages do not
    "account": 2.0,  # the same, where what is asked for shows in no form
    "kind": 2.0,  # it holds something of the kind asked for: a number, a year, a name
    "tied": 0.5,  # it names another page of its trail
}
"""By logistic regression over the sentences of 200 multi-hop questions, rounded; each half of them gives the same within a point or two."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence where it stands."""

    text: str
    passage: str
    start: int
    """Offset in its passage."""
    features: Mapping[str, float]
    prose: bool
    shared: float
    """Of the question's words, by weight, what it and its page's title say."""
    led_to: bool
    """A name found in a page that shares the question's words led to its page."""

    @property
    def strength(self) -> float:
        """How well it answers by itself: what a line is measured by beside prose."""
        return self.shared + self.features["kind"] / 2

    @property
    def value(self) -> float:
        return sum(WEIGHTS[name] * value for name, value in self.features.items())

    @property
    def rank(self) -> float:
        return self.value - BREVITY * math.log(word_count(self.text))


@dataclass(frozen=True, slots=True)
class Quote:
    """Exact words of one passage."""

    text: str
    handle: str


def rank(map: Map) -> list[Sentence]:
    """The sentences of the map's best pages, best first: prose, and the lines that answer better than any prose does."""
    found = _sentences(map)
    needed = max((sentence.strength for sentence in found if sentence.prose), default=0.0)
    least = LEAST_SHARED * max((sentence.shared for sentence in found), default=0.0)
    quotable = [s for s in found if s.prose or (s.features["asked"] and s.strength >= LINE_MARGIN * needed)]
    about_it = [sentence for sentence in quotable if sentence.led_to or sentence.shared > least]
    return sorted(about_it, key=lambda sentence: -sentence.rank)


def _sentences(map: Map) -> list[Sentence]:
    asked = frozenset(map.asked)
    kind = answer_kind(map.question)
    found: dict[str, Sentence] = {}
    top = map.best[map.ranking[0]].score if map.ranking else 0.0
    for place, key in enumerate(map.ranking[:PASSAGES]):
        trail = map.best[key]
        others = [other for other in trail.passages if other != key]
        elsewhere = frozenset[str]().union(*(map.words[other] for other in others))
        tied = frozenset[str]().union(*(terms(map.passages[other].title) for other in others)) - asked
        still_open = [term for term in map.asked if term not in elsewhere]
        open_weight = sum(map.weights[term] for term in still_open) or 1.0
        about = frozenset(terms(map.passages[key].title))
        led_to = trail.passages[0] != key and map.covered(trail.passages[:1]) > 0
        opening = True
        start = 0
        for text, prose, head in _candidates(map.passages[key].text):
            start = map.passages[key].text.index(text, start)
            if text not in found:
                own = frozenset(terms(text))
                held = own | head
                said = map.share(held) if own & asked else 0.0  # a row that shares its table's head only answers nothing
                features = {
                    "behind": trail.score - top,
                    "place": 1 / (1 + place),
                    "opening": float(opening and bool(about & held)),
                    "asked": said,
                    "account": said if kind == "account" else 0.0,
                    "open": sum(map.weights[term] for term in still_open if term in held) / open_weight,
                    "kind": float(may_answer(kind, text, asked)),
                    "tied": float(bool(tied & held)),
                }
                found[text] = Sentence(text, key, start, features, prose, map.share(held | about), led_to)
                opening = opening and not prose
            start += len(text)
    return list(found.values())


def _candidates(text: str) -> Iterator[tuple[str, bool, frozenset[str]]]:
    """What of a passage can be quoted, whether it is prose, and the words at the head of its table, if it is a row."""
    parts = sentences(text)
    head: frozenset[str] = frozenset()
    for part, following in zip(parts, (*parts[1:], ""), strict=True):
        if "|" not in part:
            head = frozenset()
        if is_rule(following):
            head = frozenset(terms(part))
        elif is_prose(part):
            yield part, True, frozenset()
        elif is_line(part) and not is_rule(part):
            yield part.strip("| \t"), False, head


def choose(
    map: Map, budget_words: int, most: int, without: frozenset[str] = frozenset(), elsewhere: frozenset[str] = frozenset()
) -> list[Quote]:
    """The best quotes within a budget of words, best first; neighbours in a passage become one quote.

    Nothing of `without` again. What is noted `elsewhere`, on another sub-question, only if it is among the very best here.
    """
    chosen: list[Sentence] = []
    left = budget_words
    ranked = rank(map)
    for place, sentence in enumerate(ranked):
        if sentence.rank < ranked[0].rank - FAR_BEHIND:
            break
        words, text = word_count(sentence.text), one_line(sentence.text)
        if any(text in quote for quote in without):
            continue
        if any(text in quote for quote in elsewhere):
            if place < AGAIN:
                chosen.append(sentence)
        elif words <= left:
            chosen.append(sentence)
            left -= words
    return [_quote(map, group) for group in _joined(map, chosen)][:most]


def _joined(map: Map, chosen: list[Sentence]) -> list[list[Sentence]]:
    """Groups of neighbouring sentences, in the order of each group's best."""
    order = {sentence.text: number for number, sentence in enumerate(chosen)}
    groups: list[list[Sentence]] = []
    for sentence in sorted(chosen, key=lambda sentence: (sentence.passage, sentence.start)):
        last = groups[-1] if groups else None
        if last and last[-1].passage == sentence.passage:
            between = map.passages[sentence.passage].text[last[-1].start + len(last[-1].text) : sentence.start]
            if (
                not between.strip()
                and "\n\n" not in between
                and ("\n" not in between or ends_well(last[-1].text))  # a quote is read again as one line
                and word_count(" ".join(part.text for part in [*last, sentence])) <= QUOTE_WORDS
            ):
                last.append(sentence)
                continue
        groups.append([sentence])
    return sorted(groups, key=lambda group: min(order[sentence.text] for sentence in group))


def _quote(map: Map, group: list[Sentence]) -> Quote:
    passage = map.passages[group[0].passage]
    return Quote(passage.source[group[0].start : group[-1].start + len(group[-1].text)], passage.handle)
