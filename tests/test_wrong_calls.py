"""A model that calls tools wrongly is told how they are called; if it never learns, a sub-question is lost, and not the run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_runs import config, said, scripted

from research_agent import Agent
from research_agent.testing.host import Call, Reply, Request, ScriptedHost

WRONG = [Call("serach", {"query": "moons"}), Call("web_search", {"quarry": "moons"}), Call("web_search", '{"query": "moo')]


async def test_three_wrong_calls_in_a_row_bring_the_tools_as_they_are_called(tmp_path: Path) -> None:
    def investigate(messages: list[dict[str, Any]]) -> Reply:
        results = [message for message in messages if message["role"] == "tool"]
        if len(results) < 3:
            return Reply(reasoning="I try.", calls=[WRONG[len(results)]])
        if len(results) == 3:
            return Reply(reasoning="Ah.", calls=[Call("web_search", {"query": "Vulpa moons"})])
        return Reply(content="Nine.")

    with ScriptedHost(scripted(investigate)) as host:
        await Agent(config(tmp_path, host)).arun()
        sent = [request["messages"] for request in host.requests if "research agent" in str(request["messages"][0]["content"])]
    before, after = said(sent[2]), said(sent[3])
    assert "<tools>" not in before
    assert after.count("<tools>") == 1
    assert "web_search(query: string" in after
    assert "note(claim: string, quote: string, source: string)" in after
    assert said(sent[-1]).count("<tools>") == 1
    assert "nine moons" in said(sent[-1])


REVIEWS = {
    json.dumps({"verdict": "Fine."}): "follow_ups: Field required",
    '{"verdict": ' + "[" * 50_000 + "}": "its brackets are nested too deep",
}


@pytest.mark.parametrize("review", REVIEWS)
async def test_a_review_that_stays_invalid_is_told_on_the_screen_in_the_record_and_in_the_report(tmp_path: Path, review: str) -> None:
    def investigate(messages: list[dict[str, Any]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        if results > 1:
            return Reply(content="Nine.")
        note = Call("note", {"claim": "It has nine.", "quote": "The planet Vulpa has nine moons", "source": "S100"})
        return Reply(calls=[note if results else Call("web_search", {"query": "Vulpa moons"})])

    def script(request: Request) -> Reply:
        if said(request["messages"]).startswith("You review"):
            return Reply(content=review)
        return scripted(investigate)(request)

    events: list[dict[str, Any]] = []
    with ScriptedHost(script) as host:
        result = await Agent(config(tmp_path, host)).arun(on_event=events.append)
    assert result.status == "complete"
    record = json.loads((result.folder / "run.json").read_text())
    told = f"the model's review stayed invalid: {REVIEWS[review]}"
    assert {"step": 2, "what": "review", "reason": told} in record["failures"]
    [warning] = [event["text"] for event in events if event["type"] == "warning" and "review" in event["text"]]
    assert warning == f"no review, so nothing is followed up: {told}"
    assert warning in record["warnings"]
    report = (result.folder / "report.md").read_text()
    assert re.search("step 2, review: " + told.replace("'", ".").replace("_", ".?_"), report)


async def test_wrong_calls_without_end_close_the_sub_question_and_not_the_run(tmp_path: Path) -> None:
    def investigate(messages: list[dict[str, Any]]) -> Reply:
        if '<sub_question id="2">' not in said(messages):
            return Reply(reasoning="Again.", calls=[Call("serach", {"query": "moons"}), Call("web_search", {"quarry": 1})])
        if "nine moons" not in said(messages):
            return Reply(reasoning="Now right.", calls=[Call("web_search", {"query": "Vulpa moons"})])
        if not any(call["function"]["name"] == "note" for message in messages for call in message.get("tool_calls") or ()):
            [handle] = set(re.findall(r'handle="(S\d+)"', said(messages)))
            return Reply(calls=[Call("note", {"claim": "It has nine.", "quote": "The planet Vulpa has nine moons", "source": handle})])
        return Reply(content="Nine.")

    events: list[dict[str, Any]] = []
    with ScriptedHost(scripted(investigate, "Who counted them?", "How many moons?")) as host:
        result = await Agent(config(tmp_path, host)).arun(on_event=events.append)
        refusals = host.refusals
    record = json.loads((result.folder / "run.json").read_text())
    assert refusals == []
    assert [item["status"] for item in record["sub_questions"]] == ["failed", "done"]
    assert any("given up after 10 calls in a row" in failure["reason"] for failure in record["failures"])
    assert result.report is not None
    assert record["steps"] < 15


async def test_a_right_call_between_wrong_ones_starts_the_count_anew(tmp_path: Path) -> None:
    def investigate(messages: list[dict[str, Any]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        if results >= 9:
            return Reply(content="Nine.")
        return Reply(calls=[WRONG[0] if results % 3 else Call("web_search", {"query": f"moons {results}"})])

    with ScriptedHost(scripted(investigate)) as host:
        result = await Agent(config(tmp_path, host)).arun()
        assert "<tools>" not in said(host.requests[-1]["messages"]) + json.dumps([request["messages"] for request in host.requests])
    assert json.loads((result.folder / "run.json").read_text())["sub_questions"][0]["status"] == "done"
