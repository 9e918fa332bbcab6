"""Which of what was found serves a query best. Pure; no database, no clock.

A chunk's score is a weighted sum of the signs that speak for it: what it says (its words and its nearness in meaning, two views of one
thing), its title, its site and years where the query names one, and one hop, from the best chunks to those whose title they mention or
with which they share a rare name. The weights were fitted on public multi-hop questions, one set against the other;
`benchmarks/retrieval.py`, `evidence.py` and `provenance.py` print what each brings.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .chunks import Chunk
from .provenance import is_of, sites, wants_newest, years
from .words import STOP, known_bag, known_mentions, known_names, known_title, marked, names, raw_words, stem, terms

SEEDS = 10
"""So many chunks, the best by themselves, lead on to others."""
THOUGHTS = 4
"""So many thoughts, those that asked most of what the query asks, lead to what was read for them."""
FOLLOWED = (1.0, 0.7, 0.5)
"""What a thought counts, and those that came next: one question leads to the next."""
_ASKED = 0.5
_LEAST_ASKED = 0.2  # of a query's words, as they tell: a thought that holds one of them asked something else
RARE = 10
"""A name held by more chunks than this leads nowhere."""
_GOOD = 0.5
_MOST_TERMS = 24
_COVERED = 0.4  # of a query: a passage that holds less of it than that has only common words of it, and counts less


@dataclass(frozen=True, slots=True)
class Weights:
    """What each sign counts. All signs are of one scale, whatever the query: 1 is as much as a passage can be expected to show."""

    words: float = 1.0
    """BM25, over what a passage would get that held every word of the query once."""
    titled: float = 0.45
    """The chunk's title stands in the query."""
    title: float = 0.5
    """Share of the title's words that are the query's."""
    named: float = 0.5
    """Share of the query that is names the chunk holds."""
    hop: float = 0.95
    """A good chunk mentions this one's title."""
    shared: float = 0.35
    """A good chunk and this one hold a rare name that the query does not."""
    dense: float = 2.0
    """Nearness in meaning, above that of what is only the nearest there is."""
    read: float = 1.0
    """It was read after a thought that asks the same."""
    beside: float = 0.8
    """A paragraph is cut in two here: what the other part of it counts is passed on."""
    dated: float = 0.3
    """Share of the query's years that the chunk holds."""
    sourced: float = 0.7
    """The query names the chunk's site."""
    newest: float = 0.5
    """The query asks for the newest: its year among those of the good chunks, 1 for the last."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for, and how much each word of it tells."""

    text: str
    weight: Mapping[str, float]
    """By stem."""
    names: frozenset[str]
    years: frozenset[int]
    sites: frozenset[str]
    newest: bool
    size: int

    @property
    def total(self) -> float:
        return sum(self.weight.values()) or 1.0


@dataclass(frozen=True, slots=True)
class Ranked:
    chunk: Chunk
    score: float


def expressions(query: str) -> dict[str, str]:
    """A query's words by stem, each as an FTS5 expression: quoted, so that nothing in a query is syntax."""
    return {stem(term): f'"{marked(term)}"' for term in terms(query)[:_MOST_TERMS]}


def nearness(cosine: float, floor: float) -> float:
    """0 to 1. `floor`: the cosine of the last of the nearest, which an embedder gives to anything."""
    return max(cosine - floor, 0.0) / max(1.0 - floor, 1e-6)


def read(text: str, frequency: Mapping[str, int], size: int) -> Query:
    """`frequency`: in how many of `size` chunks each stem is."""
    weight = {word: _telling(n, size) for word, n in frequency.items()}
    asked = (" ".join(word for word in key.split() if word not in STOP) for key in names(text))
    return Query(text, weight, frozenset(key for key in asked if key), years(text), sites(text), wants_newest(text), size)


def _telling(held: int, size: int) -> float:
    """How much a word tells that so many of `size` chunks hold."""
    return math.log(1 + (max(size - held, 0) + 0.5) / (held + 0.5))


def _ends(chunk: Chunk) -> bool:
    """Whether the chunk ends with its paragraph."""
    return chunk.text.endswith("\n")


@dataclass(slots=True)
class _Seen:
    """A candidate, and what was counted in it."""

    chunk: Chunk
    dense: float
    key: str
    """Of its title."""
    size: int
    """Words of its text."""
    length: int
    """Words, those of the title twice: a word of the title says what all of it is about."""
    counts: Mapping[str, int]
    """The query's words among them, by stem."""
    titles: float
    """What its title, and the names in it that the query has, count."""
    told: float
    """What its site and years count."""
    own: float = 0.0
    """BM25; 1 if it held every word of the query once."""
    alone: float = 0.0
    """All that speaks for it by itself."""


