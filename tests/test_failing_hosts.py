"""A host that fails: waited for if that helps, ended in one line that says what to do if it does not, and never billed in secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chain
import pytest
from scripted_runs import config, said, scripted

from research_agent import Agent
from research_agent.graphs import failures
from research_agent.history.settings import config_of
from research_agent.runs import Run
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.site import Site

OVERLOADED = {"type": "engine_overloaded_error", "message": "overloaded"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-test-" + "s3cr3t" * 5)
    monkeypatch.setattr(failures, "BASE_WAIT_S", 0.01)


def noting(messages: list[dict[str, Any]]) -> Reply:
    """Searches, notes, and then goes on without end."""
    results = sum(message["role"] == "tool" for message in messages)
    if results == 0:
        return Reply(reasoning="I search.", calls=[Call("web_search", {"query": "Vulpa moons"})])
    if results == 1:
        return Reply(calls=[Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})])
    return Reply(calls=[Call("web_search", {"query": f"Vulpa {results}"})])


def failing_after(requests: int, fault: Reply) -> Any:
    """A script that works for so many requests, and then is one fault for ever."""
    good, seen = scripted(noting), []

    def script(request: Request) -> Reply:
        seen.append(request)
        return fault if len(seen) > requests else good(request)

    return script


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Reply(status=401, error={"type": "invalid_authentication_error", "message": "Invalid Authentication"}),
            "was refused by 127.0.0.1",
        ),
        (
            Reply(status=429, error={"type": "exceeded_current_quota_error", "message": "check your plan"}),
            "has no credit left at 127.0.0.1",
        ),
    ],
    ids=["bad key", "no credit"],
)
async def test_what_will_not_pass_ends_the_run_at_once_with_what_it_has(tmp_path: Path, fault: Reply, told: str) -> None:
    events: list[dict[str, Any]] = []
    with ScriptedHost(failing_after(3, fault)) as host:
        agent = Agent(config(tmp_path, host))
        agent.config = agent.config.model_copy(update={"model": agent.config.model.model_copy(update={"api_key_env": "MOONSHOT_API_KEY"})})
        result = await agent.arun(on_event=events.append)
        asked = len(host.requests)
    assert asked == 4  # none was repeated, and the writer, who has the same key, was not asked at all
    assert not [event for event in events if event["type"] == "retry"]
    assert result.status == "incomplete"
    assert result.reason.startswith(f"the key in MOONSHOT_API_KEY {told}")
    assert result.reason.endswith(f", then `research-agent resume {result.folder}`")
    assert "\n" not in result.reason
    assert result.report is not None
    assert "nine moons" in result.report.read_text()


async def test_a_writer_with_a_key_of_its_own_still_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-other-" + "s3cr3t" * 5)
    fault = Reply(status=401, error={"message": "Invalid Authentication"})
    with ScriptedHost(failing_after(3, fault)) as host, ScriptedHost(scripted(noting)) as other:
        given = config(tmp_path, host).public()["model"]
        writer = {**given, "base_url": other.base_url, "api_key_env": "OTHER_KEY"}
        result = await Agent(config(tmp_path, host, roles={"writer": writer})).arun()
        assert len(other.requests) == 1
    assert result.status == "incomplete"
    assert result.answer.startswith("Nine")


async def test_a_host_that_never_listened_is_told_at_once_and_one_that_was_there_is_waited_for(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with ScriptedHost([]) as host:
        settings = config(tmp_path, host)
    first = await Agent(settings).arun(on_event=events.append)
    assert first.status == "failed"
    assert f"nothing answers at {urlsplit(host.base_url).netloc}, given up" in first.reason
    assert "start it, or check model.base_url" in first.reason
    assert len([event for event in events if event["type"] == "retry"]) == failures.ATTEMPTS_UNMET - 1

    with ScriptedHost(lambda request: gone(request)) as host:
        work = scripted(noting)

        def gone(request: Request) -> Reply:
            if len(host.requests) == 3:
                host._server.socket.close()  # the process is killed; what it answers now is its last word
            return work(request)

        events.clear()
        second = await Agent(config(tmp_path, host)).arun(on_event=events.append)
    assert len([event for event in events if event["type"] == "retry"]) >= failures.ATTEMPTS - 1
    assert second.report is not None


async def test_a_run_refused_before_its_plan_says_what_to_do_and_can_be_resumed(tmp_path: Path) -> None:
    fault = Reply(status=401, error={"message": "Invalid Authentication"})
    broken = [True]

    def script(request: Request) -> Reply:
        return fault if broken[0] else scripted(lambda m: Reply(content="Nine.") if "note(" in said(m) else noting(m))(request)

    with ScriptedHost(script) as host:
        agent = Agent(config(tmp_path, host, limits={"steps": 3}))
        first = await agent.arun()
        broken[0] = False
        second = await agent.aresume(first.id)
    assert first.status == "failed"
    assert "model.api_key_env" in first.reason
    assert f"`research-agent resume {first.folder}`" in first.reason
    assert second.report is not None


async def test_a_host_that_is_busy_is_waited_for_as_long_as_it_says(tmp_path: Path) -> None:
    busy = iter([Reply(status=429, error=OVERLOADED, headers={"Retry-After": "0.2"})] * 2)

    def script(request: Request) -> Reply:
        return next(busy, None) or scripted(noting)(request)

    events: list[dict[str, Any]] = []
    with ScriptedHost(script) as host:
        result = await Agent(config(tmp_path, host, limits={"steps": 2})).arun(on_event=events.append)
    waits = [event["wait_s"] for event in events if event["type"] == "retry"]
    assert len(waits) == 2
    assert all(0.2 <= wait <= 0.3 for wait in waits)
    assert result.report is not None


async def test_a_pause_of_hours_is_told_and_not_waited_for(tmp_path: Path) -> None:
    fault = Reply(status=429, error={"type": "rate_limit_reached_error", "message": "daily limit"}, headers={"Retry-After": "7200"})
    with ScriptedHost(failing_after(3, fault)) as host:
        result = await Agent(config(tmp_path, host)).arun()
        asked = len(host.requests)
    assert asked == 5
    assert "asks for a pause of 7,200 s" in result.reason
    assert result.report is not None


async def test_attempts_that_came_to_nothing_are_on_the_bill(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    wasted = iter(
        [Reply(reasoning="Hm.", usage=usage), Reply(reasoning="A long thought. " * 20, usage=usage, stop_after=30, chunk_chars=4)]
    )

    def script(request: Request) -> Reply:
        if "research agent" in str(request["messages"][0]["content"]) and (fault := next(wasted, None)):
            return fault
        counted = scripted(noting)(request)
        return Reply(content=counted.content, calls=counted.calls, usage=usage)

    with ScriptedHost(script) as host:
        result = await Agent(config(tmp_path, host, limits={"steps": 1})).arun()
        answered = len(host.requests)
    record = json.loads((result.folder / "run.json").read_text())
    assert record["model_calls"] == answered
    assert record["usd"] > (answered - 1) * (1000 * 0.6 + 100 * 2.5) / 1e6


async def test_a_network_that_dies_in_the_middle_of_a_run_costs_no_call_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", chain.KEY)
    with Site() as site:
        world = chain.Chain(site)
        with ScriptedHost(world.script) as host:
            whole = await Agent(chain.config(tmp_path / "whole", site, host)).arun()
            asked, fetched = len(host.requests), len(site.visits)
        site.visits.clear()
        with ScriptedHost(lambda request: dies(request)) as host:

            def dies(request: Request) -> Reply:
                if len(host.requests) == 5:
                    host._server.socket.close()  # what it answers now is its last word
                return world.script(request)

            first = await Agent(chain.config(tmp_path, site, host)).arun()
            before = len(host.requests)
        assert first.status == "incomplete"
        assert "nothing answers at 127.0.0.1" in first.reason
        assert first.reason.endswith(f", then `research-agent resume {first.folder}`")
        assert first.report is not None
        with ScriptedHost(world.script) as back:
            again = config_of(Run(first.folder), overrides=[f"model.base_url={back.base_url}"])
            result = await Agent(again).aresume(first.id)
            assert before + len(back.requests) == asked
        assert len(site.visits) == fetched
    assert (result.status, result.reason) == ("complete", "")
    found = [json.loads((folder / "findings.json").read_text("utf-8")) for folder in (whole.folder, result.folder)]
    assert [[item["claim"] for item in one] for one in found] == [[item["claim"] for item in found[0]]] * 2
