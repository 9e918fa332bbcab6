"""Python without a sandbox: only where the config says so, and told each time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from research_agent import Agent
from research_agent.sandbox.plain import run
from research_agent.sandbox.watch import Limits

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


async def test_code_runs_in_its_folder_without_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    ran = await run("import os; open('kept.txt', 'w').write('1'); print(os.environ.get('A_SECRET'), os.getcwd())", tmp_path)
    assert (ran.status, ran.stopped, ran.files) == (0, "", ("kept.txt",))
    assert ran.stdout.split() == ["None", str(tmp_path.resolve())]
    assert (await run("print(open('kept.txt').read()); raise SystemExit(4)", tmp_path)).status == 4


async def test_what_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    spawn = "import subprocess, time\nprint('begun', flush=True)\nsubprocess.Popen(['sleep', '60'])\n"
    started = time.monotonic()
    ran = await run(spawn + "time.sleep(60)", tmp_path, Limits(wall_s=1.0))
    assert time.monotonic() - started < 10
    assert ran.stopped == "it took longer than 1 s"
    assert "begun" in ran.stdout
    ran = await run(spawn, tmp_path, Limits(wall_s=2.0))  # what it leaves behind holds the pipes
    assert time.monotonic() - started < 20


async def test_endless_output_is_clipped(tmp_path: Path) -> None:
    ran = await run("print('x' * 5_000_000)", tmp_path, Limits(output_chars=2_000))
    assert len(ran.stdout) < 2_200


@pytest.mark.parametrize(("sandbox", "told"), [("none", True), ("bubblewrap", False)])
async def test_each_run_without_a_sandbox_says_so(tmp_path: Path, sandbox: str, told: bool) -> None:
    overrides = [f"cache={tmp_path / 'cache'}", "memory.embedder=none", "limits.steps=1", f"python.sandbox={sandbox}"]
    events = []
    await Agent.from_config(EXAMPLES / "quickstart.yaml", out=tmp_path / "runs", overrides=overrides).arun(on_event=events.append)
    warnings = [event["text"] for event in events if event["type"] == "warning"]
    assert any("WITHOUT A SANDBOX" in warning for warning in warnings) is told
