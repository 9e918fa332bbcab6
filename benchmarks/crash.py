"""Runs of 68 steps killed by SIGKILL at every named seam and at random moments, and resumed until they end, beside one that nobody killed.

    python benchmarks/crash.py [--random 50] [--seed 1]

Everything is real but the host and the web, which count what they are asked for outside the killed processes. `lost`: the stores
(ledger, state, events, findings, sources, report, files) and prompts that differ from the unkilled run's. `repeated`: what was asked for
once more; a call may be, where it was in flight at a kill (three pages are read at once). `counted`: model calls in the run's account.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig
from research_agent.testing.crash.seams import SEAMS
from research_agent.testing.crash.world import World

COLUMNS = ("kills", "lost", "model calls repeated", "pages repeated", "doubles", "counted/served", "resume s, median")
HEAD = f"{'':<18} {'  '.join(COLUMNS)}"


def row(name: str, life: Life, unkilled: Life, resume_s: list[float]) -> str:
    assert life.folder
    assert unkilled.folder
    lost = len(audit.differences(life.folder, unkilled.folder)) + (list(dict.fromkeys(life.asked)) != unkilled.asked)
    pages = sum((Counter(life.fetched) - Counter(unkilled.fetched)).values())
    counted = json.loads((life.folder / "run.json").read_text("utf-8"))["model_calls"]
    median = f"{statistics.median(resume_s):.2f}" if resume_s else "-"
    repeated, doubles = len(life.asked) - len(unkilled.asked), len(audit.faults(life.folder))
    cells = (life.kills, lost, repeated, pages, doubles, f"{counted}/{len(life.asked)}", median)
    return f"{name:<18} {'  '.join(f'{cell:>{len(column)}}' for cell, column in zip(cells, COLUMNS, strict=True))}"


def main() -> None:
    parser = argparse.ArgumentParser(description="killed and resumed")
    parser.add_argument("--random", type=int, default=50, help="kills at random, at least")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name, World() as world, Rig(Path(name) / "rig") as rig:
        folder, began = Path(name), time.monotonic()
        unkilled = Life(rig, world, world.config(folder / "unkilled"))
        if unkilled.whole().status:
            sys.exit("the unkilled run did not complete")
        unkilled.close()
        print(f"{world.steps} steps, {len(unkilled.asked)} model calls; unkilled in {time.monotonic() - began:.0f} s\n{HEAD}")
        life = Life(rig, world, world.config(folder / "seams"))
        seams = [seam for seam in SEAMS if not seam.startswith(("vectors", "reopened"))]
        for seam in seams:
            if not life.killed_at(seam):
                print(f"the run never came to {seam}")
        life.whole()
        life.close()
        print(row(f"at {len(seams)} seams", life, unkilled, []), flush=True)
        kills = 0
        while kills < args.random:
            life = Life(rig, world, world.config(folder / f"random-{kills}"))
            while life.killed_randomly(chance, requests=(0, 1, 1)):
                pass
            life.close()
            kills += life.kills
            print(row("at random", life, unkilled, life.resume_s), flush=True)


if __name__ == "__main__":
    main()
