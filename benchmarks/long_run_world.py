"""The world of the long run: its pages, what is planted in them, and what its ideal reader does in each of 300 steps. All from one seed.

A page is prose about towns, ships and works that do not exist, of 500 to 6,000 tokens, or half of it paragraphs of a corpus. The sixty
facts stand in the midst of pages, which say nothing of them in their title.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from long_run_facts import FACTS, Fact

from research_agent.memory import estimate_tokens
from research_agent.memory.words import stem, terms

STEPS = 300
FIRST_PROBE = 30
YOUNGEST, OLDEST = 25, 250
SUB_QUESTIONS = 6
RESULTS = 5
PAGE_TOKENS = math.exp(7.8)
"""Half of the pages are longer."""

_SYLLABLES = [
    "an",
    "bel",
    "cor",
    "dra",
    "el",
    "far",
    "gul",
    "hal",
    "in",
    "jor",
    "kel",
    "lor",
    "mar",
    "nor",
    "os",
    "pel",
    "quin",
    "ros",
    "sten",
    "tor",
    "ul",
    "var",
    "wen",
    "yl",
    "zan",
]
_KINDS = [
    "harbour",
    "canal",
    "foundry",
    "mill",
    "abbey",
    "theatre",
    "railway",
    "reservoir",
    "mine",
    "school",
    "hospital",
    "market",
    "observatory",
    "printer",
    "regatta",
    "museum",
]
_SENTENCES = (
    "The {kind} of {place} was built in {year} by {person}, who had seen a similar one at {place2}.",
    "In {year} the council voted {number} crowns for its repair, against the advice of {person}.",
    "Its walls are {small} metres thick where they face the {side}, and of plain brick elsewhere.",
    "{person} wrote that no traveller who came from {place2} could miss the smoke above its roofs.",
    "The accounts name {small} workers in a usual week and {number2} in the season of the {season} fairs.",
    "A fire in the winter of {year} destroyed the eastern half, and the records of the years before it.",
    "It was measured again by {person}, whose figure of {number} is the one that later authors repeat.",
    "The dispute with {place2} over the water rights was settled in {year}, to nobody's satisfaction.",
    "Visitors are told that the {kind} once fed {number2} families, though the registers suggest fewer.",
    "The machine that stood in the hall was sold to {place2} for {number} crowns and never seen again.",
    "According to {person}, the first season was a failure and the second hardly better.",
    "A plaque of {year} remembers the {small} who drowned when the {side} bank gave way.",
    "The road from {place2} was paved {small} years later, which doubled the traffic of the {season} months.",
    "{person} kept a diary of the works, of which {small} volumes survive in the town archive.",
    "None of the surviving plans agrees with what stands there, and the oldest was drawn from memory.",
    "By {year} the company owed {number} crowns to the bank of {place2} and let most of its people go.",
    "The cellar floods each {season}, for which the builder blamed the {side} wind and everyone else the builder.",
    "Its present use as a store dates from {year}, when the state bought it for a symbolic sum.",
)
_THOUGHTS = (
    "The page on {title} gives some background, but I should compare it with another account before I rely on its figures.",
    "What I have on {title} is second hand. The dates agree with the earlier pages, the sums do not, so the next source has to decide.",
    "The part about {title} that matters for the sub-question is short; the rest is local history. I keep the names in mind and go on.",
    "There are two versions of how {title} came about. I will read one more page, then note what both of them support.",
    "Nothing here contradicts what was read before. {title} may still be worth a second look if the later pages mention it again.",
)


@dataclass(frozen=True)
class Page:
    url: str
    title: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Probe:
    fact: Fact
    read_at: int
    asked_at: int

    @property
    def age(self) -> int:
        return self.asked_at - self.read_at


@dataclass(frozen=True)
class Step:
    kind: Literal["search", "page", "note", "probe"]
    query: str = ""
    page: Page | None = None
    probe: Probe | None = None


@dataclass(frozen=True)
class World:
    question: str
    sub_questions: list[str]
    steps: list[Step]
    results: dict[str, list[Page]]
    """By query: pages whose text is the passage a search shows."""
    pages: dict[str, Page]
    thoughts: list[str]


class _Prose:
    def __init__(self, rng: random.Random, corpus: Path | None) -> None:
        self._rng = rng
        self._paragraphs: list[tuple[str, str]] = []
        if corpus:
            self._paragraphs = [(item["title"], item["text"]) for item in json.loads(corpus.read_text("utf-8"))]
            rng.shuffle(self._paragraphs)

    def name(self) -> str:
        return "".join(self._rng.choices(_SYLLABLES, k=self._rng.randint(2, 3))).title()

    def title(self) -> str:
        return f"The {self._rng.choice(_KINDS)} of {self.name()}"

    def page(self, tokens: int) -> tuple[str, list[str]]:
        """Title and paragraphs."""
        title, paragraphs, held = "", list[str](), 0
        while held < tokens:
            if self._paragraphs and self._rng.random() < 0.5:  # a corpus is half of what is read, as long as it lasts
                name, text = self._paragraphs.pop()
                title = title or name
            else:
                topic = self.title()
                title = title or topic
                text = self.paragraph(title if " of " in title and title.startswith("The ") else topic)
            paragraphs.append(text)
            held += estimate_tokens(text)
        return title, paragraphs

    def paragraph(self, title: str) -> str:
        kind, _, place = title.removeprefix("The ").partition(" of ")
        rng = self._rng
        picked = rng.sample(_SENTENCES, k=rng.randint(3, 6))
        return " ".join(
            sentence.format(
                kind=kind,
                place=place,
                place2=self.name(),
                person=f"{self.name()} {self.name()}",
                year=rng.randint(1640, 1990),
                number=f"{rng.randint(20, 990) * 1000:,}",
                number2=rng.randint(100, 900),
                small=rng.randint(3, 29),
                side=rng.choice(("north", "south", "river", "land")),
                season=rng.choice(("spring", "autumn", "harvest", "winter")),
            )
            for sentence in picked
        )


def make(seed: int, corpus: Path | None = None, page_tokens: float = PAGE_TOKENS) -> World:
    rng = random.Random(seed)
    _check()
    prose = _Prose(rng, corpus)
    kinds = _schedule(rng)
    probes = _probes(rng, kinds)
    planted: dict[int, list[Fact]] = {}
    for probe in probes:
        planted.setdefault(probe.read_at, []).append(probe.fact)
    due = {probe.asked_at: probe for probe in probes}
    steps, pages, results, thoughts = list[Step](), dict[str, Page](), dict[str, list[Page]](), list[str]()
    topic = prose.title()
    for number, kind in enumerate(kinds, 1):
        if kind == "search":
            topic = prose.title()
            query = f"{topic.removeprefix('The ')} history figures {number}"
            results[query] = [_page(f"{number}-{n}", *prose.page(60)) for n in range(RESULTS)]
            steps.append(Step("search", query=query))
        elif kind == "page":
            title, paragraphs = prose.page(int(min(6000, max(500, rng.lognormvariate(math.log(page_tokens), 0.6)))))
            for fact in planted.get(number, []):
                paragraphs.insert(rng.randint(1, len(paragraphs)), fact.text)
            page = _page(str(number), title, paragraphs)
            pages[page.url], topic = page, title
            steps.append(Step("page", page=page))
        elif kind == "note":
            steps.append(Step("note"))
        else:
            steps.append(Step("probe", probe=due[number]))
        thoughts.append(" ".join(thought.format(title=topic) for thought in rng.sample(_THOUGHTS, k=4)))
    questions = [f"What is known of {prose.title()} and the works like it, and who paid for them?" for _ in range(SUB_QUESTIONS)]
    return World("How did the public works of the region come about?", questions, steps, results, pages, thoughts)


def _schedule(rng: random.Random) -> list[str]:
    """What kind each step is. The probes are spread over the run, the reading goes on in between."""
    span = (STEPS - FIRST_PROBE) / len(FACTS)
    probes = {int(FIRST_PROBE + n * span + rng.random() * (span - 1)) + 1 for n in range(len(FACTS))}
    cycle = ("search", "page", "page", "page", "note", "search", "page", "page", "page", "page")
    kinds, read = [], 0
    for number in range(1, STEPS + 1):
        if number in probes:
            kinds.append("probe")
        else:
            kinds.append(cycle[read % len(cycle)])
            read += 1
    return kinds


def _probes(rng: random.Random, kinds: list[str]) -> list[Probe]:
    """Each fact is read on the page whose step is nearest to the age wished for it."""
    asked = [number for number, kind in enumerate(kinds, 1) if kind == "probe"]
    facts = rng.sample(FACTS, k=len(FACTS))
    probes = []
    for fact, at in zip(facts, asked, strict=True):
        wanted = at - rng.randint(YOUNGEST, min(OLDEST, at - 2)) if at > YOUNGEST + 2 else 2
        read = [number for number, kind in enumerate(kinds, 1) if kind == "page" and YOUNGEST <= at - number <= OLDEST]
        probes.append(Probe(fact, min(read, key=lambda number: abs(number - wanted)), at))
    return probes


def _page(name: str, title: str, paragraphs: list[str]) -> Page:
    text = "\n\n".join(paragraphs)
    return Page(f"https://world.example/{name}", title, text, estimate_tokens(text))


def _check() -> None:
    for fact in FACTS:
        shared = {stem(word) for word in terms(fact.text)} & {stem(word) for word in terms(fact.question)}
        if (fact.wording == "described" and shared) or fact.answer in fact.question:
            raise ValueError(f"this question gives its fact away: {fact.question} ({shared})")
