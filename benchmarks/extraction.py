"""What is read of real pages, how fast, and in how much memory, beside plain trafilatura.

    apt-get download python3.11-doc postgresql-doc-15 apache2-doc sqlite3-doc debian-handbook git-doc libeigen3-doc
    for deb in *.deb; do dpkg -x $deb pages; done
    uv run python benchmarks/extraction.py pages [--pages 60] [--many 5000]

Each of these manuals marks its own content (`role="main"`, `#page-content`, navigation by class): that is the reference. Recall is the
share of the reference's runs of four words that were read; boilerplate the share of what was read that is not in the reference. The
numbers that Markdown puts before the items of a list are left out, for both; the last row counts them.
Speed: pages a second from a server process on this machine, N at once, robots.txt and politeness as they are but without its pauses;
bare is httpx with trafilatura.extract in threads.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from research_agent.reading.html_text import extract
from research_agent.web.fetch import Manners, Web
from research_agent.web.net import Client
from research_agent.web.page_reader import PageReader

ROUNDS = 3
"""Of each speed, in turn with the others; the best one counts: what else the machine does only slows."""


MEMORY_EVERY = 500
"""Pages between two looks at the memory."""


@dataclass(frozen=True)
class Manual:
    """A documentation package, and where its own pages mark their content."""

    folder: str
    files: str
    content: str
    but: str = ""


MANUALS = {
    "Python (Sphinx)": Manual("python3.11", "**/html/library/*.html", '//*[@role="main"]'),
    "PostgreSQL (DocBook)": Manual(
        "postgresql-doc-15", "**/*.html", "//body", '//*[contains(@class, "navheader") or contains(@class, "navfooter")]'
    ),
    "Apache (own)": Manual("apache2-doc", "manual/en/**/*.html", '//*[@id="page-content"]', '//*[@id="quickview" or @class="top"]'),
    "SQLite (own)": Manual("sqlite3", "**/*.html", "//body", '//*[contains(@class, "nosearch")]'),
    "Debian handbook (Publican)": Manual(
        "debian-handbook", "html/en-US/*.html", "//body", '//*[@class="docnav" or @id="title" or @id="banner" or @class="toc"]'
    ),
    "git (AsciiDoc)": Manual("git-doc", "**/*.html", "//body", '//*[@id="footer" or @id="toc"]'),
    "Eigen (Doxygen)": Manual("libeigen3-dev", "**/*.html", '//*[@class="contents"]'),
}


def pages_of(manual: Manual, root: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """Sources, and the words of their content."""
    import lxml.html

    found = sorted(
        path
        for folder in root.glob(f"**/usr/share/doc/{manual.folder}")
        for path in folder.glob(manual.files)
        if path.is_file() and not path.is_symlink() and 2_000 < path.stat().st_size < 700_000
    )
    random.Random(5).shuffle(found)
    for path in found:
        if count == 0:
            return
        source = path.read_text("utf-8", "replace")
        try:
            tree = lxml.html.fromstring(re.sub(r"<\?xml[^>]*\?>", "", source))
        except (ValueError, lxml.etree.LxmlError):
            continue
        for extra in [*tree.xpath("//script | //style | //noscript"), *(tree.xpath(manual.but) if manual.but else ())]:
            extra.drop_tree()
        words = [word for part in tree.xpath(manual.content)[:1] for word in words_of(" ".join(part.itertext()))]
        if len(words) >= 80:
            count -= 1
            yield source, words


def words_of(text: str) -> list[str]:
    """Without Markdown's marks, which may stand inside a word."""
    return re.findall(r"[^\W_]+", re.sub(r"[*`\\~]", "", text.lower()))


_NUMBER = re.compile(r"^\s*\d{1,3}\.\s", re.MULTILINE)


def runs(words: list[str]) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(4)), strict=False))


def ours(source: str) -> str:
    extracted = extract(source)
    return extracted.text if extracted else ""


def plain(source: str) -> str:
    import trafilatura

    return trafilatura.extract(source) or ""


def score(text: str, words: list[str], *, numbers: bool = False) -> tuple[float, float]:
    """(recall, boilerplate). `numbers`: those that Markdown puts before the items of a list count as words that were read.

    A list's source holds no numbers, nor does the reference: counted, each is boilerplate and breaks three of the reference's runs.
    """
    wanted, got = runs(words), runs(words_of(text if numbers else _NUMBER.sub("", text)))
    common = (wanted & got).total()
    return common / max(1, wanted.total()), 1 - common / got.total() if got.total() else 0.0


