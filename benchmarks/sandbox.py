"""Every escape of `research_agent.testing.escapes` tried in the sandbox, as this user and, if root, as a plain user too; then its start.

    uv run python benchmarks/sandbox.py [--starts 20]

Exits 1 if one was not contained. Start-up is the median of `pass`, the ways in turns: in the sandbox, as a plain subprocess with limits
(`python.sandbox: none`), and by the bare interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from research_agent.sandbox import bubblewrap, plain
from research_agent.testing import escapes
from research_agent.testing.plain_user import AS_USER, copied, interpreter

TRY = ("-m", "research_agent.testing.escapes")


def outcomes(command: Sequence[str], folder: Path | None = None) -> list[escapes.Outcome]:
    env = {"PATH": os.environ.get("PATH", ""), "PRETEND_API_KEY": escapes.SECRET} | ({"PYTHONPATH": str(folder)} if folder else {})
    done = subprocess.run([*command, *TRY], cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return [escapes.Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def as_plain_user() -> tuple[list[escapes.Outcome], str]:
    """And why not, if it cannot be tried."""
    if os.getuid() != 0:
        return [], "this is a plain user already"
    if (python := interpreter()) is None:
        return [], "no Python of 3.11 or later that another user could start"
    with tempfile.TemporaryDirectory() as home:
        folder = copied(Path(home))
        return outcomes([*AS_USER, python], folder), ""


async def starts(count: int) -> dict[str, float]:
    """Median milliseconds."""
    took: dict[str, list[float]] = {"in the sandbox": [], "plain, with limits": [], "bare interpreter": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            started = time.perf_counter()
            await bubblewrap.run("pass", Path(folder) / "a")
            took["in the sandbox"].append(time.perf_counter() - started)
            started = time.perf_counter()
            await plain.run("pass", Path(folder) / "b")
            took["plain, with limits"].append(time.perf_counter() - started)
            started = time.perf_counter()
            bare = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
            await bare.wait()
            took["bare interpreter"].append(time.perf_counter() - started)
    return {name: 1000 * median(seconds) for name, seconds in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=20)
    given = parser.parse_args()
    if reason := bubblewrap.available():
        raise SystemExit(f"no sandbox here: {reason}")
    console = Console(width=150)
    mine = outcomes([sys.executable])
    others, why_not = as_plain_user()
    told = {(outcome.area, outcome.what): outcome for outcome in others}
    me = "root" if os.getuid() == 0 else "a plain user"
    table = Table("area", "attempt", f"as {me}", "as a plain user", "how it ended", "seconds")
    for outcome in mine:
        other = told.get((outcome.area, outcome.what))
        table.add_row(outcome.area, outcome.what, verdict(outcome), verdict(other), outcome.told, f"{outcome.seconds:.2f}")
    console.print(table)
    for name, tried in ((me, mine), ("a plain user", others)):
        if tried:
            console.print(f"as {name}: {sum(outcome.contained for outcome in tried)} of {len(tried)} contained")
    if why_not:
        console.print(f"not tried as a plain user: {why_not}")
    found = asyncio.run(starts(given.starts))
    bare = found["bare interpreter"]
    console.print("start, median ms: " + ", ".join(f"{name} {ms:.0f} ({ms / bare:.1f}x)" for name, ms in found.items()))
    raise SystemExit(not all(outcome.contained for outcome in (*mine, *others)))


def verdict(outcome: escapes.Outcome | None) -> str:
    return "" if outcome is None else "contained" if outcome.contained else "[bold]NOT CONTAINED[/bold]"


if __name__ == "__main__":
    main()
