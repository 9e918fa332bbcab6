"""Which sentences to quote: every sentence of the pages on the trails, ranked for how likely it holds what is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .prose import is_prose, sentences, terms, word_count
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

    @property
    def value(self) -> float:
        return sum(WEIGHTS[name] * value for name, value in self.features.items())

    @property
    def rank(self) -> float:
        return self.value - BREVITY * math.log(word_count(self.text))


@dataclass(frozen=True, slots=True)
class Quote:
    """Exact words of one passage, and the sentence among them that earned the place."""

    text: str
    best: str
    handle: str


def rank(map: Map) -> list[Sentence]:
    """The sentences of the map's best pages that read as prose, best first."""
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
        start = 0
        for text in sentences(map.passages[key].text):
            start = map.passages[key].text.index(text, start)
            if is_prose(text) and text not in found:
                held = frozenset(terms(text))
                said = sum(map.weights[term] for term in map.asked if term in held) / map.total
                features = {
                    "behind": trail.score - top,
                    "place": 1 / (1 + place),
                    "opening": float(not any(other.passage == key for other in found.values()) and bool(about & held)),
                    "asked": said,
                    "account": said if kind == "account" else 0.0,
                    "open": sum(map.weights[term] for term in still_open if term in held) / open_weight,
                    "kind": float(may_answer(kind, text, asked)),
                    "tied": float(bool(tied & held)),
                }
                found[text] = Sentence(text, key, start, features)
            start += len(text)
    return sorted(found.values(), key=lambda sentence: -sentence.rank)


def choose(map: Map, budget_words: int, most: int, without: frozenset[str] = frozenset()) -> list[Quote]:
    """The best quotes within a budget of words, best first; neighbours in a passage become one quote."""
    chosen: list[Sentence] = []
    left = budget_words
    ranked = rank(map)
    for sentence in ranked:
        if sentence.rank < ranked[0].rank - FAR_BEHIND:
            break
        words = word_count(sentence.text)
        if words <= left and not any(sentence.text in quote for quote in without):
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
                and word_count(" ".join(part.text for part in [*last, sentence])) <= QUOTE_WORDS
            ):
                last.append(sentence)
                continue
        groups.append([sentence])
    return sorted(groups, key=lambda group: min(order[sentence.text] for sentence in group))


def _quote(map: Map, group: list[Sentence]) -> Quote:
    passage = map.passages[group[0].passage]
    text = passage.text[group[0].start : group[-1].start + len(group[-1].text)]
    return Quote(text, max(group, key=lambda sentence: sentence.rank).text, passage.handle)
