"""How often a report without a language model holds the answer: `python benchmarks/answers.py --data ../shared/data/multihop`.

Each `NAME_corpus.json` becomes a folder of Markdown files, and each question of `NAME.json` beside it a run through the whole graph, with
a report of at most 600 words. An answer counts if it, or an alias, stands in `report.md` below its title, word for word: in lower case,
without punctuation and articles. Yes and no count only as the first word of the short answer. Beside it, whether the five best passages of
BM25 hold the answer, by the same rule; they can hold no yes or no.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import string
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rank_bm25 import BM25Okapi
from rich.console import Console
from rich.progress import track
from rich.table import Table

from research_agent import Agent
from research_agent.config import Config
from research_agent.search.folder import FolderSearch

BEST = 5
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation + "‘’“”")


@dataclass(frozen=True, slots=True)
class Asked:
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    asked: Asked
    status: str
    seconds: float
    steps: int
    words: int
    found: bool


def normal(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", re.sub(r"[-–—/]", " ", text.lower()).translate(_MARKS)).split())


def holds(text: str, answers: Sequence[str]) -> bool:
    padded = f" {normal(text)} "
    return any(answer and f" {answer} " in padded for answer in map(normal, answers))


def passages(path: Path) -> list[tuple[str, str]]:
    """Titles and texts, of either set's shape."""
    data = json.loads(path.read_text())
    if isinstance(data, dict):
        return [(title, "".join(sentences).strip()) for title, sentences in data.items()]
    return [(item["title"], item["text"]) for item in data]


def questions(path: Path) -> list[Asked]:
    return [Asked(item["question"].strip(), (item["answer"], *item.get("answer_aliases", ()))) for item in json.loads(path.read_text())]


def bm25_holds(corpus: Sequence[tuple[str, str]], asked: Sequence[Asked]) -> list[bool]:
    def tokens(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    index = BM25Okapi([tokens(f"{title} {text}") for title, text in corpus])
    held = []
    for item in asked:
        best = index.get_scores(tokens(item.question)).argsort()[::-1][:BEST]
        held.append(holds("\n".join("\n".join(corpus[place]) for place in best), item.answers))
    return held


def write(corpus: Sequence[tuple[str, str]], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, (title, text) in enumerate(corpus):
        (folder / f"{number:05d}.md").write_text(f"# {title}\n\n{text}\n")


def config(question: str, folder: Path, work: Path, max_words: int) -> Config:
    settings: dict[str, Any] = {
        "question": question,
        "model": {"provider": "extractive"},
        "search": {"providers": ["folder"], "folder": str(folder)},
        "python": {"enabled": False},
        "memory": {"embedder": "none"},
        "report": {"formats": ["md"], "max_words": max_words},
        "cache": str(work / "cache"),
        "out": str(work / "runs"),
    }
    return Config.from_mapping(settings, base=work)


async def investigate(item: Asked, folder: Path, work: Path, max_words: int) -> Outcome:
    agent = Agent(config(item.question, folder, work, max_words))
    started = time.perf_counter()
    result = await agent.arun()
    seconds = time.perf_counter() - started
    report = result.report.read_text() if result.report else ""
    steps = json.loads((result.folder / "run.json").read_text()).get("steps", 0)
    below = report.partition("\n")[2]
    yes_no = item.answers[0].lower() in ("yes", "no")
    found = normal(result.answer).split()[:1] == [item.answers[0].lower()] if yes_no else holds(below, item.answers)
    shutil.rmtree(result.folder)
    return Outcome(item, result.status, seconds, steps, len(report.split()), found)


async def run_set(name: str, data: Path, work: Path, limit: int | None, max_words: int, console: Console) -> list[str]:
    corpus = passages(data / f"{name}_corpus.json")
    asked = questions(data / f"{name}.json")[:limit]
    folder = work / name
    write(corpus, folder)
    search = FolderSearch(folder, work / "cache")
    await search.refresh()
    search.close()
    outcomes = [await investigate(item, folder, work, max_words) for item in track(asked, name, console=console)]
    for outcome in outcomes:
        if not outcome.found:
            console.print(f"[dim]{outcome.status}[/] {outcome.asked.question} -> {outcome.asked.answers[0]}", highlight=False)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    held = bm25_holds(corpus, asked)
    return [
        name,
        str(len(asked)),
        f"{100 * sum(outcome.found for outcome in outcomes) / len(asked):.0f}",
        f"{100 * sum(held) / len(asked):.0f}",
        f"{statistics.median(seconds):.2f} / {seconds[int(0.95 * (len(seconds) - 1))]:.2f}",
        f"{statistics.median(outcome.steps for outcome in outcomes):.0f}",
        str(max(outcome.words for outcome in outcomes)),
        str(sum(outcome.status != "complete" for outcome in outcomes)),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/multihop"))
    parser.add_argument("--limit", type=int, help="questions of each set; all by default")
    parser.add_argument("--max-words", type=int, default=600)
    options = parser.parse_args()
    console = Console(width=140)
    columns = (
        "set",
        "questions",
        "answered %",
        f"BM25 top {BEST} %",
        "seconds median / p95",
        "steps median",
        "words at most",
        "not complete",
    )
    table = Table(*columns)
    corpora = sorted(options.data.glob("*_corpus.json"))
    if not corpora:
        raise SystemExit(f"{options.data}: no *_corpus.json there; --data names the folder")
    with tempfile.TemporaryDirectory() as work:
        for path in corpora:
            name = path.name.removesuffix("_corpus.json")
            table.add_row(*await run_set(name, options.data, Path(work), options.limit, options.max_words, console))
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
