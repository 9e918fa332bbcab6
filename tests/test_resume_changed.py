"""A run goes on with other limits, another model or another host, in the middle of a tool loop too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chain import KEY, Chain, config, mapping

from research_agent import Agent, Config
from research_agent.history.replay import replay
from research_agent.history.settings import config_of
from research_agent.runs import Run
from research_agent.testing.host import ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect
from research_agent.testing.site import Site

MODELS: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "moonshot": (KIMI, {"provider": "moonshot", "name": "kimi-k2.6"}),
    "deepseek": (DEEPSEEK, {"provider": "deepseek", "name": "deepseek-v4-pro"}),
    "vllm": (VLLM, {"provider": "vllm", "name": "kimi-k2-thinking"}),
    "openai": (Dialect(), {"provider": "openai", "name": "other"}),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)


async def stopped(agent: Agent, step: int) -> Path:
    """The folder of a run that was stopped while this step's call was under way."""
    folder = ""
    stream = agent.astream()
    async for event in stream:
        folder = event.get("folder", folder)
        if event["type"] == "call" and event["step"] == step:
            break
    await stream.aclose()
    return Path(folder)


def run_json(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text("utf-8"))


@pytest.mark.parametrize(("one", "other"), [("moonshot", "deepseek"), ("moonshot", "openai"), ("deepseek", "vllm"), ("vllm", "moonshot")])
async def test_another_host_goes_on_in_the_middle_of_a_tool_loop(tmp_path: Path, one: str, other: str) -> None:
    with Site() as site:
        chain = Chain(site, wide=2)
        (first, model), (second, another) = MODELS[one], MODELS[other]
        with ScriptedHost(chain.script, dialect=first) as before, ScriptedHost(chain.script, dialect=second) as after:
            settings = mapping(tmp_path, site, before)
            key = {"api_key_env": "TEST_HOST_KEY"}
            agent = Agent(Config.from_mapping({**settings, "model": {**model, **key, "base_url": before.base_url}}, base=tmp_path))
            folder = await stopped(agent, 2)
            thoughts = ["I start with a search.", "On to page 0."]
            assert any(thoughts[0] in json.dumps(request) for request in before.requests)
            asked = len(before.requests)
            changed = [f"model={json.dumps({**another, **key, 'base_url': after.base_url})}"]
            result = await Agent(config_of(Run(folder), overrides=changed)).aresume(folder)
        assert (result.status, result.reason) == ("complete", "")
        assert before.refusals == after.refusals == []
        assert len(before.requests) == asked
        investigated = [request for request in after.requests if "tools" in request]
        assert not any(thought in json.dumps(request) for thought in thoughts for request in after.requests)
        assert "are new; I note them." in json.dumps(investigated[-1])  # its own thoughts go back
        ids = [call["id"] for message in investigated[-1]["messages"] for call in message.get("tool_calls") or ()]
        assert len(ids) == len(set(ids)) == run_json(result.folder)["steps"]


async def test_limits_that_are_raised_let_a_run_go_on_and_lowered_ones_hold(tmp_path: Path) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as host:
            result = await Agent(config(tmp_path, site, host, limits={"steps": 3})).arun()
            assert result.status == "incomplete"
            for limit in (5, 2, 60):
                result = await Agent(config_of(Run(result.folder), overrides=[f"limits.steps={limit}"])).aresume(result.folder)
                assert (f"the limit of {limit} steps" in result.reason) == (limit < 60)
        assert result.status == "complete"
        assert run_json(result.folder)["steps"] == 9


