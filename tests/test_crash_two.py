"""Two at once: one run has one worker, whoever only looks never stands in its way, and any number of runs go side by side."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig, until
from research_agent.testing.crash.world import World

ROOT = Path(__file__).resolve().parents[1]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    return found


def test_a_run_is_worked_on_once_and_may_be_looked_at(rig: Rig, tmp_path: Path) -> None:
    with World(lines="A", follow_up="", stations=4, think_s=0.3) as world:
        life = Life(rig, world, world.config(tmp_path))
        assert life.killed_at("note.after")
        worker = life.session()  # the lock of the dead one is taken over
        asked = len(life.asked)
        until(lambda: len(life.asked) > asked or worker.ended.is_set())
        id = life.folder.name if life.folder else ""
        second = rig.run("resume", id, cwd=tmp_path)
        assert second.status == 1
        told = rf"research-agent: run {id} is being worked on by another process \(process {worker.pid} on .+\); wait for it, or stop it.*"
        assert re.fullmatch(told, second.said().strip().splitlines()[-1])
        for look in (("show", id), ("list",), ("report", id), ("memory", "search", id, "code of station A0")):
            looked = rig.run(*look, cwd=tmp_path)
            assert "Traceback" not in looked.said()
            assert looked.status == 0 or len(looked.said().strip().splitlines()) == 1
            if look[0] in ("show", "list"):
                assert looked.status == 0
                assert "running" in looked.said()
        assert not worker.ended.is_set()
        assert worker.wait() == 0
        assert life.folder
        assert audit.faults(life.folder) == []
        assert len(set(life.asked)) == len(life.asked)
        assert record(life.folder)["status"] == "complete"


def test_looking_at_a_run_never_keeps_a_worker_from_it(rig: Rig, tmp_path: Path) -> None:
    from research_agent.runs import create

    run = create(tmp_path / "runs", "Which?")
    with run.lock():
        assert run.locked
    for _ in range(200):
        assert not run.locked
        with run.lock():
            pass


def test_eight_runs_share_a_folder_and_a_cache(rig: Rig, tmp_path: Path) -> None:
    """Half of them read one web through one HTTP cache, half one folder through one index, all of them new."""
    with World(lines="A", follow_up="", stations=4, cached=True) as world:
        settings = world.config(tmp_path)
        quick = str(ROOT / "examples" / "quickstart.yaml")
        more = ("--set", f"cache={tmp_path / 'cache'}", "--set", "memory.embedder=none", "--out", str(tmp_path / "runs"))
        children = [
            child
            for _ in range(4)
            for child in (rig.start("run", str(settings), cwd=tmp_path), rig.start("run", quick, *more, cwd=tmp_path))
        ]
        assert [(child.wait(), child.said()[-300:] if child.status else "") for child in children] == [(0, "")] * 8
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 8
    assert all(record(folder)["status"] == "complete" for folder in folders)
    assert [fault for folder in folders for fault in audit.faults(folder)] == []
    reports: dict[str, set[str]] = {}
    for folder in folders:
        reports.setdefault(record(folder)["question"], set()).add(str(audit.story(folder)["report"]))
    assert [len(different) for different in reports.values()] == [1, 1]
    assert record(folders[0])["warnings"] == []
    for path in (tmp_path / "cache").glob("**/*.sqlite"):
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
