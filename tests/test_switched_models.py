"""Another model, of another maker, goes on in the middle of a tool loop, after a kill: nothing that one thought reaches another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig
from research_agent.testing.crash.world import KEY_VARIABLE, PRICES, World
from research_agent.testing.host import Reply, Request, ScriptedHost
from research_agent.testing.rules import DEEPSEEK, KIMI, VLLM, Dialect
from research_agent.testing.vendors import VendorHost

STATIONS = 15
CHAT: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "kimi": (KIMI, {"provider": "moonshot", "name": "kimi-k2-thinking"}),
    "kimi elsewhere": (KIMI, {"provider": "moonshot", "name": "kimi-k2.6"}),
    "kimi's weights": (VLLM, {"provider": "vllm", "name": "kimi-k2-thinking"}),
    "deepseek": (DEEPSEEK, {"provider": "deepseek", "name": "deepseek-v4-pro"}),
}
MADE: dict[str, dict[str, Any]] = {
    "claude": {"provider": "anthropic", "name": "claude-sonnet-5-5"},
    "gpt": {"provider": "openai", "name": "gpt-5", "params": {"use_responses_api": True}},
}
Host = ScriptedHost | VendorHost


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(lines="A", follow_up="", stations=STATIONS) as world:
        yield world


class Speakers:
    """The world's model behind hosts of several makers, each of which says in every thought whose it is."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self._world = world
        self.hosts: dict[str, Host] = {}
        for name, (dialect, _) in CHAT.items():
            self.hosts[name] = stack.enter_context(ScriptedHost(self._as(name, lambda request: request), dialect=dialect))
        for name, maker, told in (("claude", "anthropic", from_claude), ("gpt", "openai", from_gpt)):
            self.hosts[name] = stack.enter_context(VendorHost(self._as(name, told), maker=maker))  # type: ignore[arg-type]

    def _as(self, name: str, told: Callable[[Request], Request]) -> Callable[[Request], Reply]:
        def script(request: Request) -> Reply:
            reply = self._world.script(told(request))
            return replace(reply, reasoning=f"{mark(name)} {reply.reasoning}")

        return script

    def model(self, name: str, **changes: int) -> str:
        """For `--set`."""
        known = MADE.get(name) or CHAT[name][1]
        limits = {"window_tokens": 16_000, "max_output_tokens": 4_000, "prices": PRICES}
        return f"model={json.dumps({**known, **limits, **changes, 'base_url': self.hosts[name].base_url, 'api_key_env': KEY_VARIABLE})}"


def mark(name: str) -> str:
    return f"<<{name}'s thought>>"


def from_claude(request: Request) -> Request:
    """As a chat request, for the world to read."""
    messages = [{"role": "system", "content": _text(request.get("system", ""))}]
    for message in request["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [{"type": "text", "text": message["content"]}]
        results = [block for block in blocks if block["type"] == "tool_result"]
        messages += [{"role": "tool", "tool_call_id": block["tool_use_id"], "content": _text(block["content"])} for block in results]
        said = {"role": message["role"], "content": _text([block for block in blocks if block["type"] == "text"])}
        calls = [_call(block["name"], json.dumps(block["input"])) for block in blocks if block["type"] == "tool_use"]
        if calls or said["content"]:
            messages.append({**said, **({"tool_calls": calls} if calls else {})})
    return {"messages": messages, "tools": request.get("tools")}


def from_gpt(request: Request) -> Request:
    messages = []
    for item in request["input"]:
        match item.get("type", "message"):
            case "message":
                messages.append({"role": item["role"].replace("developer", "system"), "content": _text(item["content"])})
            case "function_call":
                messages.append({"role": "assistant", "content": "", "tool_calls": [_call(item["name"], item["arguments"])]})
            case "function_call_output":
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
    return {"messages": messages, "tools": request.get("tools")}


def _sent(request: Request) -> str:
    return RECALLED.sub("", json.dumps(request, ensure_ascii=False))


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(str(block.get("text", "")) for block in content)


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


CHAINS = [
    ("kimi", "claude"),
    ("claude", "kimi"),
    ("kimi", "gpt"),
    ("gpt", "kimi's weights"),
    ("kimi", "kimi's weights", "kimi elsewhere", "kimi"),
    ("kimi", "claude", "gpt", "deepseek", "kimi's weights", "claude", "kimi"),
]
KILLS = (("tool.after", 4), ("turn.archived.after", 1), ("thinking.after", 2), ("shown.after", 4), ("thinking.after", 1))
"""In a tool loop, each after a request: a call that was made and is not archived, a reply that is and has no checkpoint, and so on."""
RECALLED = re.compile(r"<document title=.{0,3}your reasoning.*?</document>")
"""What a tool brings back from the archive is data, and says so."""


@pytest.mark.parametrize("chain", CHAINS, ids=" to ".join)
def test_another_maker_goes_on_where_one_was_killed(rig: Rig, world: World, tmp_path: Path, chain: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        speakers = Speakers(world, stack)
        life = Life(rig, world, world.config(tmp_path))
        for n, name in enumerate(chain[:-1]):
            seam, hit = KILLS[n % len(KILLS)]
            child = life.session(seam=seam, hit=hit, more=("--set", speakers.model(name)))
            assert child.wait() < 0, f"{name}: {child.said()[-500:]}"
        last = life.whole("--set", speakers.model(chain[-1]))
        assert last.status == 0, last.said()[-500:]
        assert {name: host.refusals for name, host in speakers.hosts.items() if host.refusals} == {}
        asked = {name: [_sent(request) for request in host.requests] for name, host in speakers.hosts.items()}
    for name in set(chain):
        assert asked[name], name
        for other in {*speakers.hosts} - {name}:
            assert not [request for request in asked[name] if mark(other) in request], f"{other}'s thought was sent to {name}"
        foreign = {"claude": ('"encrypted_content": "', "rs_"), "gpt": ('"signature"',)}.get(name, ('"signature"', '"encrypted_content"'))
        assert not [word for word in foreign for request in asked[name] if word in request]
    assert any(mark(chain[-1]) in request for request in asked[chain[-1]])  # its own thoughts go back
    assert life.folder
    assert audit.faults(life.folder) == []
    record = json.loads((life.folder / "run.json").read_text("utf-8"))
    assert (record["status"], record["steps"]) == ("complete", world.steps)
    findings = json.loads((life.folder / "findings.json").read_text("utf-8"))
    assert sorted(finding["claim"] for finding in findings) == sorted(f"Station A{n} has its code." for n in range(STATIONS))
    assert record["model_calls"] == sum(map(len, asked.values()))  # each reply paid for once
    in_flight = 3 * (len(chain) - 1)
    assert sum(life.fetched.values()) <= STATIONS + 1 + in_flight


@pytest.mark.parametrize("other", ["claude", "gpt"])
def test_another_maker_goes_on_after_a_compaction(rig: Rig, world: World, tmp_path: Path, other: str) -> None:
    with ExitStack() as stack:
        speakers = Speakers(world, stack)
        life = Life(rig, world, world.config(tmp_path))
        kimi = ("--set", speakers.model("kimi", window_tokens=9_000, max_output_tokens=1_500))
        assert life.session(seam="compaction.after", more=kimi).wait() < 0
        assert life.session(seam="thinking.after", hit=3, more=kimi).wait() < 0
        assert life.whole("--set", speakers.model(other)).status == 0
        assert [host.refusals for host in speakers.hosts.values() if host.refusals] == []
    assert life.folder
    assert audit.faults(life.folder) == []