async def test_a_report_is_written_anew_by_another_model_and_the_earlier_one_kept(tmp_path: Path) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as host:
            first = await Agent(config(tmp_path, site, host)).arun()
            before, asked = run_json(first.folder), len(host.requests)
            earlier = (first.folder / "report.md").read_text("utf-8")
            again = await Agent(config_of(Run(first.folder), model="another", role="writer")).arewrite(first.folder)
            assert (again.status, again.reason) == ("complete", "")
            assert [request["model"] for request in host.requests[asked:]] == ["another"]
        record = run_json(first.folder)
    assert (first.folder / "report.1.md").read_text("utf-8") == earlier
    assert "Written by another." in (first.folder / "report.md").read_text("utf-8")
    assert record["model_calls"] == before["model_calls"] + 1
    assert record["tokens"]["input"] > before["tokens"]["input"]
    assert record["steps"] == before["steps"]
    assert record["config"] == before["config"]  # what goes on is the run as it was
    offline = await Agent(config_of(Run(first.folder), model="extractive", role="writer")).arewrite(first.folder)
    assert offline.status == "complete"
    assert "No language model wrote this report" in (first.folder / "report.md").read_text("utf-8")
    assert len(list(first.folder.glob("report.*.md"))) == 2


async def test_a_rewriting_that_fails_leaves_the_report_and_the_run_as_they_were(tmp_path: Path) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as host:
            first = await Agent(config(tmp_path, site, host)).arun()
        before, earlier = run_json(first.folder), (first.folder / "report.md").read_text("utf-8")
        with ScriptedHost(chain.script, key="another") as closed:
            overrides = [f"roles.writer.base_url={closed.base_url}"]
            failed = await Agent(config_of(Run(first.folder), model="another", role="writer", overrides=overrides)).arewrite(first.folder)
    assert failed.status == "failed"
    assert "the report was not written anew" in failed.reason
    after = run_json(first.folder)
    assert {name: after[name] for name in ("status", "reason", "report", "config")} == {
        name: before[name] for name in ("status", "reason", "report", "config")
    }
    assert (first.folder / "report.md").read_text("utf-8") == earlier
    assert list(first.folder.glob("report.*.md")) == []
    assert (await replay(Run(first.folder))).difference == ""


async def test_a_run_that_a_refused_key_ended_is_written_by_another_model(tmp_path: Path) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as host:
            folder = await stopped(Agent(config(tmp_path, site, host)), 6)
        with ScriptedHost(chain.script, key="another") as closed:
            overrides = [f"model.base_url={closed.base_url}"]
            refused = await Agent(config_of(Run(folder), overrides=overrides)).aresume(folder)
            assert refused.status == "incomplete"
        told = refused.reason
    written = await Agent(config_of(Run(folder), model="extractive", role="writer")).arewrite(folder)
    assert (written.status, written.reason) == ("incomplete", told)
    assert "No language model wrote this report" in (folder / "report.md").read_text("utf-8")
    assert run_json(folder)["config"]["model"]["provider"] == "openai"


async def test_a_new_address_of_the_runs_model_is_the_new_writers_too(tmp_path: Path) -> None:
    with Site() as site:
        chain = Chain(site)
        with ScriptedHost(chain.script, key=KEY) as old:
            first = await Agent(config(tmp_path, site, old)).arun()
        with ScriptedHost(chain.script, key=KEY) as new:
            overrides = [f"model.base_url={new.base_url}"]
            again = await Agent(config_of(Run(first.folder), model="another", role="writer", overrides=overrides)).arewrite(first.folder)
            assert [request["model"] for request in new.requests] == ["another"]
    assert again.status == "complete"


async def test_a_writer_that_did_not_answer_adds_no_prompt_to_a_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research_agent.graphs.calls.wait_s", lambda error, attempt: 0.01)
    with Site() as site, ScriptedHost(Chain(site).script, key=KEY) as host:
        first = await Agent(config(tmp_path, site, host)).arun()
    before = await replay(Run(first.folder))
    gone = config_of(Run(first.folder), model="another", role="writer", overrides=["model.base_url=http://127.0.0.1:1/v1"])
    assert (await Agent(gone).arewrite(first.folder)).status == "failed"
    after = await replay(Run(first.folder))
    assert (after.requests, after.recorded, after.difference) == (before.requests, before.recorded, "")
    assert after.recorded == run_json(first.folder)["model_calls"]
