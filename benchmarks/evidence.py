"""Evidence over a long run: MuSiQue's questions investigated one after another, hop by hop, as one run of some 300 steps.

    python benchmarks/evidence.py --data DATA/musique_train.json [--embedder sentence-transformers:PATH] [--ablate]

Each hop is a step that thinks its sub-question and reads that hop's supporting paragraph among others of the question. At the end every
question is recalled once, in 4,000 tokens: for which share of the hops is the supporting paragraph there, whole?

Then as a compaction recalls: 2,000 tokens at each hop, for the question, and for the question with the hop's thought.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

from rank_bm25 import BM25Plus

from research_agent.graphs.compaction import needed
from research_agent.graphs.window import RECALL_TOKENS
from research_agent.memory import Archive, Embedder, Segment, choose, estimate_tokens
from research_agent.memory.recall import Weights

BUDGET_TOKENS = 4000
READ_A_STEP = 7  # paragraphs: what a search and a page bring


@dataclass(frozen=True)
class Question:
    text: str
    evidence: list[str]
    thoughts: list[str]
    """One for each piece of evidence: what was thought before it was read."""


def run_of(items: list[dict]) -> tuple[list[Segment], list[Question]]:
    segments: list[Segment] = []
    questions: list[Question] = []
    step = 0
    for item in items:
        paragraphs = {part["idx"]: part for part in item["paragraphs"]}
        others = [part for part in item["paragraphs"] if not part["is_supporting"]]
        evidence, answers, thoughts = [], [], []
        for hop in item["question_decomposition"]:
            step += 1
            asked = re.sub(r"#(\d+)", lambda match: answers[int(match[1]) - 1], hop["question"])  # noqa: B023
            answers.append(hop["answer"])
            base = {"run": "bench", "step": step}
            thoughts.append(f"I need to find out: {asked}")
            segments.append(Segment(**base, kind="reasoning", text=thoughts[-1], trust="own"))
            support = paragraphs[hop["paragraph_support_idx"]]
            evidence.append(support["paragraph_text"])
            read = [support, *(others.pop() for _ in range(min(READ_A_STEP - 1, len(others))))]
            for n, part in enumerate(read):
                text, title = part["paragraph_text"], part["title"]
                segments.append(Segment(**base, kind="observation", ordinal=n, text=text, title=title, trust="untrusted"))
        questions.append(Question(item["question"], evidence, thoughts))
    return segments, questions


def bm25_share(segments: list[Segment], questions: list[Question]) -> float:
    def split(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    index = BM25Plus([split(f"{segment.title} {segment.text}") for segment in segments])
    found = total = 0
    for question in questions:
        scores = index.get_scores(split(question.text))
        left, shown = BUDGET_TOKENS, []
        for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
            cost = estimate_tokens(segments[i].text)
            if cost > left:
                break
            left -= cost
            shown.append(segments[i].text)
        found += sum(text in shown for text in question.evidence)
        total += len(question.evidence)
    return 100 * found / total


async def our_share(
    folder: Path, segments: list[Segment], questions: list[Question], embedder: Embedder | None, weights: Weights | None = None
) -> tuple[float, int]:
    """Percent of the hops, and the most tokens that a recall took."""
    archive = Archive.open(folder, run="bench", embedder=embedder, weights=weights or Weights())
    await archive.archive(segments)
    await archive.flush()
    found = total = most = 0
    for question in questions:
        passages = await archive.recall(question.text, budget_tokens=BUDGET_TOKENS)
        shown = [passage.text for passage in passages]
        most = max(most, sum(estimate_tokens(text) for text in shown))
        found += sum(any(text.strip() in part for part in shown) for text in question.evidence)
        total += len(question.evidence)
    await archive.close()
    return 100 * found / total, most


async def compaction_share(folder: Path, questions: list[Question], embedder: Embedder | None, *, thought: bool) -> float:
    """Percent of the hops whose passage a compaction's block would hold. The run is in the folder."""
    archive = Archive.open(folder, run="bench", embedder=embedder)
    await archive.flush()
    found = []
    for question in questions:
        for text, said in zip(question.evidence, question.thoughts, strict=True):
            query = needed(question.text, said if thought else "")
            passages = await archive.recall(query, budget_tokens=RECALL_TOKENS, kinds=("observation",))
            found.append(any(text.strip() in passage.text for passage in passages))
    await archive.close()
    return 100 * sum(found) / len(found)


async def main() -> None:
    parser = argparse.ArgumentParser(description="evidence over a long run")
    parser.add_argument("--data", type=Path, required=True, help="the file, or the folder it is in")
    parser.add_argument("--embedder", default="none")
    parser.add_argument("--ablate", action="store_true", help="also without each sign")
    args = parser.parse_args()
    data = args.data / "musique_train.json" if args.data.is_dir() else args.data
    segments, questions = run_of(json.loads(data.read_text("utf-8")))
    steps, hops = segments[-1].step, sum(len(question.evidence) for question in questions)
    print(f"{steps} steps, {len(segments)} segments, {hops} hops; in a recall of {BUDGET_TOKENS} tokens:")
    print(f"  {'BM25 (rank_bm25)':<28} {bm25_share(segments, questions):6.1f} %")
    embedder = choose(args.embedder).embedder
    with tempfile.TemporaryDirectory() as folder:
        for name, used in (("words only", None), *([("with embedder", embedder)] if embedder else [])):
            share, most = await our_share(Path(folder), segments, questions, used)
            print(f"  {f'recall, {name}':<28} {share:6.1f} %   at most {most} tokens", flush=True)
            for what, thought in (("question", False), ("question and thought", True)):
                share = await compaction_share(Path(folder), questions, used, thought=thought)
                print(f"  {f'  compaction, {what}':<28} {share:6.1f} %", flush=True)
        for field in fields(Weights) if args.ablate else ():
            if field.name != "dense" or embedder:
                share, _ = await our_share(Path(folder), segments, questions, embedder, replace(Weights(), **{field.name: 0.0}))
                print(f"  {f'  without {field.name}':<28} {share:6.1f} %", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
