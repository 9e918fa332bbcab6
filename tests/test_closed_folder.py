"""A run's folder that cannot be written, or whose disk is full, for a plain user and for root: one line, nothing lost, readable still."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from small_runs import config

from research_agent.testing import plain_user

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture(params=["plain user", "root"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """`research-agent` as one of them, its config and its runs where both may go."""
    if request.param == "root" and not IS_ROOT:
        pytest.skip("only root is root")
    python = [sys.executable] if request.param == "root" else plain_user.command()
    if python is None:
        pytest.skip("there is no Python here that a plain user can start with our packages")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    settings = config(tmp_path).model_dump(mode="json", exclude_none=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({key: settings[key] for key in ("question", "search", "python", "memory")}))

    def run(*argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        given = ("--set", f"cache={tmp_path / 'cache'}") if argv[0] in ("run", "resume") else ()
        command = [*python, "-m", "research_agent", *argv, *given]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return run


def contents(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]


@pytest.mark.skipif(not IS_ROOT, reason="only root may mount a file system and change who owns a folder")
def test_a_folder_that_cannot_be_written_is_one_line_and_can_be_read(agent: Run, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with mounted(out, "64m"):
        agent("run", "config.yaml", "--out", str(out), "--set", "limits.steps=6", code=3)
        [folder] = out.iterdir()
        before = contents(folder)
        remounted(out, "ro")
        refused = agent("resume", str(folder), code=1)
        assert last_line(refused).startswith("research-agent: ")
        assert str(folder) in last_line(refused)
        assert "ead-only" in last_line(refused)
        again = agent("run", "config.yaml", "--out", str(out), code=1)
        assert "Read-only file system" in last_line(again)
        assert "incomplete" in agent("list", "--out", str(out)).stdout
        assert "Chroma" in agent("show", str(folder)).stdout
        assert "step 3" in agent("show", str(folder), "--step", "3").stdout.lower()
        assert agent("report", str(folder)).stdout.startswith("# ")
        assert "Chroma" in agent("memory", "search", str(folder), "two processes").stdout
        refused = agent("forget", str(folder), "--yes", code=1)
        assert "ead-only" in last_line(refused)
        refused = agent("fork", str(folder), "--at", "2", code=1)
        assert "ead-only" in last_line(refused)
        assert last_line(refused).endswith("; --out DIR names another")
        (tmp_path / "forks").mkdir()
        (tmp_path / "forks").chmod(0o777)
        agent("fork", str(folder), "--at", "2", "--out", str(tmp_path / "forks"), "--set", "limits.steps=4", code=3)
        assert len(list((tmp_path / "forks").iterdir())) == 1
        assert contents(folder) == before
        remounted(out, "rw")
        agent("resume", str(folder), "--set", "limits.steps=300")
        assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "complete"


def test_a_folder_that_a_user_may_not_write_is_one_line_and_can_be_read(agent: Run, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["agent"] == "root":
        pytest.skip("root may write everywhere")
    out = tmp_path / "runs"
    out.mkdir()
    out.chmod(0o777)
    agent("run", "config.yaml", "--out", str(out), "--set", "limits.steps=6", code=3)
    [folder] = out.iterdir()
    before = contents(folder)
    closed = [folder, *folder.rglob("*")]
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    refused = agent("resume", str(folder), code=1)
    assert "Permission denied" in last_line(refused)
    assert folder.name in last_line(refused)
    assert "incomplete" in agent("list", "--out", str(out)).stdout
    assert "step 3" in agent("show", str(folder), "--step", "3").stdout.lower()
    assert agent("report", str(folder)).stdout.startswith("# ")
    assert "Chroma" in agent("memory", "search", str(folder), "two processes").stdout
    assert contents(folder) == before
    for path in closed:
        path.chmod(0o755 if path.is_dir() else 0o644)
    agent("resume", str(folder), "--set", "limits.steps=300")
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "complete"


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT, reason="only root may mount a file system")
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(agent: Run, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with mounted(out, "32m"):
        agent("run", "config.yaml", "--out", str(out), "--set", "limits.steps=4", code=3)
        [folder] = out.iterdir()
        ballast = out / ".ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for room in (0, 16_000, 120_000):
            os.truncate(ballast, ballast.stat().st_size - room)
            full = agent("resume", str(folder), "--set", "limits.steps=300", code=1)
            assert "the disk is full" in last_line(full) or "is the disk full" in last_line(full) or "No space left" in last_line(full)
            assert f"research-agent resume {folder.name}" in last_line(full) or "cannot be worked on" in last_line(full)
        ballast.unlink()
        agent("resume", str(folder), "--set", "limits.steps=300")
        record = json.loads((folder / "run.json").read_text("utf-8"))
        assert (record["status"], record["reason"]) == ("complete", "")
