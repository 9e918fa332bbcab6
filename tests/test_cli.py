"""The command line as its users meet it: its exit code, its stdout and stderr. As a process where that is what is shown; a process takes
seconds to start."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import research_agent
from research_agent.cli import main

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = str(ROOT / "examples" / "quickstart.yaml")


def cli(*args: str, cwd: Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")} | {"COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "research_agent", *args],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == code, done.stderr[-2000:]
    return done


def here(*args: str, cwd: Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["research-agent", *args])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == code, err.getvalue()[-2000:]
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which the quickstart has run, and what it told."""
    cwd = tmp_path_factory.mktemp("cli")
    done = cli("run", QUICKSTART, "--json", "--set", "memory.embedder=none", cwd=cwd)
    return cwd, json.loads(done.stdout.splitlines()[-1])


def test_json_is_the_last_line_of_stdout_and_progress_goes_to_stderr(finished: tuple[Path, dict[str, Any]]) -> None:
    cwd, told = finished
    assert set(told) == {"id", "folder", "status", "reason", "report"}
    assert told["status"] == "complete"
    assert Path(told["folder"]).parent.resolve() == (cwd / "runs").resolve()
    assert Path(told["report"]).read_text("utf-8").startswith("# ")


def test_a_plain_run_tells_its_id_its_report_and_its_answer(tmp_path: Path) -> None:
    done = cli("run", QUICKSTART, "--set", "memory.embedder=none", cwd=tmp_path)
    [folder] = (tmp_path / "runs").iterdir()
    out = done.stdout
    assert folder.name in out
    assert "report.md" in out
    assert "\x1b" not in out
    assert any(len(line) > 80 for line in out.splitlines())


def test_list_show_and_report_tell_of_a_run(finished: tuple[Path, dict[str, Any]]) -> None:
    cwd, told = finished
    assert told["id"] in here("list", cwd=cwd).stdout
    assert json.loads(here("list", "--json", cwd=cwd).stdout)[0]["id"] == told["id"]
    shown = here("show", told["id"], cwd=cwd).stdout
    assert "complete" in shown
    assert json.loads(here("show", told["id"], "--json", cwd=cwd).stdout)["steps"] > 0
    assert here("report", told["id"], cwd=cwd).stdout.startswith("# ")
    assert "<html" in here("report", told["folder"], "--format", "html", cwd=cwd).stdout
    assert "<document" in here("memory", "search", told["id"], "prompt cache", cwd=cwd).stdout


def test_forget_deletes_the_whole_run(tmp_path: Path) -> None:
    told = json.loads(here("run", QUICKSTART, "--json", "--set", "memory.embedder=none", cwd=tmp_path).stdout.splitlines()[-1])
    assert "nothing was done" in here("forget", told["id"], cwd=tmp_path, stdin="n\n", code=130).stderr
    assert Path(told["folder"]).exists()
    here("forget", told["id"], "--yes", cwd=tmp_path)
    assert not Path(told["folder"]).exists()
    assert "no run" in here("show", told["id"], cwd=tmp_path, code=1).stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run", "nothing.yaml"], ["nothing.yaml"]),
        (["run", QUICKSTART, "--set", "limits.usd=lots"], ["limits.usd", "lots", "dollars"]),
        (["run", QUICKSTART, "--set", "limit.usd=1"], ["limit", "limits"]),
        (["run", QUICKSTART, "--set", "model.provider=openai", "--set", "model.name=x"], ["OPENAI_API_KEY"]),
        (["run", QUICKSTART, "--no-such-option"], ["--no-such-option"]),
        (["fly"], ["fly"]),
    ],
)
def test_a_bad_command_or_config_is_one_line_and_exit_2(args: list[str], told: list[str], tmp_path: Path) -> None:
    done = here(*args, cwd=tmp_path, code=2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in told)
    assert not (tmp_path / "runs").exists()


def test_a_bad_config_ends_a_process_too(tmp_path: Path) -> None:
    done = cli("run", QUICKSTART, "--set", "limits.usd=lots", cwd=tmp_path, code=2)
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_limit_exits_3_and_no_evidence_exits_1(tmp_path: Path) -> None:
    done = here("run", QUICKSTART, "--set", "limits.steps=8", "--set", "memory.embedder=none", "--json", cwd=tmp_path, code=3)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == "incomplete"
    assert "8 steps" in told["reason"]
    assert f"resume {told['id']}" in done.stderr.strip().splitlines()[-1]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("Bread is baked from flour and water.")
    folder = f"search.folder={tmp_path / 'docs'}"
    done = here("run", QUICKSTART, "--question", "Who led the Zyxgorv expedition?", "--set", folder, "--json", cwd=tmp_path, code=1)
    assert "no evidence" in done.stderr.strip().splitlines()[-1]
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "failed"


def test_ctrl_c_stops_after_the_step_and_resume_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "research_agent", "run", QUICKSTART, "--set", "memory.embedder=none"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "web_search" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    [folder] = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "incomplete"
    steps = record["steps"]
    events = (folder / "events.jsonl").read_text().splitlines()
    done = [json.loads(line)["step"] for line in events if json.loads(line)["type"] == "result"]
    told = json.loads(cli("resume", folder.name, "--json", cwd=tmp_path).stdout.splitlines()[-1])
    assert told["status"] == "complete"
    record = json.loads((folder / "run.json").read_text())
    assert record["steps"] >= steps
    events = (folder / "events.jsonl").read_text().splitlines()[len(events) :]
    again = [json.loads(line)["step"] for line in events if json.loads(line)["type"] == "result"]
    assert not set(done) & set(again)


def test_a_killed_run_is_listed_as_interrupted_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "research_agent", "run", QUICKSTART, "--set", "memory.embedder=none"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "note" in line:
            process.kill()
            break
    process.communicate(timeout=60)
    [folder] = (tmp_path / "runs").iterdir()
    assert "interrupted" in here("list", cwd=tmp_path).stdout
    [row] = json.loads(here("list", "--json", cwd=tmp_path).stdout)
    shown = json.loads(here("show", folder.name, "--json", cwd=tmp_path).stdout)
    assert row["steps"] == shown["steps"] > 0  # what it did is told, though it never came to an end
    assert [item["question"] for item in shown["sub_questions"]]
    told = json.loads(cli("resume", folder.name, "--json", cwd=tmp_path).stdout.splitlines()[-1])
    assert told["status"] == "complete"


def test_a_waiting_plan_is_answered_by_resume(tmp_path: Path) -> None:
    done = here("run", QUICKSTART, "--set", "approve_plan=true", "--set", "memory.embedder=none", "--json", cwd=tmp_path, code=3)
    told = json.loads(done.stdout.splitlines()[-1])
    assert "approval" in told["reason"]
    done = here("resume", told["id"], "--answer", "yes", "--json", cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "complete"


def test_models_and_help_tell_what_there_is(tmp_path: Path) -> None:
    assert "kimi-k2-thinking" in here("models", cwd=tmp_path).stdout
    assert "resume" in cli("--help", cwd=tmp_path).stdout
    assert here("--version", cwd=tmp_path).stdout.strip() == f"research-agent {research_agent.__version__}"
