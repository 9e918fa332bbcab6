"""A whole run: one command, one folder, everything real but the host and the web."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from research_agent import Agent, Config
from research_agent.config import ConfigError
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.site import Page, Site

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
KEY = "sk-test-" + "s3cr3t" * 5


def quickstart(tmp_path: Path, **changes: str) -> Agent:
    overrides = [f"cache={tmp_path / 'cache'}", "memory.embedder=none", *(f"{key}={value}" for key, value in changes.items())]
    return Agent.from_config(EXAMPLES / "quickstart.yaml", out=tmp_path / "runs", overrides=overrides)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


async def test_the_quickstart_gives_a_cited_report_of_what_it_read(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    result = await quickstart(tmp_path).arun(on_event=events.append)
    assert (result.status, result.reason) == ("complete", "")
    report = (result.folder / "report.md").read_text("utf-8")
    sources, findings, record = (read(result.folder, name) for name in ("sources.json", "findings.json", "run.json"))
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", report)}
    assert cited
    assert cited <= {source["number"] for source in sources}
    assert len({source["url"] for source in sources}) == len(sources) >= 5
    assert "language model" in report
    corpus = EXAMPLES / "corpus"
    assert all((corpus / Path(source["url"]).name).is_file() for source in sources)
    assert findings
    assert {finding["source"] for finding in findings} <= {source["number"] for source in sources}
    assert record["status"] == "complete"
    assert record["usd"] == 0
    assert 0 < record["steps"] <= 60
    assert not re.search(r"\[S\d{3,}", report)
    for name in ("checkpoints.sqlite", "ledger.sqlite", "report.html", "events.jsonl"):
        assert (result.folder / name).stat().st_size > 0
    kinds = [event["type"] for event in events]
    assert kinds[0] == "run"
    assert kinds[-1] == "end"
    assert {"plan", "index", "call", "result", "finding", "sub_question", "report"} <= set(kinds)


async def test_the_same_question_gives_the_same_report(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        result = await quickstart(tmp_path / name).arun()
        texts.append((result.folder / "report.md").read_text("utf-8"))
    dateless = [re.sub(r"\d{4}-\d{2}-\d{2}(T[\d:]+Z)?", "", text) for text in texts]
    assert dateless[0] == dateless[1]


async def test_the_corpus_answers_its_questions_without_a_model(tmp_path: Path) -> None:
    questions = yaml.safe_load((EXAMPLES / "questions.yaml").read_text("utf-8"))
    answered = 0
    for item in questions:
        result = await quickstart(tmp_path).arun(item["question"])
        report = (result.folder / "report.md").read_text("utf-8").lower()
        assert result.status == "complete"
        held = [word.lower() in report for word in item["answer"]]
        assert any(held), item["question"]
        answered += all(held)
    assert answered >= 4  # of 5: one wants a figure that stands in no sentence with the question's words


CHAIN = 12


class World:
    """A chain of pages, each naming the next; a search engine that finds the first; a model that follows it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        for n in range(CHAIN):
            later = f'The next page is <a href="/page{n + 1}">page{n + 1}</a>.'
            text = f"<p>Station {n} has the code K{n * 7919}, painted on its door in green letters. {later}</p>" + "<p>It rained.</p>" * 5
            site.pages[f"/page{n}"] = Page(f"<html><head><title>Station {n}</title></head><body><article>{text}</article></body></html>")
        found = [{"url": site.url("/page0"), "title": "Station 0", "content": "Where the chain begins."}]
        site.pages["/search"] = Page(json.dumps({"results": found}), content_type="application/json")

    def script(self, request: Request) -> Reply:
        rules = str(request["messages"][0]["content"])
        if rules.startswith("You plan"):
            plan = {"brief": "All codes.", "sub_questions": ["Which codes do the stations have?"]}
            return Reply(reasoning="One thing to find.", content=json.dumps(plan))
        if rules.startswith("You review"):
            return Reply(reasoning="Complete.", content=json.dumps({"verdict": "All there.", "follow_ups": []}))
        if rules.startswith("You write"):
            return Reply(reasoning="Writing.", content=json.dumps(self.report(str(request["messages"][-1]["content"]))))
        return self.investigate(request["messages"])

    def investigate(self, messages: list[dict[str, Any]]) -> Reply:
        text = "\n".join(str(message.get("content") or "") for message in messages)
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        notes = [json.loads(call["function"]["arguments"])["claim"] for call in calls if call["function"]["name"] == "note"]
        notes += re.findall(r"claim: (Station \d+ has its code)", text)
        noted = {int(re.findall(r"\d+", note)[0]) for note in notes}
        shown = re.findall(r'<document handle="(S\d+)"[^>]*url="[^"]*/page(\d+)"', text)
        seen = {int(n): handle for handle, n in shown if f"K{int(n) * 7919}" in text}
        for n, handle in seen.items():
            if n not in noted:
                return Reply(
                    reasoning=f"Station {n} is new; I note it.",
                    calls=[
                        Call(
                            "note",
                            {"claim": f"Station {n} has its code", "quote": f"Station {n} has the code K{n * 7919}", "source": handle},
                        )
                    ],
                )
        if not calls and not noted:
            return Reply(reasoning="I start with a search.", calls=[Call("web_search", {"query": "stations"})])
        following = max(noted, default=-1) + 1
        if following < CHAIN:
            reading = [Call("scrape", {"url": self.site.url(f"/page{following}")})]
            return Reply(reasoning=f"On to page {following}.", calls=reading)
        return Reply(reasoning="The chain has ended.", content="All stations are noted.")

    def report(self, prompt: str) -> dict[str, Any]:
        found = re.findall(r'<finding handle="(S\d+)" sub_question="1">\nclaim: (.*?)\nquote: (.*?)\n', prompt)
        lines = [f"{quote} [{handle}]." for handle, _, quote in found]
        return {"answer": lines[0], "sections": [{"sub_question": "1", "text": " ".join(lines)}]}


