"""What a run of the rig investigates: lines of stations on a local web, and a scripted model that reads and notes every one of them.

The model is a function of its prompt alone, so a run that is killed and resumed is told what the run that nobody killed is told.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.site import Answer, Page, Site, Visit

KEY_VARIABLE, KEY = "CRASH_HOST_KEY", "sk-test-" + "s3cr3t" * 5
PRICES = {"miss": 0.6, "hit": 0.15, "output": 2.5}
QUESTION = "Which codes do the stations of the old railway have?"
LOOKED = "runs.log"
"""Each run of the model's code adds a line to this file of the run's workspace."""


class World:
    """The web and the model's host, while it is entered."""

    def __init__(
        self,
        *,
        lines: str = "ABC",
        follow_up: str = "D",
        stations: int = 7,
        words: int = 450,
        think_s: float = 0.01,
        cached: bool = False,
        window_tokens: int = 12_000,
    ) -> None:
        self._planned, self._follow_up, self._stations, self._think_s = lines, follow_up, stations, think_s
        self._window_tokens = window_tokens
        pages: dict[str, Answer] = {"/search": self._search}
        for line in lines + follow_up:
            pages |= {f"/{line}{n}": _page(line, n, words, cached) for n in range(stations)}
        self.site = Site(pages)
        self.host = ScriptedHost(self.script, key=KEY)
        self.fault: Reply | None = None
        """What the host answers instead, while it is set."""
        self.faults_after: int | None = None
        """It is set once so many requests have come; None: now."""
        self.code = f"with open({LOOKED!r}, 'a') as file: file.write('line {{line}}\\n')"
        """What the model runs at the end of a line."""
        self.abreast = 3
        """Calls of one turn: another model makes others."""

    @property
    def steps(self) -> int:
        """Tool calls of a whole run: a search, every page and a note of it, a look back and a sum for each line."""
        return len(self._planned + self._follow_up) * (2 * self._stations + 3)

    def __enter__(self) -> Self:
        self.site.__enter__()
        self.host.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.host.__exit__()
        self.site.__exit__(None, None, None)

    def config(self, folder: Path, **changes: Any) -> Path:
        """A config file for a run below `folder`."""
        settings = {
            "question": QUESTION,
            "model": {
                "provider": "openai",
                "name": "scripted",
                "base_url": self.host.base_url,
                "api_key_env": KEY_VARIABLE,
                "prices": PRICES,
                "window_tokens": self._window_tokens,
                "max_output_tokens": 2_000,
            },
            "search": {"providers": ["searxng"], "searxng_url": self.site.url()},
            "scrape": {"allow_hosts": [self.site.host], "robots": False},
            "memory": {"embedder": "none"},
            "limits": {"usd": 20.0, "steps": 10 * self.steps, "minutes": 60},
            "cache": str(folder / "cache"),
            "out": str(folder / "runs"),
            **changes,
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(settings), "utf-8")
        return path

    # -- what was served

    def asked(self, since: int = 0, to: int | None = None) -> list[str]:
        """A hash of each request to the model, as it came."""
        return [digest(request) for request in self.host.requests[since:to]]

    def fetched(self, since: int = 0, to: int | None = None) -> Counter[str]:
        """How often each page and each search was asked for."""
        return Counter(visit.path for visit in self.site.visits[since:to])

    # -- the model

    def script(self, request: Request) -> Reply:
        if self.fault is not None and len(self.host.requests) > (self.faults_after or 0):
            return self.fault
        return self._billed(request, self._said(request))

    def _said(self, request: Request) -> Reply:
        rules, last = str(request["messages"][0]["content"]), str(request["messages"][-1]["content"])
        if rules.startswith("You plan"):
            plan = {"brief": "All codes.", "sub_questions": [_asks(line) for line in self._planned]}
            return Reply(reasoning="One line after the other.", content=json.dumps(plan))
        if rules.startswith("You review"):
            missing = [_asks(line) for line in self._follow_up if _asks(line) not in last]
            return Reply(reasoning="What is missing?", content=json.dumps({"verdict": "Read.", "follow_ups": missing}))
        if rules.startswith("You write"):
            return Reply(reasoning="I write.", content=json.dumps(_report(last)))
        return self._investigate(request["messages"])

    def _investigate(self, messages: list[dict[str, Any]]) -> Reply:
        text = "\n".join(str(message.get("content") or "") for message in messages)
        line = re.findall(r"Which codes do the stations of line (\w) have\?\n</sub_question>", text)[-1]
        calls = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
        told = text + "".join(call["arguments"] for call in calls if call["name"] == "note")
        noted = {int(n) for n in re.findall(rf"Station {line}(\d+) has its code", told)}
        shown = re.findall(rf'<document handle="(S\d+)"[^>]*url="[^"]*/{line}(\d+)"', text)
        handles = {int(n): handle for handle, n in shown if _code(line, int(n)) in text}
        to_note = sorted(set(handles) - noted)[: self.abreast]
        if to_note:
            return Reply(reasoning=f"Line {line}: I note {to_note}.", calls=[_note(line, n, handles[n]) for n in to_note])
        to_read = [n for n in range(self._stations) if n not in noted][: self.abreast]
        if to_read and not noted and f"stations of line {line}" not in "".join(call["arguments"] for call in calls):
            return Reply(reasoning=f"Line {line}: I search.", calls=[Call("web_search", {"query": f"stations of line {line}"})])
        if to_read:
            pages = [Call("scrape", {"url": self.site.url(f"/{line}{n}")}) for n in to_read]
            return Reply(reasoning=f"Line {line}: on to {to_read}.", calls=pages)
        made = {call["name"] for call in calls if f"line {line}" in call["arguments"]}
        if "recall" not in made:
            return Reply(reasoning="I look back.", calls=[Call("recall", {"query": f"first station of line {line}"})])
        if "python" not in made:
            code = f"{self.code.replace('{line}', line)}  # line {line}"
            return Reply(reasoning="I compute.", calls=[Call("python", {"code": code})])
        return Reply(reasoning="The line has ended.", content=f"All stations of line {line} are noted.")

    def _search(self, visit: Visit) -> Page:
        [query] = parse_qs(urlsplit(visit.path).query).get("q", [""])
        line = query.rsplit(" ", 1)[-1]
        found = [{"url": self.site.url(f"/{line}0"), "title": f"Line {line}", "content": f"The line {line} begins at its station 0."}]
        return Page(json.dumps({"results": found}), content_type="application/json", headers={"Cache-Control": "no-store"})

    def _billed(self, request: Request, reply: Reply) -> Reply:
        """With its usage: what the host counts, for whoever wants to know what was really served."""
        prompt = len(json.dumps([request.get("tools"), request["messages"]])) // 4
        output = 20 + (len(reply.content) + len(reply.reasoning) + sum(len(str(call.args)) + 20 for call in reply.calls)) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        return Reply(reasoning=reply.reasoning, content=reply.content, calls=reply.calls, usage=usage, delay_s=self._think_s)

    def bill_usd(self, since: int = 0, to: int | None = None) -> float:
        """What the requests cost that were answered."""
        usd = 0.0
        for request in self.host.requests[since:to]:
            usage = self._billed(request, self._said(request)).usage or {}
            usd += (usage["prompt_tokens"] * PRICES["miss"] + usage["completion_tokens"] * PRICES["output"]) / 1e6
        return usd


