"""The doctor: what works, what does not, and what to do about it, against hosts of several dialects and faults."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from research_agent.doctor import model as doctor_model
from research_agent.doctor.machine import diagnose
from research_agent.doctor.row import Row
from research_agent.terminal import tables
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect

KEY = "sk-test-" + "s3cr3t" * 5


def adding(request: Request) -> Reply:
    if request["messages"][-1]["role"] == "tool":
        return Reply(reasoning="I have it.", content="42.")
    return Reply(reasoning="I call the tool.", calls=[Call("add", {"a": 17, "b": 25})])


def written(tmp_path: Path, host: str, provider: str = "moonshot", name: str = "kimi-k2-thinking", **changes: Any) -> Path:
    (tmp_path / "docs").mkdir(exist_ok=True)
    (tmp_path / "docs" / "moons.md").write_text("Nine moons.\n")
    model = {"provider": provider, "name": name, "base_url": host, "api_key_env": "TEST_HOST_KEY"}
    settings = {"model": model, "search": {"folder": "docs"}, "memory": {"embedder": "none"}, "out": str(tmp_path / "runs"), **changes}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


async def examined(path: Path | None, *, offline: bool = False) -> tuple[dict[str, Row], bool, list[str]]:
    rows: list[Row] = []
    said: list[str] = []
    works = await diagnose(path, (), offline=offline, on_row=rows.append, say=said.append)
    for row in rows:
        assert row.state in ("ok", "skip") or row.remedy, row
        assert KEY not in f"{row}"
    return {row.check: row for row in rows}, works, said


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)


def states(rows: dict[str, Row], checks: Sequence[str] = doctor_model.CHECKS) -> list[str]:
    return [rows[check].state for check in checks]


@pytest.mark.parametrize(
    ("provider", "name", "dialect"),
    [
        ("moonshot", "kimi-k2-thinking", KIMI),
        ("deepseek", "deepseek-flash", DEEPSEEK),
        ("vllm", "moonshotai/Kimi-K2-Thinking", VLLM),
        ("llamacpp", "any", Dialect()),
    ],
    ids=["kimi", "deepseek", "vllm", "any"],
)
async def test_a_host_that_works_is_ok_in_every_row_for_two_calls(tmp_path: Path, provider: str, name: str, dialect: Dialect) -> None:
    with ScriptedHost(adding, dialect=dialect, key=KEY) as host:
        rows, works, said = await examined(written(tmp_path, host.base_url, provider, name))
        assert len(host.requests) == 2
        assert host.refusals == []
    assert works
    assert states(rows) == ["ok"] * 6
    assert f"came in {dialect.reasoning_field}, and the host took it back" in rows["reasoning"].found
    assert rows["cache"].found.startswith("reported: ")
    assert not rows["cache"].found.startswith("reported: 0")
    assert rows["search: folder"].state == "ok"
    assert any("two short questions" in line and name in line for line in said)


async def test_a_wrong_key_fails_the_key_and_tries_nothing_else(tmp_path: Path) -> None:
    with ScriptedHost(adding, key="another") as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url))
        assert len(host.requests) == 1
    assert not works
    assert states(rows) == ["fail", "skip", "skip", "skip", "skip", "skip"]
    assert rows["key"].remedy == "check it"


async def test_a_model_the_host_does_not_have_is_told_with_those_it_has(tmp_path: Path) -> None:
    missing = Reply(status=404, error={"message": "The model `kimi-k2-thinking` does not exist", "type": "NotFoundError"})
    with ScriptedHost(lambda _: missing) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url))
    assert not works
    assert rows["model"].state == "fail"
    assert "it serves scripted" in rows["model"].remedy


async def test_reasoning_that_does_not_come_back_is_a_warning_with_the_servers_switch(tmp_path: Path) -> None:
    def silent(request: Request) -> Reply:
        reply = adding(request)
        return Reply(content=reply.content, calls=reply.calls)

    with ScriptedHost(silent, dialect=VLLM) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url, "vllm"))
    assert works
    assert rows["reasoning"].state == "warn"
    assert "--reasoning-parser" in rows["reasoning"].remedy


async def test_a_host_that_refuses_the_second_turn_fails_the_round_trip(tmp_path: Path) -> None:
    def refusing(request: Request) -> Reply:
        if request["messages"][-1]["role"] == "tool":
            return Reply(status=400, error={"message": "reasoning_content is missing in assistant tool call message at index 2"})
        return adding(request)

    with ScriptedHost(refusing) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url))
    assert not works
    assert states(rows) == ["ok", "ok", "ok", "ok", "fail", "skip"]


async def test_no_call_of_the_tool_fails_it(tmp_path: Path) -> None:
    with ScriptedHost(lambda _: Reply(reasoning="Easy.", content="42")) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url, "vllm"))
    assert not works
    assert rows["tools"].state == "fail"
    assert "--tool-call-parser" in rows["tools"].remedy


async def test_a_cache_that_is_not_reported_is_a_warning(tmp_path: Path) -> None:
    def counted(request: Request) -> Reply:
        reply = adding(request)
        usage = {"prompt_tokens": 2000, "completion_tokens": 20, "total_tokens": 2020}
        return Reply(reasoning=reply.reasoning, content=reply.content, calls=reply.calls, usage=usage)

    with ScriptedHost(counted) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url))
    assert works
    assert rows["cache"].state == "warn"
    assert "full price" in rows["cache"].found


async def test_no_host_fails_the_host(tmp_path: Path) -> None:
    with ScriptedHost(adding) as host:
        path = written(tmp_path, host.base_url)
    rows, works, _ = await examined(path)
    assert not works
    assert states(rows) == ["skip", "fail", "skip", "skip", "skip", "skip"]
    assert "model.base_url" in rows["host"].remedy


async def test_a_host_that_never_answers_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_model, "CALL_S", 0.3)
    with ScriptedHost(lambda _: Reply(content="late", delay_s=2.0)) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url))
    assert not works
    assert rows["host"].state == "fail"
    assert "no answer in 0.3 s" in rows["host"].found


async def test_offline_asks_nobody(tmp_path: Path) -> None:
    with ScriptedHost(adding) as host:
        path = written(tmp_path, host.base_url, search={"providers": ["ddgs"]})
        rows, works, said = await examined(path, offline=True)
        assert host.requests == []
    assert works
    assert said == []
    assert states(rows) == ["ok", "skip", "skip", "skip", "skip", "skip"]
    assert rows["search: ddgs"].state == "skip"


async def test_a_search_that_fails_is_a_failure_unless_another_works(tmp_path: Path) -> None:
    alone = {"providers": ["searxng"], "searxng_url": "http://127.0.0.1:9"}
    with ScriptedHost(adding) as host:
        rows, works, _ = await examined(written(tmp_path, host.base_url, search=alone))
        both, still, _ = await examined(
            written(tmp_path, host.base_url, search={**alone, "providers": ["searxng", "folder"], "folder": "docs"})
        )
    assert (rows["search: searxng"].state, works) == ("fail", False)
    assert (both["search: searxng"].state, still) == ("warn", True)


async def test_a_key_that_is_not_set_is_told_and_the_machine_is_still_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_HOST_KEY")
    path = written(tmp_path, "https://api.moonshot.ai/v1")
    rows, works, _ = await examined(path)
    assert not works
    assert "TEST_HOST_KEY is not set" in rows["config"].found
    assert rows["stores"].state == "ok"


async def test_without_a_config_it_tells_of_the_machine_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows, works, said = await examined(None)
    assert works
    assert list(rows) == ["python", "sandbox", "stores", "vectors", "disk", "embedder", "keys"]
    assert said == []
    shown = "\n".join(tables.check(row) for row in rows.values())
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"^ok    stores +ledger and checkpoints", shown, re.MULTILINE)


def test_the_command_exits_1_where_something_needed_fails_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "research_agent", "doctor", "nothing.yaml", "--json"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    answer = json.loads(told.stdout)
    assert answer["works"] is False
    assert [row["check"] for row in answer["rows"]][:4] == ["config", "python", "sandbox", "stores"]
    assert list(tmp_path.iterdir()) == []