def hosted(tmp_path: Path, site: Site, host: ScriptedHost, **changes: Any) -> Config:
    return Config.from_mapping(
        {
            "question": "Which codes do the stations have?",
            "model": {
                "provider": "openai",
                "name": "scripted",
                "base_url": host.base_url,
                "api_key_env": "TEST_HOST_KEY",
                "prices": {"miss": 0.6, "hit": 0.15, "output": 2.5},
                "window_tokens": 32_000,
                "max_output_tokens": 4_000,
            },
            "search": {"providers": ["searxng"], "searxng_url": site.url()},
            "scrape": {"allow_hosts": [site.host]},
            "memory": {"embedder": "none"},
            "limits": {"usd": 2.0, "steps": 60, "minutes": 5},
            "cache": str(tmp_path / "cache"),
            "out": str(tmp_path / "runs"),
            **changes,
        },
        base=tmp_path,
    )


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", KEY)


async def test_a_hosted_reasoning_model_reads_a_site_for_more_than_20_steps(tmp_path: Path) -> None:
    with Site() as site, ScriptedHost(World(site).script, key=KEY) as host:
        result = await Agent(hosted(tmp_path, site, host)).arun()
        requests, refusals = host.requests, host.refusals
    assert (result.status, result.reason) == ("complete", "")
    assert refusals == []
    record, findings, sources = (read(result.folder, name) for name in ("run.json", "findings.json", "sources.json"))
    assert record["steps"] == 1 + 2 * CHAIN
    assert len(findings) == CHAIN
    assert {source["url"] for source in sources} == {site.url(f"/page{n}") for n in range(CHAIN)}
    assert record["usd"] > 0
    assert record["tokens"]["cached"] > 0
    roles = record["roles"]
    assert [roles[role]["calls"] for role in ("planner", "reviewer", "writer")] == [1, 1, 1]
    assert sum(spent["calls"] for spent in roles.values()) == record["model_calls"] == len(requests)
    assert sum(spent["usd"] for spent in roles.values()) == pytest.approx(record["usd"], abs=1e-5)
    for name in ("input", "cached", "output", "reasoning"):
        assert sum(spent[name] for spent in roles.values()) == record["tokens"][name]
    report = (result.folder / "report.md").read_text("utf-8")
    assert all(f"K{n * 7919}" in report for n in range(CHAIN))
    assert all(message.get("reasoning_content") for request in requests for message in request["messages"] if message.get("tool_calls"))


