"""An application around the agent: its loop, its listener, its mistakes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from research_agent import Agent, Config
from research_agent.config import ConfigError


def config(tmp_path: Path, **changes: Any) -> Config:
    (tmp_path / "docs").mkdir(exist_ok=True)
    (tmp_path / "docs" / "moons.md").write_text("# Moons\n\nThe planet Vulpa has nine moons, as counted in 1923.\n")
    settings = {
        "question": "How many moons has the planet Vulpa?",
        "search": {"folder": str(tmp_path / "docs")},
        "memory": {"embedder": "none"},
        "python": {"enabled": False},
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "runs"),
    }
    return Config.from_mapping({**settings, **changes}, base=tmp_path)


async def test_a_listener_that_fails_is_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    def listen(event: dict[str, Any]) -> None:
        heard.append(event)
        raise KeyError("the application's own mistake")

    result = await Agent(config(tmp_path)).arun(on_event=listen)
    assert result.status == "complete"
    assert "nine moons" in (result.folder / "report.md").read_text()
    told = [event["text"] for event in heard if event["type"] == "warning"]
    assert [text for text in told if "on_event failed" in text] == ["on_event failed at 'run': KeyError: \"the application's own mistake\""]
    assert heard[-1]["type"] == "end"


async def test_the_sync_face_inside_a_running_loop_names_the_async_one(tmp_path: Path) -> None:
    agent = Agent(config(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no coroutine is left behind that nobody awaited
        with pytest.raises(RuntimeError, match=r"await agent\.arun\("):
            agent.run()
        with pytest.raises(RuntimeError, match=r"await agent\.aresume\("):
            agent.resume("any")
    assert not (tmp_path / "runs").exists()


async def test_an_embedder_that_is_not_here_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    spec = f"sentence-transformers:{tmp_path / 'nowhere'}"
    with pytest.raises(ConfigError, match=r"memory\.embedder: 'sentence-transformers:.*cannot be had"):
        await Agent(config(tmp_path, memory={"embedder": spec})).arun()
    assert not (tmp_path / "runs").exists()


async def test_what_a_model_without_a_host_is_not_asked_is_told(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    model = {"provider": "extractive", "base_url": "http://127.0.0.1:8000/v1"}
    result = await Agent(config(tmp_path, model=model)).arun(on_event=heard.append)
    assert result.status == "complete"
    assert any("model: base_url not used" in event.get("text", "") for event in heard)
