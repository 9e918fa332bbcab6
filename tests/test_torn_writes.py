"""A memory whose process dies at any statement: what was being written is in whole or not at all, and opening it makes the rest good.

One process forks a writer for each statement to die at: importing everything once, not forty times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_FORKS = """
import asyncio, json, os, sys
from pathlib import Path
import chromadb, numpy
from research_agent.memory import Archive, Segment
from research_agent.memory.segment import content_hash
from research_agent.testing.embedder import HashingEmbedder

EMBEDDER = HashingEmbedder if sys.argv[2] == "vectors" else lambda: None

def step(number):
    base = {"run": "r", "step": number, "trust": "own"}
    page = " ".join(f"lamp {number} of harbour {word}." for word in range(150))
    return [
        Segment(**base, kind="reasoning", text=f"thought {number}", ordinal=number),
        Segment(**base, kind="observation", text=page, title=f"The Lamp {number}", url=f"https://e.org/{number}"),
        Segment(**base, kind="observation", text=f"short {number}", ordinal=1),
    ], f"the message of step {number}"

async def write(folder, die_at):
    archive = Archive.open(folder, run="r", embedder=EMBEDDER())
    left = [die_at]
    def traced(statement):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)
    archive._ledger._db._db.set_trace_callback(traced)
    for number in (1, 2):
        segments, body = step(number)
        await archive.archive(segments, bodies=[body])
        (folder / f"told-{number}").touch()
        await archive.flush()
    await archive.close()

async def look(folder):
    archive = Archive.open(folder, run="r", embedder=EMBEDDER())
    told = [number for number in (1, 2) if (folder / f"told-{number}").exists()]
    found = {segment.id: segment.text for segment in archive.segments()}
    for number in (1, 2):
        segments, body = step(number)
        held = [segment.id in found and found[segment.id] == segment.text for segment in segments]
        try:
            held.append(archive.get_body(content_hash(body)) == body)
        except Exception:
            held.append(False)
        assert all(held) or (not any(held) and number not in told), (number, held)
    for number in (2, 1):  # the run goes on, and writes again what it does not know to be written
        segments, body = step(number)
        await archive.archive(segments, bodies=[body])
    await archive.flush()
    stats = archive.stats()
    assert stats.segments == 6, stats
    assert not stats.failure, stats
    assert stats.indexed == (stats.chunks if sys.argv[2] == "vectors" else 0), stats
    for number in (1, 2):
        (best, *_) = sorted(await archive.recall(f"The Lamp {number} harbour", budget_tokens=300), key=lambda p: -p.score)
        assert best.segment.title == f"The Lamp {number}", best
    await archive.close()

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work())
        except BaseException as error:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

deaths = 0
for die_at in json.loads(sys.argv[3]):
    folder = Path(sys.argv[1]) / str(die_at)
    folder.mkdir()
    status = forked(lambda: write(folder, die_at))
    assert status in (0, 9), status
    deaths += status == 9
    assert forked(lambda: look(folder)) == 0, f"torn at statement {die_at}"
print(deaths)
"""


def _deaths(folder: Path, kind: str, points: list[int]) -> int:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, str(folder), kind, json.dumps(points)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return int(done.stdout)


def test_a_process_that_dies_at_any_statement_leaves_no_half_step(tmp_path: Path) -> None:
    assert _deaths(tmp_path / "words", "words", [*range(1, 40, 2), 60, 80, 100_000]) >= 15


def test_an_index_that_lags_behind_its_ledger_is_made_good_when_it_is_opened(tmp_path: Path) -> None:
    assert _deaths(tmp_path / "vectors", "vectors", [10, 30, 45, 52, 56, 60, 66, 72, 80]) >= 5
