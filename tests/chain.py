"""A chain of pages, a search engine that finds the first, and a model that notes one after the other: for tests of whole runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from research_agent import Config
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.site import Page, Site

KEY = "sk-test-" + "ch41n" * 5


class Chain:
    """Station n's page names the next. The investigator opens `wide` pages in a turn, and notes what it sees."""

    def __init__(self, site: Site, *, length: int = 4, wide: int = 1) -> None:
        self.site, self.length, self.wide = site, length, wide
        self.answers: list[str] = ["Which codes do the stations have?"]
        for n in range(length):
            text = f"<p>Station {n} has the code K{n * 7919}, painted on its door in green letters.</p>" + "<p>It rained all day.</p>" * 5
            site.pages[f"/page{n}"] = Page(f"<html><head><title>Station {n}</title></head><body><article>{text}</article></body></html>")
        found = [{"url": site.url("/page0"), "title": "Stations", "content": "Where the chain begins."}]
        site.pages["/search"] = Page(json.dumps({"results": found}), content_type="application/json")

    def script(self, request: Request) -> Reply:
        rules, last = str(request["messages"][0]["content"]), str(request["messages"][-1]["content"])
        if rules.startswith("You plan"):
            return Reply(reasoning="One thing to find.", content=json.dumps({"brief": "All codes.", "sub_questions": self.answers}))
        if rules.startswith("You review"):
            return Reply(reasoning="Complete.", content=json.dumps({"verdict": "All there.", "follow_ups": []}))
        if rules.startswith("You write"):
            return Reply(reasoning="Writing.", content=json.dumps(self.report(last)))
        return self.investigate(request["messages"])

    def investigate(self, messages: list[dict[str, Any]]) -> Reply:
        text = "\n".join(str(message.get("content") or "") for message in messages)
        made = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
        notes = [json.loads(call["arguments"])["claim"] for call in made if call["name"] == "note"]
        noted = {int(re.findall(r"\d+", note)[0]) for note in [*notes, *re.findall(r"claim: (Station \d+ has its code)", text)]}
        seen = dict(re.findall(r'<document handle="(S\d+)"[^>]*url="[^"]*/page(\d+)"[^>]*>\nStation \d+ has', text))
        handles = {int(n): handle for handle, n in seen.items()}
        new = sorted(set(handles) - noted)
        if new:
            calls = [
                Call("note", {"claim": f"Station {n} has its code", "quote": f"Station {n} has the code K{n * 7919}", "source": handles[n]})
                for n in new[: self.wide]
            ]
            return Reply(reasoning=f"Stations {new[: self.wide]} are new; I note them.", calls=calls)
        if not made and not noted:
            return Reply(reasoning="I start with a search.", calls=[Call("web_search", {"query": "stations"})])
        following = max(noted, default=-1) + 1
        if following < self.length:
            pages = range(following, min(self.length, following + self.wide))
            return Reply(reasoning=f"On to page {following}.", calls=[Call("scrape", {"url": self.site.url(f"/page{n}")}) for n in pages])
        return Reply(reasoning="The chain has ended.", content="All stations are noted.")

    def report(self, prompt: str) -> dict[str, Any]:
        found = re.findall(r'<finding handle="(S\d+)" sub_question="\w*">\nclaim: (.*?)\nquote: (.*?)\n', prompt)
        lines = [f"{quote} [{handle}]." for handle, _, quote in found]
        return {"answer": lines[0] if lines else "Nothing.", "sections": [{"sub_question": "1", "text": " ".join(lines)}]}


def config(tmp_path: Path, site: Site, host: ScriptedHost, **changes: Any) -> Config:
    return Config.from_mapping(mapping(tmp_path, site, host, **changes), base=tmp_path)


def mapping(tmp_path: Path, site: Site, host: ScriptedHost, **changes: Any) -> dict[str, Any]:
    model = {
        "provider": "openai",
        "name": "scripted",
        "base_url": host.base_url,
        "api_key_env": "TEST_HOST_KEY",
        "prices": {"miss": 0.6, "hit": 0.15, "output": 2.5},
        "window_tokens": 32_000,
        "max_output_tokens": 4_000,
    }
    return {
        "question": "Which codes do the stations have?",
        "model": model,
        "search": {"providers": ["searxng"], "searxng_url": site.url()},
        "scrape": {"allow_hosts": [site.host], "robots": False},
        "memory": {"embedder": "none"},
        "limits": {"usd": 2.0, "steps": 60, "minutes": 5},
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "runs"),
        **changes,
    }
