"""How the folder index scales: `python benchmarks/folder_index.py --files 10000` indexes generated files and prints a table.

Nine of ten files are Markdown or text, one is HTML or PDF: `--parsed` sets their share. Words follow Zipf's law.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import string
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from research_agent.search.folder import FolderSearch


def vocabulary(rng: random.Random, size: int = 30_000) -> list[str]:
    return ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 11))) for _ in range(size)]


def text(rng: random.Random, words: list[str], weights: list[float], paragraphs: int) -> list[str]:
    drawn = iter(rng.choices(words, cum_weights=weights, k=paragraphs * 100))
    return [" ".join(" ".join(next(drawn) for _ in range(20)).capitalize() + "." for _ in range(5)) for _ in range(paragraphs)]


def pdf(lines: list[str]) -> bytes:
    stream = ("BT /F1 10 Tf 40 760 Td 12 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET").encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    )
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 6\n0000000000 65535 f \n%strailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (xref, len(out))


def write(folder: Path, files: int, parsed: float, words: list[str], rng: random.Random) -> int:
    """Returns the bytes written."""
    weights, total = [], 0.0
    for place in range(len(words)):
        total += 1 / (place + 2)
        weights.append(total)
    written = 0
    for number in range(files):
        title = " ".join(rng.choices(words, k=3)).title()
        body = text(rng, words, weights, rng.choice((1, 2, 3, 3, 4, 10)))
        kind = rng.choice(("html", "pdf")) if rng.random() < parsed else rng.choice(("md", "txt"))
        if kind == "html":
            inner = "".join(f"<p>{paragraph}</p>" for paragraph in body)
            data = f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>{inner}</body></html>".encode()
        elif kind == "pdf":
            data = pdf([title, *(paragraph[start : start + 90] for paragraph in body for start in range(0, len(paragraph), 90))])
        else:
            data = ("# " * (kind == "md") + title + "\n\n" + "\n\n".join(body)).encode()
        path = folder / f"{number % 100:02d}" / f"{number}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        written += len(data)
    return written


async def timed_refresh(search: FolderSearch) -> float:
    started = time.perf_counter()
    skipped = await search.refresh()
    if skipped:
        raise SystemExit(f"unexpected: {skipped[:3]}")
    return time.perf_counter() - started


async def measure(files: int, parsed: float, queries: int) -> None:
    rng = random.Random(7)
    words = vocabulary(rng)
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch, "docs"), Path(scratch, "cache")
        folder.mkdir()
        written = write(folder, files, parsed, words, rng)
        await asyncio.sleep(2.5)  # files just written are compared by content, older ones by time
        search = FolderSearch(folder, cache)
        first = await timed_refresh(search)
        again = await timed_refresh(search)
        for path in sorted(folder.rglob("*.md"))[: files // 100]:
            path.write_text(path.read_text() + "\n\nOne more line.")
        changed = await timed_refresh(search)
        took_ms = []
        for _ in range(queries):
            query = "What is the " + " ".join((*rng.choices(words[:300], k=3), *rng.choices(words, k=4))) + "?"
            started = time.perf_counter()
            await search.search(query, limit=8)
            took_ms.append(1000 * (time.perf_counter() - started))
        index = sum(file.stat().st_size for file in cache.iterdir())
        search.close()
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cuts = statistics.quantiles(took_ms, n=20)
    table = Table("measure", "value", title=f"{files:,} files, {written / 2**20:.0f} MB, {parsed:.0%} HTML and PDF")
    table.add_row("first index", f"{first:.1f} s ({files / first:,.0f} files/s)")
    table.add_row("refresh, nothing changed", f"{again:.2f} s")
    table.add_row("refresh, 1 % changed", f"{changed:.2f} s")
    table.add_row("query p50 / p95", f"{cuts[9]:.1f} / {cuts[18]:.1f} ms")
    table.add_row("index on disk", f"{index / 2**20:.0f} MB")
    table.add_row("peak memory, own / a reader's", f"{own_mb:.0f} / {child_mb:.0f} MB")
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--parsed", type=float, default=0.1, help="share of HTML and PDF files")
    parser.add_argument("--queries", type=int, default=300)
    given = parser.parse_args()
    asyncio.run(measure(given.files, given.parsed, given.queries))
