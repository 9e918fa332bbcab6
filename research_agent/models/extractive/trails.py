"""Which passages answer a question together: trails that begin at one the question finds, and go on along the names found in it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from .names import bare, names
from .prose import is_prose, sentences, terms
from .transcript import Passage, Search

ENTRIES = 4
"""Trails begin at the best documents of the plain search, and at those whose title the question names."""
BEAM = 8
"""Trails whose last passage is read for names to follow, in each round."""
KEPT = 40
"""Trails of a length that are made longer."""
MAX_PASSAGES = 3
RANK_PENALTY = 0.03
STEP_PENALTY = 0.08
NAME_WEIGHT = 1.5
"""Of a question's word that is part of a proper name, beside others."""
NEAR = 0.4
"""What it adds to a lead that its sentence says all of the question."""
PLACE_PENALTY = 0.02
COMMON_PENALTY = 0.2
_ADJECTIVE = re.compile(r"\w+(?:ian|ean|can|ese|ish|man|nch|ch)")
LINKED = {"title": 0.20, "in title": 0.10, "in text": 0.06, "same document": 0.06}
"""What a step is worth, by how the next passage is tied to the name followed."""


@dataclass(frozen=True, slots=True)
class Trail:
    passages: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Lead:
    """A name worth looking for, the passage it was found in, and what of the question stays open there."""

    name: str
    passage: str
    open_terms: tuple[str, ...]
    score: float


class Map:
    """The passages seen, as one question sees them. A value: built from what was shown, and then only asked."""

    def __init__(self, question: str, passages: dict[str, Passage], searches: Sequence[Search]) -> None:
        self.question = question
        self.passages = passages
        self.asked = tuple(dict.fromkeys(terms(question)))
        self.named = frozenset(terms(" ".join(names(question))))
        self.words = {key: frozenset(terms(f"{passage.title} {passage.text}")) for key, passage in passages.items()}
        self.weights = self._weights()
        self.total = sum(self.weights.values()) or 1.0
        self._found = {search.name.lower(): [key for result in search.results for key in result] for search in searches if search.name}
        self._titles: dict[str, list[str]] = {}
        self._documents: dict[str, list[str]] = {}
        for key, passage in passages.items():
            self._titles.setdefault(bare(passage.title), []).append(key)
            self._documents.setdefault(passage.url or passage.title, []).append(key)
        self._order = self._entries(searches)
        self.trails = self._walk()
        self.best: dict[str, Trail] = {}
        for trail in self.trails:
            for key in trail.passages:
                if key not in self.best or trail.score > self.best[key].score:
                    self.best[key] = trail
        self.ranking = sorted(self.best, key=lambda key: -self.best[key].score)

    def covered(self, keys: Sequence[str]) -> float:
        """The share of the question's words, by weight, that the passages hold between them."""
        return self.share(frozenset().union(*(self.words[key] for key in keys)))

    def share(self, held: Container[str]) -> float:
        """The same, of words."""
        return sum(self.weights[term] for term in self.asked if term in held) / self.total

    def leads(self, done: frozenset[str]) -> list[Lead]:
        """Names to look for next, best first, without those looked for already."""
        question_terms = frozenset(self.asked)
        leads: dict[str, Lead] = {}
        for trail in self.trails[:BEAM]:
            if len(trail.passages) == MAX_PASSAGES:
                continue
            held = frozenset().union(*(self.words[key] for key in trail.passages))
            still_open = tuple(term for term in self.asked if term not in held)
            here = self.passages[trail.passages[-1]]
            place = 0
            for sentence in (here.title, *filter(is_prose, sentences(here.text))):
                near = NEAR * self.share(terms(sentence))
                for name in names(sentence):
                    place += 1
                    key, name_terms = name.lower(), frozenset(terms(name))
                    if key in done or not name_terms or name_terms <= question_terms:
                        continue
                    common = COMMON_PENALTY if _ADJECTIVE.fullmatch(name) else 0.0
                    lead = Lead(name, trail.passages[-1], still_open, trail.score + near - PLACE_PENALTY * place - common)
                    if key not in leads or lead.score > leads[key].score:
                        leads[key] = lead
        return sorted(leads.values(), key=lambda lead: -lead.score)

    def _weights(self) -> dict[str, float]:
        """Rare words weigh more: rare among the passages seen, for the model knows no others."""
        seen = Counter(term for held in self.words.values() for term in held.intersection(self.asked))
        count = len(self.passages) + 1
        return {term: math.log(1 + count / (1 + seen[term])) * (NAME_WEIGHT if term in self.named else 1.0) for term in self.asked}

    def _entries(self, searches: Sequence[Search]) -> dict[str, int]:
        """Passages of the documents that the question itself finds, with their rank."""
        order: dict[str, int] = {}
        own = {name.lower() for name in names(self.question)}
        for search in searches:
            if not search.name and terms(search.query) == terms(self.question):
                for rank, result in enumerate(search.results):
                    order |= {key: min(rank, order.get(key, rank)) for key in result}
            elif search.name.lower() in own:
                for rank, result in enumerate(search.results[:3]):
                    for key in result:
                        exact = bare(self.passages[key].title) == search.name.lower()
                        order[key] = min(0 if exact else rank + 3, order.get(key, 99))
        for name in own:
            order.update(dict.fromkeys(self._titles.get(name, ()), 0))
        return order

    def _walk(self) -> list[Trail]:
        single = [Trail((key,), self.covered((key,)) - RANK_PENALTY * min(rank, 8)) for key, rank in self._order.items()]
        single.sort(key=lambda trail: -trail.score)
        starts = [trail for trail in single if self._order[trail.passages[0]] < ENTRIES]
        trails = list(single)
        for _ in range(MAX_PASSAGES - 1):
            starts = sorted((longer for trail in starts for longer in self._longer(trail)), key=lambda trail: -trail.score)[:KEPT]
            trails += starts
        return sorted(trails, key=lambda trail: -trail.score)

    def _longer(self, trail: Trail) -> list[Trail]:
        steps: dict[str, float] = {}
        here = self.passages[trail.passages[-1]]
        question_terms = frozenset(self.asked)
        for name in names(f"{here.title}.\n\n{here.text}"):
            if question_terms.issuperset(terms(name)):
                continue
            low = name.lower()
            for key in (*self._titles.get(low, ()), *self._found.get(low, ())):
                worth = self._tie(low, key)
                if worth and key not in trail.passages:
                    steps[key] = max(worth, steps.get(key, 0.0))
        for key in self._documents[here.url or here.title]:
            if key not in trail.passages:
                steps[key] = max(LINKED["same document"], steps.get(key, 0.0))
        longer = []
        for key, worth in steps.items():
            keys = (*trail.passages, key)
            longer.append(Trail(keys, 0.4 * trail.score + 0.6 * self.covered(keys) + worth - STEP_PENALTY))
        return longer

    def _tie(self, name: str, key: str) -> float:
        there = self.passages[key]
        if bare(there.title) == name:
            return LINKED["title"]
        if frozenset(terms(there.title)).issuperset(terms(name)):
            return LINKED["in title"]
        return LINKED["in text"] if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", there.text.lower()) else 0.0
