"""A fork begins where another run stood at a step; the other is only read."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chain import KEY, Chain, config

from research_agent import Agent, Config
from research_agent.history.replay import replay
from research_agent.history.steps import NoSuchStep
from research_agent.runs import Run
from research_agent.testing.crash.world import KEY as WORLD_KEY
from research_agent.testing.crash.world import KEY_VARIABLE as WORLD_KEY_VARIABLE
from research_agent.testing.crash.world import World
from research_agent.testing.host import Reply, ScriptedHost
from research_agent.testing.site import Site

STEPS_OF_A_LINE = 7
"""Of two stations: a search, two pages, two notes, a look back, and a call of a tool that there is not."""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)


@contextmanager
def world(**options: Any) -> Iterator[tuple[Chain, Site, ScriptedHost]]:
    with Site() as site:
        chain = Chain(site, **options)
        with ScriptedHost(lambda request: chain.script(request), key=KEY) as host:
            yield chain, site, host


def read(folder: Path, name: str = "run.json") -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def fingerprint(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def spent(record: dict[str, Any]) -> tuple[int, int, int]:
    """Steps, tokens in and out, over a run and whatever it was forked from."""
    before = record.get("parent") or {"step": 0, "tokens": {"input": 0, "output": 0}}
    both = (record["tokens"], before["tokens"])
    return record["steps"] + before["step"], sum(tokens["input"] for tokens in both), sum(tokens["output"] for tokens in both)


def archived(folder: Path) -> list[tuple[int, str]]:
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        found = ledger.execute("SELECT step, kind FROM segments ORDER BY step, kind, ordinal").fetchall()
    ledger.close()
    return found


async def test_a_fork_at_any_step_ends_as_its_parent_did_and_leaves_it_untouched(tmp_path: Path) -> None:
    with world() as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        before, asked = fingerprint(parent.folder), len(host.requests)
        last = read(parent.folder)["steps"]
        for step in (0, 6, last):
            host.requests.clear()
            fork = await agent.afork(parent.id, at=step)
            assert (fork.status, fork.reason) == ("complete", "")
            assert fork.id != parent.id
            record = read(fork.folder)
            assert record["parent"]["id"] == parent.id
            assert record["parent"]["step"] == step
            assert record["steps"] == last - step
            assert record["model_calls"] == len(host.requests) < asked
            assert len(read(fork.folder, "findings.json")) == 4
            assert archived(fork.folder) == archived(parent.folder)
        assert host.refusals == []
        assert fingerprint(parent.folder) == before
    whole = {spent(read(path)) for path in (tmp_path / "runs").iterdir()}
    assert len(whole) == 1  # what the parent spent up to there, and what the fork spent, come to one whole run


async def test_a_fork_remembers_nothing_of_later_steps(tmp_path: Path) -> None:
    with world() as (chain, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        chain.script = lambda request: (
            Reply(reasoning="Enough.", content="No more.") if "tools" in request else Chain.script(chain, request)
        )  # type: ignore[method-assign]
        fork = await agent.afork(parent.id, at=4)
    assert {step for step, _ in archived(fork.folder)} <= set(range(5))
    assert {finding["quote"] for finding in read(fork.folder, "findings.json")} == {"Station 0 has the code K0"}
    ledger = b"".join(path.read_bytes() for path in fork.folder.glob("ledger.sqlite*"))
    assert b"K7919" in ledger  # page 1 was read at step 4, not noted yet
    assert b"K15838" not in ledger


async def test_the_first_prompt_of_a_fork_is_what_the_parent_was_sent_there(tmp_path: Path) -> None:
    with world(wide=2) as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        prompts = [json.dumps(request["messages"]) for request in host.requests]
        for step in (0, 3):
            host.requests.clear()
            await agent.afork(parent.id, at=step)
            assert json.dumps(host.requests[0]["messages"]) in prompts


async def test_within_a_turn_only_the_calls_that_were_made_by_then_are_kept(tmp_path: Path) -> None:
    with world(wide=3, length=6) as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        assert [step for step, kind in archived(parent.folder) if kind == "observation"][:4] == [1, 2, 3, 4]
        site.visits.clear()
        fork = await agent.afork(parent.id, at=3)
        visited = [visit.path for visit in site.visits]
    assert fork.status == "complete"
    assert "/page0" not in visited
    assert "/page1" not in visited
    assert archived(fork.folder) == archived(parent.folder)


async def test_a_step_that_was_not_made_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with world() as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        for step in (-1, 10, 9999):
            with pytest.raises(NoSuchStep, match=rf"^step {step}: not allowed: 0 to 9$"):
                await agent.afork(parent.id, at=step)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [parent.id]


async def test_a_fork_with_another_plan_works_on_that(tmp_path: Path) -> None:
    with world() as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        for step in (0, 4):
            host.requests.clear()
            fork = await agent.afork(parent.id, at=step, plan=["What colour are the letters?", "Which codes do the stations have?"])
            plan = read(fork.folder)["sub_questions"]
            assert [item["question"] for item in plan] == ["What colour are the letters?", "Which codes do the stations have?"]
            assert [item["id"] for item in plan] == (["2", "1"] if step else ["1", "2"])
            assert {item["status"] for item in plan} == {"done"}
            first = json.dumps(host.requests[0]["messages"])
            assert "What colour are the letters?" in first
            assert fork.status == "complete"
        assert host.refusals == []


async def test_a_fork_with_another_question_is_planned_anew_with_what_was_found(tmp_path: Path) -> None:
    with world(wide=3, length=6) as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        parent = await agent.arun()
        last = read(parent.folder)["steps"]
        for step in (3, 4):
            host.requests.clear()
            fork = await agent.afork(parent.id, at=step, question="Are the doors green?")
            record = read(fork.folder)
            assert record["question"] == "Are the doors green?"
            assert str(host.requests[0]["messages"][0]["content"]).startswith("You plan")
            assert "Are the doors green?" in json.dumps(host.requests[1]["messages"][1])
            assert record["steps"] + record["parent"]["step"] >= last
            assert (fork.status, fork.reason) == ("complete", "")
            assert len(read(fork.folder, "findings.json")) == 6
        assert host.refusals == []


async def test_a_fork_of_a_fork_and_of_a_run_that_failed_or_stopped(tmp_path: Path) -> None:
    with world() as (chain, site, host):
        parent = await Agent(config(tmp_path, site, host, limits={"steps": 5})).arun()
        assert parent.status == "incomplete"
        agent = Agent(config(tmp_path, site, host))
        child = await agent.afork(parent.id, at=5)
        assert child.status == "complete"
        for step in (3, 7):
            grandchild = await agent.afork(child.id, at=step)
            assert grandchild.status == "complete"
            record = read(grandchild.folder)
            assert record["steps"] == 9 - step
            assert spent(record) == spent(read(child.folder))
        chain.script = lambda request: Reply(status=401, error={"type": "invalid_authentication_error", "message": "no"})  # type: ignore[method-assign]
        failed = await agent.arun()
        assert failed.status == "failed"
        del chain.script
        again = await agent.afork(failed.id, at=0)
        assert again.status == "complete"
        with pytest.raises(NoSuchStep, match="no plan yet"):
            await agent.afork(failed.id, at=0, plan=["Why?"])


async def test_a_fork_has_its_own_limits(tmp_path: Path) -> None:
    with world() as (_, site, host):
        parent = await Agent(config(tmp_path, site, host)).arun()
        fork = await Agent(config(tmp_path, site, host, limits={"steps": 3})).afork(parent.id, at=4)
    assert fork.status == "incomplete"
    assert "the limit of 3 steps" in fork.reason
    assert read(fork.folder)["steps"] == 3
    assert max(step for step, _ in archived(fork.folder)) == 7


async def test_a_run_is_forked_while_it_is_worked_on(tmp_path: Path) -> None:
    with world() as (_, site, host):
        agent = Agent(config(tmp_path, site, host))
        stream = agent.astream()
        forked = folder = None
        async for event in stream:
            folder = event.get("folder", folder)
            if event["type"] == "call" and event["step"] == 6 and folder:
                forked = await agent.afork(folder, at=4)
        assert forked is not None
        assert forked.status == "complete"
        assert folder
        assert read(Path(folder))["status"] == "complete"
        assert archived(forked.folder) == archived(Path(folder))


async def test_calls_that_a_limit_refused_are_made_by_a_fork_whose_limit_lets_them(tmp_path: Path) -> None:
    with world(wide=3, length=6) as (_, site, host):
        whole = await Agent(config(tmp_path / "whole", site, host)).arun()
        for limit in (2, 3, 6):
            parent = await Agent(config(tmp_path, site, host, limits={"steps": limit})).arun()
            assert read(parent.folder)["steps"] == limit
            before = fingerprint(parent.folder)
            site.visits.clear()
            host.requests.clear()
            for step in sorted({2, limit}):
                fork = await Agent(config(tmp_path, site, host)).afork(parent.id, at=step)
                assert (fork.status, fork.reason) == ("complete", ""), (limit, step)
                assert archived(fork.folder) == archived(whole.folder)
                assert read(fork.folder)["steps"] + step == read(whole.folder)["steps"]
                assert "is reached" not in json.dumps(host.requests)
                assert (await replay(Run(fork.folder))).difference == ""
            assert "/page0" not in {visit.path for visit in site.visits}  # it was made at step 2
            assert fingerprint(parent.folder) == before
        assert host.refusals == []


async def test_a_fork_refuses_the_calls_that_are_over_its_own_limit(tmp_path: Path) -> None:
    with world(wide=3, length=6) as (_, site, host):
        parent = await Agent(config(tmp_path, site, host, limits={"steps": 2})).arun()
        for limits, reached in ((1, 3), (2, 4)):
            fork = await Agent(config(tmp_path, site, host, limits={"steps": limits})).afork(parent.id, at=2)
            assert read(fork.folder)["steps"] == limits
            made = [step for step, kind in archived(fork.folder) if kind == "observation"]
            assert made == list(range(1, reached + 1))
            again = await Agent(config(tmp_path, site, host)).afork(fork.id, at=reached)
            assert again.status == "complete"
            assert len(read(again.folder, "findings.json")) == 6


async def test_a_call_that_was_refused_is_not_taken_for_one_that_was_made(tmp_path: Path) -> None:
    """It has the step of the last one that was."""
    with world(wide=3, length=6) as (_, site, host):
        parent = await Agent(config(tmp_path, site, host, limits={"steps": 2})).arun()
        result = await Agent(config(tmp_path, site, host)).aresume(parent.id)
        visited = {visit.path for visit in site.visits}
    assert (result.status, result.reason) == ("complete", "")
    assert {f"/page{n}" for n in range(6)} <= visited
    assert len(read(result.folder, "findings.json")) == 6
    assert (await replay(Run(result.folder))).difference == ""


async def test_a_number_of_a_sub_question_is_never_given_twice_whatever_a_changed_plan_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORLD_KEY_VARIABLE, WORLD_KEY)
    with World(lines="ABC", follow_up="D", stations=2) as world:
        agent = Agent(Config.load(world.config(tmp_path, python={"enabled": False})))
        parent = await agent.arun()
        asked = {item["question"].split()[-2]: item for item in read(parent.folder)["sub_questions"]}
        noted = [finding["claim"] for finding in read(parent.folder, "findings.json")]
        fork = await agent.afork(parent.id, at=2 * STEPS_OF_A_LINE, plan=[asked["C"]["question"]])
        again = await agent.afork(fork.id, at=2 * STEPS_OF_A_LINE, plan=[asked["C"]["question"]])
    assert len(noted) == 8
    for made in (fork, again):
        assert made.status == "complete"
        plan = {item["id"]: item["question"] for item in read(made.folder)["sub_questions"]}
        filed = {(finding["claim"].split()[1][0], finding["sub_question"]) for finding in read(made.folder, "findings.json")}
        assert {line for line, _ in filed} == set("ABCD")
        assert all(f"line {line}" in plan[id] for line, id in filed if id in plan)
        assert not {id for line, id in filed if line in "AB"} & set(plan)
