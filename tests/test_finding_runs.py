"""Which run a name means, and that none is forgotten that was not named."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import Command

from research_agent import Agent, Config, RunError
from research_agent.runs import Run, create


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """In a folder of its own, and without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return command


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has ended, the only one there is."""
    made = create(tmp_path / "runs", "What does the ferry cost?", config={"question": "What does the ferry cost?"})
    made.update(status="complete")
    return made


NAMED: dict[str, list[str]] = {
    "forget": ["-y"],
    "resume": [],
    "show": [],
    "report": [],
    "replay": [],
    "fork": ["--at", "0"],
    "memory rebuild": [],
    "memory search": ["ferry"],
    "memory export": ["memory.jsonl"],
}


@pytest.mark.parametrize("name", ["", " ", "\t"])
@pytest.mark.parametrize("verb", NAMED)
def test_an_empty_id_is_no_beginning_of_every_id(verb: str, name: str, run: Run, command: Command) -> None:
    done = command(*verb.split(), name, *NAMED[verb])
    assert done.code == 2
    assert f"an empty id ({name!r}) names no run" in done.err
    assert done.err.count("\n") == 1
    assert run.read()["status"] == "complete"


async def test_an_empty_id_is_refused_in_python_too(run: Run) -> None:
    agent = Agent(
        Config.from_mapping(
            {"question": "What does the ferry cost?", "search": {"folder": "."}, "out": str(run.folder.parent)}, base=run.folder
        )
    )
    with pytest.raises(RunError, match="names no run"):
        await agent.aresume("")
    with pytest.raises(RunError, match="names no run"):
        async with agent.embedded(run=""):
            pass
    assert [folder.name for folder in run.folder.parent.iterdir()] == [run.id]


@pytest.mark.parametrize("name", [".", "..", "/", "./", "runs", "runs/", "runs/.."])
def test_a_folder_that_is_no_run_is_never_forgotten(name: str, run: Run, command: Command, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = command("forget", "-y", name, "--out", str(run.folder / "assets"))
    assert done.code == 1
    assert f"no run '{name}'" in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_a_file_of_that_name_is_no_run_for_that(command: Command, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "run.json").write_text('{"question": "mine"}')
    done = command("forget", "-y", "project")
    assert (done.code, "not known to be a run's folder" in done.err) == (1, True)
    assert (tmp_path / "project" / "run.json").is_file()


def test_an_id_means_the_run_that_is_kept_and_not_a_folder_that_stands_there(run: Run, command: Command, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / run.id)
    assert json.loads(command("show", run.id, "--json").out)["folder"] == str(run.folder)
    assert json.loads(command("show", f"./{run.id}", "--json").out)["folder"] == str(tmp_path / run.id)
    assert command("forget", "-y", run.id).code == 0
    assert not run.folder.exists()
    assert (tmp_path / run.id).is_dir()


def test_a_record_that_is_gone_is_read_from_the_one_before_it(run: Run, command: Command, tmp_path: Path) -> None:
    (run.folder / "run.json").unlink()
    assert json.loads(command("show", run.id, "--json").out)["question"] == "What does the ferry cost?"
    assert [row["status"] for row in json.loads(command("list", "--json").out)] == ["interrupted"]
    assert "names no run" not in command("report", run.id[:20]).err
    run.update(status="complete")
    assert json.loads((run.folder / "run.json").read_text())["id"] == run.id
    (run.folder / "run.json").unlink()
    assert command("forget", "-y", run.id).code == 0
    assert not run.folder.exists()


@pytest.mark.parametrize("left", [None, b"garbage"])
def test_a_run_without_any_record_is_listed_with_what_removes_it(run: Run, left: bytes | None, command: Command) -> None:
    (run.folder / "events.jsonl").touch()
    for path in run.folder.glob("*run.json*"):
        path.unlink()
    if left is not None:
        (run.folder / "run.json").write_bytes(left)
    remedy = f"`research-agent forget {run.id}` removes what there is of the run"
    [row] = json.loads(command("list", "--json").out)
    assert (row["status"], remedy in row["reason"]) == ("damaged", True)
    for verb in ("show", "resume"):
        shown = command(verb, run.id)
        assert (shown.code, remedy in shown.err) == (1, True)
    forgotten = command("forget", "-y", run.id)
    assert (forgotten.code, "whether a server holds something of it is not known" in forgotten.out) == (0, True)
    assert not run.folder.exists()


def test_a_folder_that_only_holds_such_files_is_not_taken_for_a_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    (tmp_path / "runs" / "notes" / "events.jsonl").write_text("mine")
    done = command("forget", "-y", "notes")
    assert (done.code, "no run 'notes'" in done.err) == (1, True)
    assert (tmp_path / "runs" / "notes" / "events.jsonl").read_text() == "mine"


def test_a_forget_that_nobody_answers_names_the_option_that_does_not_ask(run: Run, command: Command) -> None:
    done = command("forget", run.id)
    assert done.code == 130
    assert (
        done.err.splitlines()[-1]
        == f"research-agent: nothing was done, for nobody said yes: `research-agent forget -y {run.id}` does not ask"
    )
    assert run.folder.is_dir()
