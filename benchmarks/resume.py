"""How soon a killed run of 300 steps asks its model again, beside how soon a new one asks first; and what its stores take a step.

    python benchmarks/resume.py [--times 3] [--embedder]

Real processes, started anew: `python -m research_agent resume FOLDER` and `... run CONFIG`. The clock stops when the request arrives at
the host. Modules are compiled beforehand, as pip leaves them and as any second start finds them; what a start takes that compiles all of
them stands beside it. `--embedder` indexes with the hashing embedder (128 dimensions), so that the vectors' bytes are there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from research_agent.testing.crash.rig import Life, Rig, until
from research_agent.testing.crash.world import KEY, KEY_VARIABLE, World


def first_request_s(world: World, *argv: str, cwd: Path, compiled: Path | None) -> tuple[float, float]:
    """Seconds from the start of a process to its first request, and its CPU seconds till then. It is killed then.

    `compiled`: where modules are found compiled, or are put; None compiles them and keeps nothing.
    """
    kept = {"PYTHONDONTWRITEBYTECODE": "" if compiled else "1", "PYTHONPYCACHEPREFIX": str(compiled or cwd / "nothing")}
    before, began = len(world.host.requests), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "research_agent", *argv],
        cwd=cwd,
        env=os.environ | {KEY_VARIABLE: KEY} | kept,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len(world.host.requests) > before or process.poll() is not None)
    taken = time.monotonic() - began
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    process.kill()
    process.wait()
    if len(world.host.requests) == before:
        sys.exit("it ended without a request")
    return taken, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def tables(path: Path) -> dict[str, int]:
    """Bytes of each table of a SQLite file, its indexes with it."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page, owners = db.execute("PRAGMA page_size").fetchone()[0], dict(db.execute("SELECT name, tbl_name FROM sqlite_master"))
        try:
            pages = db.execute("SELECT name, count(*) FROM dbstat GROUP BY name").fetchall()
        except sqlite3.OperationalError:
            return {"": path.stat().st_size}
    sizes: dict[str, int] = {}
    for name, count in pages:
        table = owners.get(name, name)
        sizes[table] = sizes.get(table, 0) + count * page
    return sizes


def bytes_of(folder: Path) -> dict[str, int]:
    ledger = tables(folder / "ledger.sqlite")
    words = sum(size for name, size in ledger.items() if name.startswith("words"))
    return {
        "checkpoints": sum(tables(folder / "checkpoints.sqlite").values()),
        "ledger, texts": ledger.get("bodies", 0),
        "ledger, word index": words + ledger.get("names", 0),
        "ledger, the rest": sum(ledger.values()) - words - ledger.get("names", 0) - ledger.get("bodies", 0),
        "vectors": sum(path.stat().st_size for path in (folder / "vectors").rglob("*") if path.is_file()),
        "events": (folder / "events.jsonl").stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="resume")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--embedder", action="store_true")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        Rig(Path(name) / "rig") as rig,
        World(lines="ABCDEFGHIJKL", follow_up="", stations=11, window_tokens=32_000) as world,
    ):
        folder = Path(name)
        settings = world.config(folder / "long")
        life = Life(rig, world, settings, args.embedder)
        if not life.killed_at("review.before"):  # all is read, and the review is about to be asked for
            sys.exit("the run ended before its review: see its events")
        assert life.folder
        steps = world.steps
        taken: dict[str, list[tuple[float, float]]] = {"resumed": [], "from nothing": [], "resumed, compiling": []}
        for n in range(args.times + 1):  # by turns: the machine is not always as busy
            for name, pairs in taken.items():
                compiled = None if "compiling" in name else folder / "compiled"
                copy = folder / f"{name} {n}" / life.folder.name
                argv = ["run", str(settings), "--out", str(copy.parent)]
                if name != "from nothing":
                    shutil.copytree(life.folder, copy)
                    argv = ["resume", str(copy)]
                pairs.append(first_request_s(world, *argv, cwd=life.cwd, compiled=compiled))
        print(f"{steps} steps; seconds until the model is asked, median of {args.times} (CPU seconds)")
        for name, pairs in taken.items():  # the first of each compiles
            wall, cpu = (statistics.median(pair[i] for pair in pairs[1:]) for i in (0, 1))
            print(f"  {name:<20} {wall:5.2f} ({cpu:.2f})")
        sizes = bytes_of(life.folder)
        print("bytes a step")
        for store, size in sizes.items():
            print(f"  {store:<20} {size / steps:9,.0f}   {size / 1e6:6.2f} MB in all")
        print(f"  {'together':<20} {sum(sizes.values()) / steps:9,.0f}   {sum(sizes.values()) / 1e6:6.2f} MB in all")


if __name__ == "__main__":
    main()
