"""Forks and steps of a run whose checkpoints are on PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers import NO_POSTGRES, PASSWORD, Postgres

from research_agent import Agent, Config
from research_agent.history.at_step import at_step
from research_agent.runs import Run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.skipif(bool(NO_POSTGRES), reason=NO_POSTGRES)
async def test_a_run_on_postgresql_is_forked_and_its_steps_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server = Postgres()
    try:
        config = Config.from_mapping(
            {
                "question": "Is it safe when two processes write vectors to one Chroma folder?",
                "search": {"folder": str(EXAMPLES / "corpus")},
                "python": {"enabled": False},
                "memory": {"embedder": "none"},
                "limits": {"steps": 6},
                "cache": str(tmp_path / "cache"),
                "out": str(tmp_path / "runs"),
                "store": {"checkpoints": server.url()},
            },
            base=tmp_path,
        )
        parent = await Agent(config).arun()
        assert (await at_step(Run(parent.folder), 2))["prompt"]
        fork = await Agent(config).afork(parent.id, at=2)
        record = json.loads((fork.folder / "run.json").read_text("utf-8"))
        [[rows]] = server.sql("SELECT count(*) FROM checkpoints WHERE thread_id = %s", fork.id)
    finally:
        server.close()
    assert record["parent"]["step"] == 2
    assert record["steps"] > 0
    assert int(str(rows)) > 3
