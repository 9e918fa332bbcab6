"""How far the estimate of a prompt's tokens is from what a host reports, as a run learns its model's tokenizer.

    uv run python benchmarks/token_calibration.py [--ranks NAME.tiktoken ...] [--encoders NAME.json ...]

A conversation of 60 calls, with compactions and thoughts between, is counted by tokenizers of different behaviour: byte-pair encodings
trained here on the example corpus (no vocabulary is shipped), and rules. `--ranks` adds real ones from files of byte-pair ranks and
`--encoders` from files of the `tokenizers` library: the wheel of litellm carries cl100k, o200k, DeepSeek's and an older Claude's. Each
conversation is made of English pages, code, JSON, Chinese, Markdown tables and long links; or, `held out`, of those for thirty calls and
of kinds that no constant was tuned on from then on: logs with hashes, LaTeX, base64, Greek. The goal: within 3 % after ten calls.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import random
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from research_agent.graphs.counting import START, Meter, Parts, parts_of
from research_agent.graphs.state import Learned, TurnRef

ROOT = Path(__file__).resolve().parents[1]
CALLS, RUNS, PER_MESSAGE = 60, 6, 7
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


def trained(vocabulary: int, texts: Iterable[str]) -> Tokenizer:
    """A byte-level byte-pair encoding, as models have; a small one of a small corpus knows few words whole."""
    from tokenizers import Tokenizer as Encoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    encoder = Encoder(BPE())
    encoder.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(vocab_size=vocabulary, show_progress=False, initial_alphabet=ByteLevel.alphabet())
    encoder.train_from_iterator(texts, trainer)
    return lambda text: len(encoder.encode(text).ids)


def ranks(path: Path) -> Tokenizer:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    encoding = tiktoken.Encoding(path.stem, pat_str=GPT_SPLIT, mergeable_ranks=load_tiktoken_bpe(str(path)), special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def encoders(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Encoder

    encoder = Encoder.from_file(str(path))
    return lambda text: len(encoder.encode(text, add_special_tokens=False).ids)


RULES: dict[str, Tokenizer] = {
    "large vocabulary": pieces(8, 3, 0.8),
    "small vocabulary": pieces(4, 1, 1.6),
    "digit by digit": pieces(7, 1, 1.0),
    "bytes": lambda text: math.ceil(len(text.encode()) / 3.3),
    "words": lambda text: math.ceil(len(text.split()) * 1.4),
}


def corpus() -> list[str]:
    return [
        path.read_text("utf-8", "replace")
        for path in sorted((ROOT / "examples/corpus").rglob("*"))
        if path.suffix in (".md", ".html", ".txt")
    ]


def known_kinds(dice: random.Random) -> list[list[str]]:
    """A list of texts a kind."""
    rows: list[Any] = [{"id": n, "name": f"item {n}", "tags": ["a", "long tag"], "price": n * 1.37, "ok": n % 3 == 0} for n in range(120)]
    table = "| station | depth, m | reading | note |\n|---|---:|---:|---|\n" + "\n".join(
        f"| {dice.choice('ABCDEF')}-{n} | {dice.randint(3, 900)} | {dice.random() * 40:.3f} | {'checked twice' if n % 4 else '—'} |"
        for n in range(160)
    )
    characters = [chr(code) for code in range(0x4E00, 0x5200)]
    chinese = "".join("，" if n % 13 == 12 else "。\n" if n % 41 == 40 else dice.choice(characters) for n in range(5_000))
    words = ["archive", "report", "annual", "water", "quality", "station", "lake", "basin", "study", "data", "final", "revised", "draft"]
    links = "\n".join(
        f"https://www.example-{dice.choice(words)}.org/{'/'.join(dice.choices(words, k=4))}/{dice.randint(10**6, 10**9)}"
        f"?utm_source={dice.choice(words)}&id={dice.randbytes(9).hex()}#section-{n}"
        for n in range(90)
    )
    code = [path.read_text("utf-8") for path in sorted((ROOT / "graphs").glob("*.py"))]
    return [corpus(), corpus(), code, [json.dumps(rows), json.dumps(rows, indent=2)], [table], [chinese], [links]]


def held_out_kinds(dice: random.Random) -> list[list[str]]:
    log = "\n".join(
        f"2026-11-{dice.randint(1, 28):02d}T{dice.randint(0, 23):02d}:11:{n % 60:02d}.{dice.randint(0, 999):03d}Z WARN [worker-{n % 7}] "
        f"retry sha={hashlib.sha1(str(n).encode()).hexdigest()} took={dice.randint(1, 9999)}ms"
        for n in range(110)
    )
    latex = "\n".join(
        rf"\begin{{equation}} \frac{{\partial u_{{{n}}}}}{{\partial t}} = \alpha^{{{n}}} \nabla^2 u + "
        rf"\int_0^{{\infty}} e^{{-\lambda x}}\,dx \end{{equation}}"
        for n in range(70)
    )
    blob = base64.b64encode(dice.randbytes(6_000)).decode()
    greek_words = ["και", "το", "νερό", "λίμνη", "μέτρηση", "σταθμός", "είναι", "βάθος", "έκθεση", "ετήσια", "του", "στην"]
    greek = " ".join(dice.choice(greek_words) for _ in range(1_400))
    return [[log], [latex], [blob], [greek]]


def errors(count: Tokenizer, seed: int, *, keeps_thoughts: bool, held_out: bool) -> list[tuple[float, bool]]:
    """By call: estimate over reported, less one; and whether more was reported than what the window is held against."""
    dice = random.Random(seed)
    kinds, later = known_kinds(dice), held_out_kinds(dice)
    system = corpus()[0][:3000]
    parts: dict[str, Parts] = {}
    tokens: dict[str, int] = {}
    turns: list[TurnRef] = []
    learned: Learned | None = None
    found = []

    def turn(text: str, thought: str, messages: int) -> TurnRef:
        ref = str(len(parts))
        parts[ref] = parts_of([text], thought, messages)
        tokens[ref] = count(text) + (count(thought) if keeps_thoughts else 0) + messages * PER_MESSAGE
        estimate = round(sum(weight * part for weight, part in zip(START, parts[ref], strict=True)))
        return TurnRef(ref=ref, tokens=estimate, step=0, opens=True, segments=[])

    for call in range(CALLS):
        meter = Meter(learned, lambda ref: parts[ref["ref"]], lambda: parts_of([system]))  # as in the run
        reported = count(system) + PER_MESSAGE + sum(tokens[item["ref"]] for item in turns)
        found.append((meter.tokens(turns) / reported - 1, reported > meter.worst(turns)))
        turns, learned = meter.reported(turns, reported), meter.learned
        text = dice.choice(dice.choice(later if held_out and call >= 30 else kinds))
        start = dice.randrange(max(1, len(text) - 2000))
        thought = f"Thought {call}: the next fact is still open, so I look for the source that has it. " * dice.randint(1, 15)
        turns.append(turn(text[start : start + dice.randint(500, 9000)], thought, 2))
        if sum(tokens[item["ref"]] for item in turns) > 24_000:  # a compaction: the newest turns, and a block that is rewritten
            turns = [turn(dice.choice(corpus())[:6000], "", 1), *turns[-4:]]
    return found


def table(name: str, count: Tokenizer, *, held_out: bool) -> None:
    for keeps in (True, False):
        runs = [errors(count, seed, keeps_thoughts=keeps, held_out=held_out) for seed in range(RUNS)]
        from_call = 30 if held_out else 10
        later = sorted(abs(error) for run in runs for error, _ in run[from_call:])
        values = [
            statistics.mean(abs(run[0][0]) for run in runs),
            statistics.mean(abs(run[from_call][0]) for run in runs),
            statistics.mean(later),
            later[int(0.95 * len(later))],
            later[-1],
        ]
        shown = "".join(f"{100 * value:8.2f}" for value in values)
        within = sum(error <= 0.03 for error in later) / len(later)
        over = statistics.mean(more for run in runs for _, more in run)
        print(
            f"{name:17} {'held out' if held_out else 'known':9}{'kept' if keeps else 'dropped':8}{shown}{within:9.1%}{over:9.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=Path, nargs="*", default=[])
    parser.add_argument("--encoders", type=Path, nargs="*", default=[])
    parser.add_argument("--only-given", action="store_true", help="the given files' tokenizers only")
    given = parser.parse_args()
    half = corpus()[::2]
    shipped = {
        "trained, 2,000": trained(2_000, half),
        "trained, 12,000": trained(12_000, [*half, *(path.read_text("utf-8") for path in sorted((ROOT / "memory").glob("*.py")))]),
        **RULES,
    }
    files = {path.stem: ranks(path) for path in given.ranks} | {path.stem: encoders(path) for path in given.encoders}
    tokenizers = files if given.only_given else shipped | files
    print("errors in percent: of the first call, of the 11th (31st: the first with a new kind), and of all from there on; of all calls,")
    print("how many took more than the estimate with its margin, which is what the window is held against")
    print(f"{'tokenizer':17} {'texts':9}{'thoughts':8}{'first':>8}{'11th':>8}{'mean':>8}{'95 %':>8}{'worst':>8}{'in 3 %':>9}{'over':>9}")
    for name, count in tokenizers.items():
        for held_out in (False, True):
            table(name, count, held_out=held_out)


if __name__ == "__main__":
    main()