async def test_no_secret_is_in_any_file_of_a_run(tmp_path: Path) -> None:
    with Site() as site, ScriptedHost(World(site).script, key=KEY) as host:
        site.pages["/page0"] = Page(
            f"<html><body><article><p>Station 0 has the code K0. The key is {KEY} here.</p></article></body></html>"
        )
        result = await Agent(hosted(tmp_path, site, host, limits={"steps": 4})).arun()
    assert result.status == "incomplete"
    holding = [path.name for path in result.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holding == []
    with sqlite3.connect(result.folder / "ledger.sqlite") as ledger:
        dump = "\n".join(str(row) for [name] in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                         for row in ledger.execute(f"SELECT * FROM {name}"))  # fmt: skip
    ledger.close()
    assert KEY not in dump


async def test_a_limit_ends_the_run_with_a_report_of_what_there_is(tmp_path: Path) -> None:
    with Site() as site, ScriptedHost(World(site).script, key=KEY) as host:
        result = await Agent(hosted(tmp_path, site, host, limits={"steps": 9})).arun()
    assert result.status == "incomplete"
    assert "9 steps" in result.reason
    assert read(result.folder, "run.json")["steps"] == 9
    assert "9 steps" in (result.folder / "report.md").read_text("utf-8")


async def test_a_dead_host_fails_the_run_in_one_line(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return Reply(status=401, error={"type": "invalid_authentication_error", "message": "Invalid Authentication"})

    with Site() as site, ScriptedHost(script) as host:
        result = await Agent(hosted(tmp_path, site, host)).arun()
    assert result.status == "failed"
    assert "\n" not in result.reason
    assert "uthentication" in result.reason
    assert result.report is None
    assert read(result.folder, "run.json")["status"] == "failed"


async def test_zero_evidence_is_a_failed_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Bread\n\nBread is baked from flour and water.\n")
    config = Config.from_mapping(
        {
            "question": "Who commanded the Zyxgorv expedition?",
            "search": {"folder": str(tmp_path / "docs")},
            "memory": {"embedder": "none"},
            "cache": str(tmp_path / "cache"),
            "out": str(tmp_path / "runs"),
        },
        base=tmp_path,
    )
    result = await Agent(config).arun()
    assert result.status == "failed"
    assert result.report is None
    assert "no evidence" in result.reason


async def test_pages_that_answer_nothing_are_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Moons\n\nQuantum foam stands in a heading of the moon only.\n")

    def script(request: Request) -> Reply:
        rules = str(request["messages"][0]["content"])
        if rules.startswith("You plan"):
            return Reply(content=json.dumps({"brief": "", "sub_questions": ["What of the moon?"]}))
        if rules.startswith("You review"):
            return Reply(content=json.dumps({"verdict": "Nothing.", "follow_ups": []}))
        if rules.startswith("You write"):
            return Reply(content=json.dumps({"answer": "I know it by heart: 42.", "sections": []}))
        searched = any(message["role"] == "tool" for message in request["messages"])
        return Reply(reasoning="So.", content="Nothing.") if searched else Reply(calls=[Call("web_search", {"query": "moon"})])

    with Site() as site, ScriptedHost(script, key=KEY) as host:
        folder = {"providers": ["folder"], "folder": str(tmp_path / "docs")}
        result = await Agent(hosted(tmp_path, site, host, search=folder)).arun()
    assert (result.status, result.report) == ("failed", None)
    assert "no evidence" in result.reason


async def test_what_is_read_is_sent_to_no_tracing_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site() as site:
        monkeypatch.setenv("LANGSMITH_TRACING", "true")
        monkeypatch.setenv("LANGSMITH_API_KEY", "x")
        monkeypatch.setenv("LANGSMITH_ENDPOINT", site.url())
        result = await quickstart(tmp_path).arun()
        assert result.status == "complete"
        assert [visit.path for visit in site.visits] == []


async def test_a_stopped_stream_is_resumed_where_it_was(tmp_path: Path) -> None:
    with Site() as site, ScriptedHost(World(site).script, key=KEY) as host:
        agent = Agent(hosted(tmp_path, site, host))
        folder = ""
        stream = agent.astream()
        async for event in stream:
            folder = event.get("folder", folder)
            if event["type"] == "result" and event["step"] == 7:
                break
        await stream.aclose()
        stopped = read(Path(folder), "run.json")
        assert stopped["status"] == "incomplete"
        before = len(host.requests)
        visits = [visit.path for visit in site.visits]
        events: list[dict[str, Any]] = []
        result = await agent.aresume(folder, on_event=events.append)
        again = [visit.path for visit in site.visits[len(visits) :]]
    assert result.status == "complete"
    [so_far] = [event for event in events if event["type"] == "so_far"]
    assert {key: so_far[key] for key in ("steps", "usd", "tokens")} == {key: stopped[key] for key in ("steps", "usd", "tokens")}
    assert 0 < so_far["seconds"] <= events[-1]["seconds"]
    assert read(result.folder, "run.json")["steps"] == 1 + 2 * CHAIN
    assert len(read(result.folder, "findings.json")) == CHAIN
    assert not set(again) & {path for path in visits if path.startswith("/page")}
    assert len(host.requests) > before


async def test_a_run_can_be_moved_and_goes_on_elsewhere_with_a_higher_limit(tmp_path: Path) -> None:
    with Site() as site, ScriptedHost(World(site).script, key=KEY) as host:
        first = await Agent(hosted(tmp_path, site, host, limits={"steps": 5})).arun()
        moved = tmp_path / "elsewhere" / first.id
        moved.parent.mkdir()
        shutil.move(first.folder, moved)
        result = await Agent(hosted(tmp_path, site, host)).aresume(moved)
    assert result.folder == moved
    assert first.status == "incomplete"
    assert result.status == "complete"


def test_an_agent_without_a_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="question"):
        Config.from_mapping({"search": {"folder": str(tmp_path)}}, base=tmp_path)
