"""Of the true nearest vectors, how many are found: by comparing all, by a sketch first, and by Chroma's graph; and how fast.

    python benchmarks/nearest.py --data DATA --embedder sentence-transformers:PATH [--queries 200]

The vectors are those of the corpora in DATA (`NAME_corpus.json`), cut as a run cuts what it reads. The queries are windows that are left
out. `--times N` writes each vector N times, a little turned, as the same thing said otherwise: how it stands with very many.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from research_agent.memory import choose, scan
from research_agent.memory.chunks import chunks, windows
from research_agent.memory.embedders import unit
from research_agent.memory.scan import Scan
from research_agent.memory.vectors import Vectors

NEAREST = (10, 60)
Search = Callable[[np.ndarray, int], Sequence[tuple[str, float]]]


def texts(data: Path) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(data.glob("*_corpus.json")):
        corpus = json.loads(path.read_text("utf-8"))
        pages = ["".join(said) for said in corpus.values()] if isinstance(corpus, dict) else [item["text"] for item in corpus]
        for page in pages:
            for start, end in chunks(page):
                piece = page[start:end]
                found.update(dict.fromkeys(piece[a:b].strip() for a, b in windows(piece)))
    return list(found)


def scanned(keys: Sequence[str], vectors: np.ndarray, exact: int) -> Scan:
    scan.EXACT = exact
    made = Scan(vectors.shape[1])
    for start in range(0, len(keys), 5000):
        made.put(keys[start : start + 5000], vectors[start : start + 5000])
    return made


def graphed(folder: str, keys: Sequence[str], vectors: np.ndarray) -> Vectors:
    made = Vectors.open(Path(folder), run="bench", identity="bench", dimensions=vectors.shape[1])
    made.upsert(keys, vectors)
    made._scan = None  # so that the index itself is asked
    return made


def line(name: str, search: Search, queries: np.ndarray, truth: list[list[set[str]]]) -> None:
    found, times = [0, 0], []
    for query, true in zip(queries, truth, strict=True):
        begun = time.perf_counter()
        keys = [key for key, _ in search(query, NEAREST[-1])]
        times.append(time.perf_counter() - begun)
        for at in range(len(NEAREST)):
            found[at] += len(true[at] & set(keys))
    shares = "  ".join(f"{100 * found[at] / (count * len(queries)):9.2f} %" for at, count in enumerate(NEAREST))
    print(f"  {name:<28} {shares}  {sorted(times)[len(times) // 2] * 1e3:8.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="nearest vectors found")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", required=True)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--times", type=int, default=1)
    args = parser.parse_args()
    embedder = choose(args.embedder).embedder
    assert embedder is not None
    every, rng = texts(args.data), np.random.default_rng(1)
    vectors = np.concatenate([embedder.embed(every[start : start + 256]) for start in range(0, len(every), 256)])
    order = rng.permutation(len(vectors))
    queries, held = vectors[order[: args.queries]], vectors[order[args.queries :]]
    if args.times > 1:
        turns = rng.normal(scale=0.5 / held.shape[1] ** 0.5, size=(args.times - 1, *held.shape)).astype(np.float32)
        held = np.concatenate([held, *(unit(held + turn) for turn in turns)])
    keys = [f"k{n}" for n in range(len(held))]
    ranked = [np.argsort(-(held @ query), kind="stable")[: NEAREST[-1]] for query in queries]
    truth = [[{keys[n] for n in places[:count]} for count in NEAREST] for places in ranked]
    print(f"{len(held):,} vectors of {held.shape[1]} dimensions, {len(queries)} queries")
    print(f"  {'':<28} {'of the 10':>11}  {'of the 60':>11}  {'median':>11}")
    line("each compared", scanned(keys, held, len(keys)).nearest, queries, truth)
    line("a sketch first", scanned(keys, held, len(keys) - 1).nearest, queries, truth)
    with tempfile.TemporaryDirectory() as folder:
        index = graphed(folder, keys, held)
        line("Chroma's graph", index.query, queries, truth)
        index.close()


if __name__ == "__main__":
    main()
