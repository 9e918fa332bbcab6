"""A run that an earlier version left behind, killed in the middle of three calls, goes on in this one."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

from langgraph.checkpoint.sqlite import SqliteSaver

from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig
from research_agent.testing.crash.world import World

LEFT = Path(__file__).parent / "fixtures" / "earlier_run.tar.gz"
"""Of commit 9413501: killed after a note was archived and before its checkpoint, with two more under way."""


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    with World(lines="A", follow_up="", stations=4) as world, Rig(tmp_path / "rig") as rig:
        life = Life(rig, world, world.config(tmp_path))
        with tarfile.open(LEFT) as tar:
            tar.extractall(tmp_path / "runs", filter="data")
        [folder] = (tmp_path / "runs").iterdir()
        with closing(sqlite3.connect(folder / "checkpoints.sqlite", check_same_thread=False)) as db:
            last = next(iter(SqliteSaver(db).list({"configurable": {"thread_id": folder.name}}, limit=1)))
        assert not {"wrong", "counted"} & last.checkpoint["channel_values"].keys()  # fields of the state that came later
        changed = (
            f"model.base_url={world.host.base_url}",
            f"search.searxng_url={world.site.url()}",
            f"scrape.allow_hosts=[{world.site.host}]",
        )
        child = life.whole(*(word for setting in changed for word in ("--set", setting)))
        assert child.status == 0, child.said()
        assert life.fetched == {"/A3": 1}  # what it had read it does not read again
        assert not any(str(request["messages"][0]["content"]).startswith("You plan") for request in world.host.requests)
        assert audit.faults(folder) == []
        findings = json.loads((folder / "findings.json").read_text("utf-8"))
        assert sorted(finding["claim"] for finding in findings) == [f"Station A{n} has its code." for n in range(4)]
        record = json.loads((folder / "run.json").read_text("utf-8"))
        assert (record["status"], record["steps"]) == ("complete", world.steps)
