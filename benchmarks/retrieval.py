"""Recall beside BM25 on multi-hop questions: which share of the supporting passages is among the best two, and the best five.

    python benchmarks/retrieval.py --data DATA [--embedder sentence-transformers:PATH] [--ablate]

DATA holds `NAME.json` and `NAME_corpus.json` pairs in HotpotQA's or MuSiQue's form. Each passage is archived as one observation and
each question is one `recall` through the public face, its passages sorted by score.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import mean

from rank_bm25 import BM25Plus

from research_agent.memory import Archive, Embedder, Segment, choose
from research_agent.memory.recall import Weights

Passage = tuple[str, str]


@dataclass(frozen=True)
class Question:
    text: str
    gold: frozenset[int]


@dataclass(frozen=True)
class Dataset:
    name: str
    passages: list[Passage]
    questions: list[Question]


def load(questions: Path) -> Dataset:
    asked = json.loads(questions.read_text("utf-8"))
    corpus = json.loads(questions.with_name(f"{questions.stem}_corpus.json").read_text("utf-8"))
    if isinstance(corpus, dict):  # HotpotQA: title to sentences
        passages = [(title, "".join(sentences)) for title, sentences in corpus.items()]
        place = {title: index for index, (title, _) in enumerate(passages)}
        golds = [frozenset(place[title] for title, _ in item["supporting_facts"]) for item in asked]
    else:
        passages = [(item["title"], item["text"]) for item in corpus]
        places = {passage: index for index, passage in reversed(list(enumerate(passages)))}
        golds = [
            frozenset(places[part["title"], part["paragraph_text"]] for part in item["paragraphs"] if part["is_supporting"])
            for item in asked
        ]
    found = [Question(item["question"], gold) for item, gold in zip(asked, golds, strict=True)]
    return Dataset(questions.stem, passages, found)


Ranker = Callable[[str], Sequence[int]]


def bm25(data: Dataset) -> Ranker:
    def split(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    index = BM25Plus([split(f"{title} {text}") for title, text in data.passages])

    def ranked(question: str) -> list[int]:
        scores = index.get_scores(split(question))
        return sorted(range(len(scores)), key=lambda i: -scores[i])[:5]

    return ranked


async def archived(data: Dataset, folder: Path, embedder: Embedder | None) -> None:
    archive = Archive.open(folder, run="bench", embedder=embedder)
    await archive.archive(
        [
            Segment(run="bench", step=n, kind="observation", text=text, trust="untrusted", title=title)
            for n, (title, text) in enumerate(data.passages)
        ]
    )
    await archive.close()


async def ours(data: Dataset, folder: Path, embedder: Embedder | None, weights: Weights) -> tuple[float, float, float]:
    """Recall at 2 and 5 in percent, and the median milliseconds of a recall."""
    archive = Archive.open(folder, run="bench", embedder=embedder, weights=weights)
    await archive.flush()
    results: list[tuple[float, float]] = []
    times: list[float] = []
    for question in data.questions:
        begun = time.perf_counter()
        passages = await archive.recall(question.text, budget_tokens=4000)
        times.append((time.perf_counter() - begun) * 1000)
        order = [passage.segment.step for passage in sorted(passages, key=lambda passage: -passage.score)]
        results.append((share(order[:2], question), share(order[:5], question)))
    await archive.close()
    return 100 * mean(two for two, _ in results), 100 * mean(five for _, five in results), sorted(times)[len(times) // 2]


def share(order: Sequence[int], question: Question) -> float:
    return len(question.gold & set(order)) / len(question.gold)


def line(name: str, two: float, five: float, note: str = "") -> None:
    print(f"  {name:<28} {two:>7.1f} {five:>7.1f}   {note}")


async def main() -> None:
    parser = argparse.ArgumentParser(description="recall beside BM25 on multi-hop questions")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", default="none", help="as in memory.embedder")
    parser.add_argument("--ablate", action="store_true", help="also without each sign")
    args = parser.parse_args()
    embedder = choose(args.embedder).embedder
    for path in sorted(args.data.glob("*.json")):
        if path.stem.endswith("_corpus"):
            continue
        data = load(path)
        print(f"{data.name}: {len(data.questions)} questions, {len(data.passages)} passages")
        print(f"  {'':<28} {'@2':>7} {'@5':>7}")
        rank = bm25(data)
        orders = [rank(question.text) for question in data.questions]
        two, five = (100 * mean(share(o[:k], q) for o, q in zip(orders, data.questions, strict=True)) for k in (2, 5))
        line("BM25 (rank_bm25)", two, five)
        with tempfile.TemporaryDirectory() as folder:
            await archived(data, Path(folder), embedder)
            a, b, ms = await ours(data, Path(folder), None, Weights())
            line("recall, words only", a, b, f"{a - two:+.1f} {b - five:+.1f}   {ms:.0f} ms")
            if embedder:
                a, b, ms = await ours(data, Path(folder), embedder, Weights())
                line("recall, with embedder", a, b, f"{a - two:+.1f} {b - five:+.1f}   {ms:.0f} ms")
            if args.ablate:
                for field in fields(Weights):
                    if field.name == "dense" and embedder is None:
                        continue
                    a, b, _ = await ours(data, Path(folder), embedder, replace(Weights(), **{field.name: 0.0}))
                    line(f"  without {field.name}", a, b, f"{a - two:+.1f} {b - five:+.1f}")


if __name__ == "__main__":
    asyncio.run(main())
