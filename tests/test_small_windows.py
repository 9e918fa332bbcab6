"""What the reviewer and the writer are shown fits their window, however much was found; a host that holds less is believed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_runs import config, said, scripted

from research_agent import Agent
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.rules import Dialect

FACTS = [f"Moon number {n} of Vulpa was seen in the year {1600 + n} by the observer called Nr{n}, from the tower." for n in range(90)]


def noting(messages: list[dict[str, Any]]) -> Reply:
    """Reads, then notes every sentence, sixteen a turn."""
    results = [message for message in messages if message["role"] == "tool"]
    if not results:
        return Reply(calls=[Call("web_search", {"query": "moons of Vulpa"})])
    if len(results) == 1:
        [path] = set(re.findall(r'url="([^"]+)"', said(messages)))
        return Reply(calls=[Call("scrape", {"url": path})])
    noted = Noted.count
    if noted >= len(FACTS):
        return Reply(content="Done. " * 200)
    batch = FACTS[noted : noted + 16]
    Noted.count += len(batch)
    return Reply(calls=[Call("note", {"claim": f"In short: {fact}", "quote": fact, "source": "S200"}) for fact in batch])


class Noted:
    count = 0


@pytest.mark.parametrize("host_window", [16_000, 5_000], ids=["as configured", "less than configured"])
async def test_no_role_is_ever_sent_more_than_its_window(tmp_path: Path, host_window: int) -> None:
    Noted.count = 0
    sizes: dict[str, int] = {}

    def script(request: Request) -> Reply:
        role = re.match(r"You (\w+)", str(request["messages"][0]["content"]))
        name = role[1] if role else ""
        prompt = len(json.dumps([request.get("tools"), request["messages"]], ensure_ascii=False)) // 4
        sizes[name] = max(sizes.get(name, 0), prompt + request["max_tokens"])
        return scripted(noting)(request)

    with ScriptedHost(scripted(noting)) as investigating, ScriptedHost(script, dialect=Dialect(window_tokens=host_window)) as host:
        given = config(tmp_path, investigating)
        small = {**given.public()["model"], "base_url": host.base_url, "window_tokens": 6_000, "max_output_tokens": 2_000}
        agent = Agent(config(tmp_path, investigating, roles={"writer": small, "reviewer": small}))
        (tmp_path / "docs" / "moons.md").write_text("# Moons\n\n" + "\n".join(FACTS))
        result = await agent.arun()
        refused = len(host.refusals)
        asked = [said(request["messages"]) for request in host.requests]
    assert result.status == "complete", result.reason
    assert refused <= (0 if host_window > 6_000 else 4)
    assert set(sizes) == {"review", "write"}
    written = next(text for text in asked if text.startswith("You write"))
    shown = [n for n in range(90) if f"Nr{n}," in written]
    assert 20 < len(shown) < 90
    assert min(shown) < 10  # from the first to the last, not only the newest
    assert max(shown) > 80
