"""A run with a scripted model: its config, what it plans and says, and what it was told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from research_agent import Config
from research_agent.testing.host import Reply, Request, ScriptedHost


def config(tmp_path: Path, host: ScriptedHost, **changes: Any) -> Config:
    (tmp_path / "docs").mkdir(exist_ok=True)
    (tmp_path / "docs" / "moons.md").write_text("# Moons\n\nThe planet Vulpa has nine moons, as counted in 1923.\n")
    model = {"provider": "openai", "name": "scripted", "base_url": host.base_url, "window_tokens": 32_000, "max_output_tokens": 4_000}
    return Config.from_mapping(
        {
            "question": "How many moons has Vulpa?",
            "model": {**model, "prices": {"miss": 0.6, "hit": 0.15, "output": 2.5}},
            "search": {"folder": str(tmp_path / "docs")},
            "memory": {"embedder": "none"},
            "python": {"enabled": False},
            "cache": str(tmp_path / "cache"),
            "out": str(tmp_path / "runs"),
            **changes,
        },
        base=tmp_path,
    )


def scripted(investigate: Callable[[list[dict[str, Any]]], Reply], *questions: str) -> Callable[[Request], Reply]:
    def script(request: Request) -> Reply:
        rules = str(request["messages"][0]["content"])
        if rules.startswith("You plan"):
            return Reply(content=json.dumps({"brief": "A number.", "sub_questions": list(questions) or ["How many moons?"]}))
        if rules.startswith("You review"):
            return Reply(content=json.dumps({"verdict": "Fine.", "follow_ups": []}))
        if rules.startswith("You write"):
            return Reply(content=json.dumps({"answer": "Nine [S1].", "sections": []}))
        return investigate(request["messages"])

    return script


def said(messages: list[dict[str, Any]]) -> str:
    return "\n".join(str(message.get("content") or "") for message in messages)