def quality(console: Console, root: Path, count: int) -> list[str]:
    table = Table("manual", "pages", "recall", "boilerplate", "plain: recall", "plain: boilerplate", "barriers seen")
    sources: list[str] = []
    totals: list[tuple[float, ...]] = []
    numbered: list[tuple[float, ...]] = []
    for name, manual in MANUALS.items():
        rows, false_alarms = [], 0
        for source, words in pages_of(manual, root, count):
            sources.append(source)
            texts = ours(source), plain(source)
            rows.append(tuple(part for text in texts for part in score(text, words)))
            numbered.append(tuple(part for text in texts for part in score(text, words, numbers=True)))
            if what := alarm(source):
                false_alarms += 1
                console.print(f"{name}: taken for {what}: {source[:300]!r}")
        if rows:
            totals += rows
            table.add_row(name, str(len(rows)), *(f"{mean(column):.3f}" for column in zip(*rows, strict=True)), str(false_alarms))
    table.add_section()
    table.add_row("all pages", str(len(totals)), *(f"{mean(column):.3f}" for column in zip(*totals, strict=True)), "")
    table.add_row("with the numbers of lists", str(len(numbered)), *(f"{mean(column):.3f}" for column in zip(*numbered, strict=True)), "")
    console.print(table)
    return sources


def alarm(source: str) -> str:
    """A real page taken for a block page or the like would be lost: none of these is one."""
    from research_agent.web.barriers import barrier
    from research_agent.web.net import Fetched

    url, extracted = "http://manual.test/a/page.html", extract(source)
    if extracted is None:
        return "nothing"
    answer = Fetched(url, 200, {"content-type": "text/html"}, source.encode(), "")
    return barrier(answer, asked=url, title=extracted.title, text=extracted.text)


# --- speed and memory ---


def serve(bodies: list[bytes], ready: Connection) -> None:
    """A server process: keeps connections, answers from memory."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                found = path[1:].isdigit()
                body = bodies[int(path[1:]) % len(bodies)] if found else b""
                status = b"200 OK" if found else b"404 Not Found"
                writer.write(b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def at_once(count: int, pages: int, read: Callable[[int], Awaitable[object]]) -> float:
    """Pages a second."""
    numbers = iter(range(pages))

    async def work() -> None:
        for number in numbers:
            await read(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(count)))
    return pages / (time.perf_counter() - started)


async def speed(console: Console, port: int, pages: int, many: int) -> None:
    import httpx
    import trafilatura

    table = Table("at once", "research-agent, pages/s", "httpx + trafilatura, pages/s", "the same in processes, pages/s")
    base = f"http://127.0.0.1:{port}"
    with PageReader() as reader, ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
        async with Client(allow_hosts=[f"127.0.0.1:{port}"]) as client, httpx.AsyncClient(trust_env=False) as bare:
            web = Web(client, manners=Manners(at_once=32, delay_s=0))
            loop = asyncio.get_running_loop()

            async def read(number: int) -> object:
                return await reader.read(await web.get(f"{base}/{number}"))

            async def in_thread(number: int) -> object:
                return await asyncio.to_thread(trafilatura.extract, (await bare.get(f"{base}/{number}")).text)

            async def in_process(number: int) -> object:
                return await loop.run_in_executor(processes, trafilatura.extract, (await bare.get(f"{base}/{number}")).text)

            for warm in (read, in_process):
                await at_once(4, 8, warm)
            for count in (1, 8, 32):
                rounds = [[await at_once(count, pages, lane) for lane in (read, in_thread, in_process)] for _ in range(ROUNDS)]
                table.add_row(str(count), *(f"{max(column):.1f}" for column in zip(*rounds, strict=True)))
            console.print(table)
            memory = Table("pages read", "memory of the run, MB", "of its readers, MB")
            every = min(MEMORY_EVERY, max(1, many))
            for done in range(0, many + 1, every):
                if done:
                    await at_once(8, every, read)
                own, children = resident_mb(os.getpid()), sum(resident_mb(pid) for pid in readers_of(os.getpid()))
                memory.add_row(f"{done:,}", f"{own:.0f}", f"{children:.0f}")
            if many:
                console.print(memory)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def readers_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        found += [int(child) for child in children if b"readers import serve" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="where the packages were unpacked")
    parser.add_argument("--pages", type=int, default=60, help="of each manual")
    parser.add_argument("--many", type=int, default=5_000, help="pages for the memory table; 0 leaves it out")
    given = parser.parse_args()
    console = Console(width=140)
    sources = quality(console, given.folder, given.pages)
    random.Random(6).shuffle(sources)
    receive, ready = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=([source.encode() for source in sources], ready), daemon=True)
    server.start()
    asyncio.run(speed(console, receive.recv(), min(120, len(sources)), given.many))
    server.terminate()


if __name__ == "__main__":
    main()
