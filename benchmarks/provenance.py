"""Questions that name a year, a site or the newest, beside BM25: is the passage they mean the best of the recall?

    python benchmarks/provenance.py [--embedder sentence-transformers:PATH] [--ablate] [--seed N]

Made-up figures: ten topics, each told of four years by three publishers in turn, in the words that each of them uses. All passages on one
topic are about as good but for the year in the text and the site they are from. BM25 sees title, text and address.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from rank_bm25 import BM25Plus

from research_agent.memory import Archive, Embedder, Segment, choose
from research_agent.memory.recall import Weights

_TOPICS = (
    "eel catch of the Wendel estuary",
    "rail freight through Karsten pass",
    "wheat yield on the Holm plain",
    "number of visitors to the Aster caves",
    "water level of lake Brin",
    "average rent in the port of Sunnar",
    "count of teachers in the Odden schools",
    "number of ice days on the Morrow canal",
    "moth count in the Telling woods",
    "number of passengers to Ulva",
)
_YEARS = (2011, 2015, 2019, 2023)
_PUBLISHERS = (("stat.example.org", "The Bureau"), ("www.harbourpost.example", "The Post"), ("brek.example.edu", "The University"))
_FORMS = (
    "In {year} the {topic} came to {n}, said {who}, which counts it every four years. ",
    "{who} on the survey of {year}: it put the {topic} at {n}. It rests on a count by volunteers. ",
    "Of the {topic} this page gives {n} ({year}), with small changes to the method. ",
)
_TAIL = "The page discusses the causes at length, and how far the figure can be relied on."
_QUESTIONS = {
    "year": ("What was the {topic} according to the {year} survey?", "{topic} in {year}"),
    "site": ("What does {host} say about the {topic}?", "the {topic}, as reported by {name}"),
    "newest": ("What is the newest figure for the {topic}?", "most recent {topic}"),
}


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    meant: frozenset[int]
    """Steps of the passages, any of which answers it."""


def made(seed: int) -> tuple[list[Segment], list[Question]]:
    rng = random.Random(seed)
    told = [(topic, year, *_PUBLISHERS[(n + k) % 3]) for n, topic in enumerate(_TOPICS) for k, year in enumerate(_YEARS)]
    rng.shuffle(told)
    segments, meant = [], defaultdict[tuple[str, str], set[int]](set)
    for step, (topic, year, host, who) in enumerate(told, 1):
        text = rng.choice(_FORMS).format(topic=topic, year=year, n=rng.randint(100, 999), who=who) + _TAIL
        base = {"run": "bench", "step": step, "title": topic.capitalize(), "url": f"https://{host}/{step}"}
        segments.append(Segment(**base, kind="observation", text=text, trust="untrusted"))
        name = next(label for label in urlsplit(f"https://{host}").netloc.split(".") if label != "www").title()
        host = host.removeprefix("www.")
        for kind, forms in _QUESTIONS.items():
            if kind != "newest" or year == max(_YEARS):
                for form in forms:
                    meant[kind, form.format(topic=topic, year=year, host=host, name=name)].add(step)
    return segments, [Question(kind, text, frozenset(steps)) for (kind, text), steps in meant.items()]


def share(questions: list[Question], best: dict[str, int]) -> str:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for question in questions:
        kinds[question.kind].append(best[question.text] in question.meant)
    return "".join(f"{100 * sum(kinds[kind]) / len(kinds[kind]):9.1f}" for kind in _QUESTIONS)


def bm25(segments: list[Segment], questions: list[Question]) -> dict[str, int]:
    def split(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    index = BM25Plus([split(f"{segment.title} {segment.text} {segment.url}") for segment in segments])
    return {q.text: max(zip(index.get_scores(split(q.text)), segments, strict=True), key=lambda pair: pair[0])[1].step for q in questions}


async def ours(folder: Path, questions: list[Question], embedder: Embedder | None, weights: Weights) -> dict[str, int]:
    archive = Archive.open(folder, run="bench", embedder=embedder, weights=weights)
    await archive.flush()
    best = {}
    for question in questions:
        passages = await archive.recall(question.text, budget_tokens=1000)
        best[question.text] = max(passages, key=lambda passage: passage.score).segment.step if passages else 0
    await archive.close()
    return best


async def main() -> None:
    parser = argparse.ArgumentParser(description="questions that name a year, a site or the newest")
    parser.add_argument("--embedder", default="none")
    parser.add_argument("--ablate", action="store_true", help="also without each sign")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    segments, questions = made(args.seed)
    print(f"{len(segments)} passages, {len(questions)} questions; the best passage is one that is meant, percent:")
    print(f"  {'':<28}{''.join(f'{kind:>9}' for kind in _QUESTIONS)}")
    print(f"  {'BM25 (rank_bm25)':<28}{share(questions, bm25(segments, questions))}")
    embedder = choose(args.embedder).embedder
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(Path(folder), run="bench")
        await archive.archive(segments)
        await archive.close()
        for name, used in (("words only", None), *([("with embedder", embedder)] if embedder else [])):
            print(f"  {f'recall, {name}':<28}{share(questions, await ours(Path(folder), questions, used, Weights()))}", flush=True)
            for sign in ("dated", "sourced", "newest") if args.ablate else ():
                without = replace(Weights(), **{sign: 0.0})
                print(f"  {f'  without {sign}':<28}{share(questions, await ours(Path(folder), questions, used, without))}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
