"""How far the estimate of a prompt's tokens is from what a host reports, as the run's calibration learns.

    uv run python benchmarks/token_calibration.py [--ranks NAME.tiktoken ...]

A conversation of 60 calls over the example corpus, with compactions, thoughts, code and tables of numbers between, is counted by tokenizers
of different behaviour; no vocabulary is shipped, so these are rules, and `--ranks` adds real ones from files of byte-pair ranks.
The goal: within 3 % after ten calls.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from research_agent.graphs.budget import calibrated, estimated
from research_agent.graphs.state import Counted
from research_agent.memory import estimate_tokens

ROOT = Path(__file__).resolve().parents[1]
CALLS, RUNS, PER_MESSAGE = 60, 8, 7
GPT_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
Tokenizer = Callable[[str], int]
_PIECE = re.compile(r"[A-Za-z]+|\d+|[^\x00-\x7f]|[^\sA-Za-z\d]|\n")


def pieces(letters: int, digits: int, wide: float) -> Tokenizer:
    """Words cut every so many letters, numbers every so many digits."""

    def count(text: str) -> int:
        total = 0.0
        for piece in _PIECE.findall(text):
            first = piece[0]
            per = letters if first.isascii() and first.isalpha() else digits if first.isdigit() else 1
            total += math.ceil(len(piece) / per) if first.isascii() else wide
        return math.ceil(total)

    return count


def ranks(path: Path) -> Tokenizer:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    encoding = tiktoken.Encoding(path.stem, pat_str=GPT_SPLIT, mergeable_ranks=load_tiktoken_bpe(str(path)), special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


TOKENIZERS: dict[str, Tokenizer] = {
    "large vocabulary": pieces(8, 3, 0.8),
    "small vocabulary": pieces(4, 1, 1.6),
    "digit by digit": pieces(7, 1, 1.0),
    "bytes": lambda text: math.ceil(len(text.encode()) / 3.3),
    "words": lambda text: math.ceil(len(text.split()) * 1.4),
}


def texts() -> list[str]:
    prose = [
        path.read_text("utf-8", "replace")
        for path in sorted((ROOT / "examples/corpus").rglob("*"))
        if path.suffix in (".md", ".html", ".txt")
    ]
    code = [path.read_text("utf-8") for path in sorted((ROOT / "graphs").glob("*.py"))]
    table = ["\n".join(f"{n}\t{n * 37.25:.2f}\t{n**3}\t2026-11-{n % 28 + 1:02d}" for n in range(300))]
    return [*prose, *prose, *code, *table]


def errors(count: Tokenizer, pool: Sequence[str], seed: int, *, keeps_thoughts: bool) -> list[float]:
    """By call: estimate over reported, less one."""
    dice = random.Random(seed)
    system = pool[0][:3000]
    turns: list[tuple[int, int]] = []
    calibration, found = 1.0, []
    counted: Counted | None = None
    for call in range(CALLS):
        raw = estimate_tokens(system) + sum(estimated for estimated, _ in turns)
        reported = count(system) + PER_MESSAGE + sum(counted for _, counted in turns)
        estimate = estimated(raw, calibration, counted)
        found.append(estimate / reported - 1)
        calibration, counted = calibrated(calibration, raw, reported), Counted(raw=raw, reported=reported)  # the run's own
        text = dice.choice(pool)
        start = dice.randrange(max(1, len(text) - 2000))
        read = text[start : start + dice.randint(500, 9000)]
        thought = f"Thought {call}: the next fact is still open, so I look for the source that has it. " * dice.randint(1, 15)
        tokens = count(read) + (count(thought) if keeps_thoughts else 0) + 2 * PER_MESSAGE
        turns.append((estimate_tokens(read) + estimate_tokens(thought) + 8, tokens))
        if raw > 24_000:
            turns, counted = turns[-4:], None  # a compaction
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=Path, nargs="*", default=[])
    tokenizers = {**TOKENIZERS, **{path.stem: ranks(path) for path in parser.parse_args().ranks}}
    pool = texts()
    print(f"{'tokenizer':18} {'thoughts':8} {'first':>7} {'11th':>6} {'later':>6} {'95 %':>6}   mean error, percent")
    for name, count in tokenizers.items():
        for keeps in (True, False):
            runs = [errors(count, pool, seed, keeps_thoughts=keeps) for seed in range(RUNS)]
            later = sorted(abs(error) for run in runs for error in run[10:])
            first, eleventh = (statistics.mean(abs(run[n]) for run in runs) for n in (0, 10))
            shown = [100 * value for value in (first, eleventh, statistics.mean(later), later[int(0.95 * len(later))])]
            print(f"{name:18} {'kept' if keeps else 'dropped':8} {shown[0]:7.1f} {shown[1]:6.1f} {shown[2]:6.1f} {shown[3]:6.1f}")


if __name__ == "__main__":
    main()
