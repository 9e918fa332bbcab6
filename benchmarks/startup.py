"""How long a user waits: `python benchmarks/startup.py`. `--help` beside `python -c pass`, and the quickstart cold and warm.

Whole processes, the runs of each command taken in turn. Cold: an empty cache folder (the search folder is indexed); warm: a kept one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart.yaml"


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs: int = parser.parse_args().runs
    agent = [sys.executable, "-m", "research_agent"]
    with tempfile.TemporaryDirectory() as folder:
        quickstart = [*agent, "run", str(QUICKSTART), "--out", f"{folder}/runs", "--json", "--set"]
        commands = {
            "python -c pass": lambda _: [sys.executable, "-c", "pass"],
            "research-agent --help": lambda _: [*agent, "--help"],
            "quickstart, cold cache": lambda n: [*quickstart, f"cache={folder}/cold{n}"],
            "quickstart, warm": lambda _: [*quickstart, f"cache={folder}/warm"],
        }
        seconds(commands["quickstart, warm"](0))
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for n in range(runs):
            for name, command in commands.items():
                taken[name].append(seconds(command(n)))
    table = Table("command", "min s", "median s", "max s", "median, times python -c pass")
    base = statistics.median(taken["python -c pass"])
    for name, values in taken.items():
        median = statistics.median(values)
        table.add_row(name, f"{min(values):.2f}", f"{median:.2f}", f"{max(values):.2f}", f"{median / base:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