class Ranking:
    """Candidates of one query, scored together: `add`, look where `leads` go, `add` what is there, `ranked`."""

    def __init__(self, query: Query, weights: Weights | None = None) -> None:
        self._query = query
        self._weights = weights or Weights()
        self._asked = f" {' '.join(raw_words(query.text))} "
        self._seen: dict[int, _Seen] = {}
        self._seeds: list[tuple[_Seen, float]] = []
        self._read: dict[int, float] = defaultdict(float)

    def add(self, chunks: Iterable[Chunk], dense: Mapping[int, float]) -> None:
        """`dense`: nearness in meaning to the query, by chunk, where it is known."""
        for chunk in chunks:
            if chunk.id not in self._seen:
                self._seen[chunk.id] = self._see(chunk, dense.get(chunk.id, 0.0))

    def _see(self, chunk: Chunk, dense: float) -> _Seen:
        (titled, title), (size, text) = known_bag(chunk.title), known_bag(chunk.text)
        counts = {word: text[word] for word in self._query.weight if word in text}
        for word in title.keys() & self._query.weight.keys():
            counts[word] = counts.get(word, 0) + 2 * title[word]
        key, told = known_title(chunk.title).key, self._told(chunk)
        return _Seen(chunk, dense, key, size, size + 2 * titled, counts, self._titles(key, chunk), told)

    def leads(self) -> tuple[frozenset[str], frozenset[str]]:
        """Keys of titles, and names, to look up: what the best candidates mention and the query does not."""
        self._seeds = self._best()
        titles = {key for seed, _ in self._seeds for key in known_mentions(seed.chunk.text)}
        shared = {key for seed, _ in self._seeds for key in known_names(f"{seed.chunk.title}. {seed.chunk.text}")}
        return frozenset(filter(self._new, titles)), frozenset(filter(self._new, shared))

    def thoughts(self, chunks: Iterable[Chunk]) -> list[tuple[int, float]]:
        """The thoughts that asked what the query asks, by segment, best first, with how much of it: 1 is all."""
        good: dict[int, float] = defaultdict(float)
        total = self._query.total
        for one in (self._see(chunk, 0.0) for chunk in chunks):
            held = sum(self._query.weight[word] for word in one.counts)
            good[one.chunk.segment] = max(good[one.chunk.segment], held / total)
        best = sorted(good.items(), key=lambda pair: (-pair[1], pair[0]))[:THOUGHTS]
        return [(segment, value) for segment, value in best if value >= max(_ASKED * best[0][1], _LEAST_ASKED)]

    def follow(self, good: float, thought: Sequence[Chunk], read: Sequence[Chunk]) -> None:
        """What was read after a thought counts as much as the thought is `good`, and the more the more it is about what was thought."""
        said = dict.fromkeys(stem(word) for chunk in thought for word in terms(chunk.text))
        bags = [known_bag(chunk.title).counts.keys() | known_bag(chunk.text).counts.keys() for chunk in read]
        held = [[word for word in said if word in words] for words in bags]
        common = Counter(word for words in held for word in words)
        about = [sum(math.log(1 + (len(read) - common[word] + 0.5) / (common[word] + 0.5)) for word in words) for words in held]
        best = max(about, default=0.0) or 1.0
        for chunk, value in zip(read, about, strict=True):
            self._read[chunk.id] = max(self._read[chunk.id], good * value / best)

    def parts(self) -> list[int]:
        """Ids, to look up: chunks that a paragraph of the best may go on in, or come from. A segment's chunks follow one another."""
        best = [one.chunk for one, _ in self._seeds]
        return [*(one.id + 1 for one in best if not _ends(one)), *(one.id - 1 for one in best if one.n)]

    def ranked(self, rare: Mapping[str, Sequence[int]]) -> list[Ranked]:
        """Best first; equal ones in the order of the run. `rare`: the chunks that hold each rare name of `leads`."""
        weights, hops, shared = self._weights, self._hops(), self._shares(rare)
        scores = {
            id: one.alone + weights.hop * hops[id] + weights.shared * shared[id] + weights.read * self._read[id]
            for id, one in self._weighed().items()
        }
        for id, newness in self._newness(scores).items():
            scores[id] += weights.newest * newness
        ranked = [Ranked(self._seen[id].chunk, max(score, weights.beside * self._other_part(id, scores))) for id, score in scores.items()]
        return sorted(ranked, key=lambda item: (-item.score, item.chunk.place))

    def _best(self) -> list[tuple[_Seen, float]]:
        """The candidates that lead on to others, and how good each is, at most 1: one that holds little of the query leads nowhere far."""
        best = sorted(self._weighed().values(), key=lambda one: (-one.alone, one.chunk.place))[:SEEDS]
        return [(one, one.alone / max(best[0].alone, 1.0)) for one in best]

    def _other_part(self, id: int, scores: Mapping[int, float]) -> float:
        """The better score of the chunks that a paragraph of this one goes on in, or comes from."""
        cuts = ((id - 1, id - 1, id), (id + 1, id, id + 1))
        return max((scores[other] for other, first, second in cuts if other in scores and self._cut(first, second)), default=0.0)

    def _cut(self, first: int, second: int) -> bool:
        one, then = self._seen[first].chunk, self._seen[second].chunk
        return one.segment == then.segment and not _ends(one)

    def _newness(self, scores: Mapping[int, float]) -> dict[int, float]:
        """Where the query asks for the newest. Only what is half as good as the best says which years are meant."""
        if not self._query.newest:
            return {}
        least = _GOOD * max(scores.values(), default=0.0)
        found = {id: years(f"{one.chunk.title} {one.chunk.text}") for id, one in self._seen.items() if scores[id] >= least}
        dated = {id: max(held) for id, held in found.items() if held}
        first, last = min(dated.values(), default=0), max(dated.values(), default=0)
        return {id: (year - first) / (last - first) for id, year in dated.items()} if last > first else {}

    def _hops(self) -> dict[int, float]:
        """By chunk: how good the best seed is that mentions its title."""
        titles: dict[str, list[_Seen]] = defaultdict(list)
        for one in self._seen.values():
            if one.key and self._new(one.key):
                titles[one.key].append(one)
        reached: dict[int, float] = defaultdict(float)
        for seed, good in self._seeds:
            for one in (one for key in known_mentions(seed.chunk.text) & titles.keys() for one in titles[key]):
                if one.chunk.segment != seed.chunk.segment:
                    reached[one.chunk.id] = max(reached[one.chunk.id], good)
        return reached

    def _shares(self, rare: Mapping[str, Sequence[int]]) -> dict[int, float]:
        """By chunk: how good the best seed is that holds a rare name with it, and how rare."""
        reached: dict[int, float] = defaultdict(float)
        for seed, good in self._seeds:
            strength: dict[int, float] = defaultdict(float)
            for name in known_names(f"{seed.chunk.title}. {seed.chunk.text}") & rare.keys():
                for id in rare[name]:
                    strength[id] += 1 / max(len(rare[name]) - 1, 1)
            for id, value in strength.items():
                if id in self._seen and self._seen[id].chunk.segment != seed.chunk.segment:
                    reached[id] = max(reached[id], good * min(value, 1.0))
        return reached

    def _new(self, key: str) -> bool:
        return f" {key} " not in self._asked

    def _weighed(self) -> dict[int, _Seen]:
        seen = self._seen.values()
        average = sum(one.size for one in seen) / max(len(seen), 1) or 1.0
        # the ledger's index cuts words otherwise: one that is rare there may be common as it is cut here
        held = Counter(word for one in seen for word in one.counts)
        weight = {word: min(told, _telling(held[word], self._query.size)) for word, told in self._query.weight.items()}
        for one in seen:
            norm = 1.2 * (0.25 + 0.75 * one.length / average)
            one.own = sum(weight[word] * 2.2 * n / (n + norm) for word, n in one.counts.items())
        # the best counts 1, unless all it has of the query are words that tell little
        scale = max(max((one.own for one in seen), default=0.0), _COVERED * self._query.total) or 1.0
        for one in seen:
            one.own /= scale
            # what is said in the same words is near in meaning too: it is not good twice
            says = math.hypot(self._weights.words * one.own, self._weights.dense * one.dense)
            one.alone = says + one.titles + min(says, 1.0) * one.told
        return self._seen

    def _titles(self, key: str, chunk: Chunk) -> float:
        """What a candidate's title counts, and the names it holds."""
        query, weights = self._query, self._weights
        content = known_title(chunk.title).content
        of_title = len(content & query.weight.keys()) / len(content) if content else 0.0
        titled = bool(key) and not self._new(key)
        held = [name for name in query.names if self._holds(chunk, name)]
        named = sum(max(query.weight.get(stem(word), 0.0) for word in name.split()) for name in held) / query.total
        return weights.titled * titled + weights.title * of_title + weights.named * named

    def _holds(self, chunk: Chunk, name: str) -> bool:
        """Whether its words stand together there; that they are there at all is known already."""
        title, text = known_bag(chunk.title).counts, known_bag(chunk.text).counts
        if not all(word in text or word in title for word in map(stem, name.split())):
            return False
        return f" {name} " in f" {' '.join((*raw_words(chunk.title), *raw_words(chunk.text)))} "

    def _told(self, chunk: Chunk) -> float:
        """What a candidate's years and site count, of those that say what is asked."""
        query, weights = self._query, self._weights
        dated = len(query.years & years(f"{chunk.title} {chunk.text}")) / len(query.years) if query.years else 0.0
        return weights.dated * dated + weights.sourced * is_of(chunk.url, query.sites)