def digest(request: Request) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


def _asks(line: str) -> str:
    return f"Which codes do the stations of line {line} have?"


def _code(line: str, n: int) -> str:
    return f"K{ord(line) * 7919 + n * 104_729}"


def _note(line: str, n: int, handle: str) -> Call:
    quote = f"Station {line}{n} has the code {_code(line, n)}"
    return Call("note", {"claim": f"Station {line}{n} has its code.", "quote": quote, "source": handle})


def _page(line: str, n: int, words: int, cached: bool) -> Page:
    filler = " ".join(
        f"The keeper of {line}{n} wrote in the year {1800 + (n * 37 + k * 11) % 150} of rain and of trains." for k in range(words // 14)
    )
    text = f"<p>Station {line}{n} has the code {_code(line, n)}, painted on its door in green letters.</p><p>{filler}</p>"
    body = f"<html><head><title>Station {line}{n}</title></head><body><article>{text}</article></body></html>"
    return Page(body, headers={"Cache-Control": "max-age=600" if cached else "no-store"})  # what is not kept is seen here each time


def _report(prompt: str) -> dict[str, Any]:
    found = re.findall(r'<finding handle="(S\d+)" sub_question="(\d+)">\nclaim: (.*?)\nquote: (.*?)\n', prompt)
    sections: dict[str, list[str]] = {}
    for handle, id, _, quote in found:
        sections.setdefault(id, []).append(f"{quote} [{handle}].")
    texts = [{"sub_question": id, "text": " ".join(lines)} for id, lines in sections.items()]
    return {"answer": texts[0]["text"].split(".")[0] + "." if texts else "Nothing.", "sections": texts}
