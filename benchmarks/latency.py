"""What archiving a step and a recall take, at growing sizes of a run's memory.

    python benchmarks/latency.py [--sizes 1000 10000 100000] [--vectors]

The texts are made: 110 words each, drawn from 20,000 words as English is (Zipf), with names. A step archives a thought, a call and a page
of 5 chunks. `--vectors` adds Chroma with the hashing embedder (384 dimensions), so that it is the index that is timed and not a model.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from pathlib import Path

from research_agent.memory import Archive, Segment
from research_agent.testing.embedder import HashingEmbedder

_STEPS = 50
_QUERIES = 50
_SYLLABLES = [consonant + vowel for consonant in "bdklmnrs" for vowel in "aeiou"]


class Words:
    """Texts that are distributed as English is."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._words = ["".join(self._random.choices(_SYLLABLES, k=self._random.randint(2, 4))) for _ in range(20_000)]
        self._ranks = [1 / (n + 10) for n in range(len(self._words))]

    def text(self, words: int = 110) -> str:
        drawn = self._random.choices(self._words, self._ranks, k=words)
        for _ in range(words // 25):
            at = self._random.randrange(words - 1)
            drawn[at : at + 2] = [drawn[at].title(), drawn[at + 1].title()]
        return " ".join(drawn) + "."

    def query(self) -> str:
        return " ".join(self._random.choices(self._words[50:5000], k=8))


def step(words: Words, number: int) -> list[Segment]:
    base = {"run": "bench", "step": number}
    page = "\n\n".join(words.text() for _ in range(5))
    return [
        Segment(**base, kind="reasoning", text=words.text(60), trust="own"),
        Segment(**base, kind="call", text=f"web_search({words.query()})", trust="own"),
        Segment(**base, kind="observation", text=page, title=words.query().title(), trust="untrusted"),
    ]


def spread(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2] * 1000:8.1f} {ordered[int(len(ordered) * 0.95)] * 1000:8.1f}"


async def measure(size: int, vectors: bool) -> str:
    words = Words()
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(Path(folder), run="bench", embedder=HashingEmbedder(dimensions=384) if vectors else None)
        for start in range(0, size, 1000):
            await archive.archive(
                [
                    Segment(
                        run="bench", step=start + n, kind="observation", text=words.text(), title=words.query().title(), trust="untrusted"
                    )
                    for n in range(min(1000, size - start))
                ]
            )
        await archive.flush()
        archived, recalled = [], []
        for number in range(_STEPS):
            segments = step(words, size + number)
            begun = time.perf_counter()
            await archive.archive(segments)
            archived.append(time.perf_counter() - begun)
        await archive.flush()
        for _ in range(_QUERIES):
            query = words.query()
            begun = time.perf_counter()
            await archive.recall(query, budget_tokens=2000)
            recalled.append(time.perf_counter() - begun)
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        await archive.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{size:>9,} {spread(archived)} {spread(recalled)} {disk / 1e6:>8.0f} {memory:>8.0f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description="latency of archive and recall")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--vectors", action="store_true")
    args = parser.parse_args()
    print("           archive a step, ms       recall, ms")
    print(" segments      p50      p95      p50      p95  disk MB  peak MB")
    for size in sorted(args.sizes):
        print(await measure(size, args.vectors), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
