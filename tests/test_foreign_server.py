"""Kimi, Claude and GPT in a loop of tool calls against a server not written by us: aimock, from npm.

npm install --ignore-scripts --prefix DIR @copilotkit/aimock && AIMOCK=DIR pytest tests/test_foreign_server.py
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from chats import SEARCH
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_chunk_to_message
from pydantic import SecretStr

from research_agent.doctor.machine import diagnose
from research_agent.doctor.row import Row
from research_agent.graphs.ports import ModelCallError
from research_agent.models.catalog import lookup, rows
from research_agent.models.load import Settings, load

CLI = Path(os.environ.get("AIMOCK", "")) / "node_modules/@copilotkit/aimock/dist/cli.js"
TURNS = 12
MODELS = [("moonshot", "kimi-k2-thinking"), ("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5")]

ROWS = [(row.provider, row.name) for row in rows() if "aimock" in row.verified]
"""Every row of the catalog that says so."""

pytestmark = pytest.mark.skipif(
    not (os.environ.get("AIMOCK") and CLI.is_file() and shutil.which("node")), reason="needs AIMOCK=DIR and node"
)


class Wire:
    """Stands before the server and keeps every request's body as it went out."""

    def __init__(self, target: str) -> None:
        wire = self
        self.sent: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                wire.sent.append(json.loads(body))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
                answer = httpx.post(f"{target}{self.path}", content=body, headers={**headers, "Accept-Encoding": "identity"}, timeout=30)
                self.send_response(answer.status_code)
                for name in ("content-type", "retry-after"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    opened = Wire(server)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    turns = [
        {
            "match": {"userMessage": "Investigate", "turnIndex": turn},
            "response": {
                "reasoning": f"Thought {turn}.",
                "toolCalls": [{"name": "search", "arguments": json.dumps({"query": f"q{turn}"})}],
            },
        }
        for turn in range(TURNS)
    ]
    end = {
        "match": {"userMessage": "Investigate", "turnIndex": TURNS},
        "response": {"reasoning": "Enough.", "content": "Done: nine moons."},
    }
    busy = {
        "match": {"userMessage": "Too much"},
        "response": {"error": {"message": "rate limited", "type": "rate_limit_error"}, "status": 429, "retryAfter": 7},
    }
    added = {"reasoning": "I call the tool.", "toolCalls": [{"name": "add", "arguments": json.dumps({"a": 17, "b": 25})}]}
    sums = [
        {"match": {"userMessage": "17 + 25", "turnIndex": 0}, "response": added},
        {"match": {"userMessage": "17 + 25", "turnIndex": 1}, "response": {"reasoning": "I have it.", "content": "42."}},
    ]
    path = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    path.write_text(json.dumps({"fixtures": [busy, *sums, *turns, end]}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [shutil.which("node") or "node", str(CLI), "-p", str(port), "-f", str(path), "--strict", "--log-level", "warn"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield _ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()


def _ready(url: str, process: subprocess.Popen[str]) -> str:
    for _ in range(100):
        try:
            httpx.get(f"{url}/health")
        except httpx.TransportError:
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.1)
        else:
            return url
    raise AssertionError("aimock did not start")


def model(server: str, provider: str, name: str) -> BaseChatModel:
    base_url = server if provider == "anthropic" else f"{server}/v1"
    params: dict[str, Any] = {"use_responses_api": True} if name.startswith("gpt") else {}
    return load(Settings(provider=provider, name=name, base_url=base_url, api_key=SecretStr("sk-test"), params=params)).chat


async def answered(chat: BaseChatModel, messages: list[Any]) -> AIMessage:
    whole: Any = None
    async for chunk in chat.bind_tools([SEARCH]).astream(messages):
        whole = chunk if whole is None else whole + chunk
    message = message_chunk_to_message(whole)
    assert isinstance(message, AIMessage)
    return message


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")  # its SDK's word on a retiring one
@pytest.mark.parametrize(("provider", "name"), ROWS)
async def test_a_loop_of_tool_calls(wire: Wire, provider: str, name: str) -> None:
    chat = model(wire.url, provider, name)
    messages: list[Any] = [HumanMessage("Investigate")]
    thoughts = []
    while True:
        message = await answered(chat, messages)
        messages.append(message)
        thoughts += [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning" and block.get("reasoning")]
        if not message.tool_calls:
            break
        messages += [ToolMessage("found", tool_call_id=call["id"] or "") for call in message.tool_calls]
    assert str(message.text) == "Done: nine moons."
    assert sum(isinstance(m, ToolMessage) for m in messages) == TURNS
    kept = json.dumps([m.model_dump(mode="json") for m in messages if isinstance(m, AIMessage)])
    mark = {"moonshot": '"reasoning_field"', "anthropic": '"signature"', "openai": '"encrypted_content"'}[provider]
    assert kept.count(mark) == TURNS + 1  # what must go back with each turn
    assert thoughts == [*(f"Thought {turn}." for turn in range(TURNS)), "Enough."]
    CHECKS[provider](wire.sent[-1], [m for m in messages[:-1] if isinstance(m, AIMessage)])
    parts = ("input",) if provider == "openai" else ("system", "messages")
    for earlier, later in zip(wire.sent, wire.sent[1:], strict=False):
        for part in parts:
            assert _unmarked(later.get(part))[: len(_unmarked(earlier.get(part)))] == _unmarked(earlier.get(part))


def _unmarked(part: Any) -> Any:
    """Without the marks that say how far to cache: they move on with each turn."""
    if isinstance(part, dict):
        return {key: _unmarked(value) for key, value in part.items() if key != "cache_control"}
    return [_unmarked(item) for item in part] if isinstance(part, list) else part or []


def _kimi(body: dict[str, Any], turns: list[AIMessage]) -> None:
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_content"] for message in said] == [f"Thought {turn}." for turn in range(TURNS)]
    assert all("content" not in message for message in said)
    assert [call["id"] for message in said for call in message["tool_calls"]] == [turn.tool_calls[0]["id"] for turn in turns]
    assert (body["temperature"], body["max_completion_tokens"], body["stream"]) == (
        1.0,
        lookup("moonshot", body["model"]).max_output_tokens,
        True,
    )


def _claude(body: dict[str, Any], turns: list[AIMessage]) -> None:
    said = [message["content"] for message in body["messages"] if message["role"] == "assistant"]
    assert len(said) == TURNS
    for turn, (blocks, message) in enumerate(zip(said, turns, strict=True)):
        assert [block["type"] for block in blocks] == ["thinking", "tool_use"]
        kept = next(block for block in message.content if isinstance(block, dict) and block["type"] == "thinking")
        assert blocks[0]["thinking"] == f"Thought {turn}."
        assert blocks[0]["signature"] == kept["signature"]
        assert blocks[0]["signature"]
        assert blocks[1]["id"] == message.tool_calls[0]["id"]
    results = [b["tool_use_id"] for m in body["messages"] if m["role"] == "user" for b in m["content"] if isinstance(b, dict)]
    assert results == [blocks[1]["id"] for blocks in said]
    assert json.dumps(body).count('"cache_control"') >= 1


def _gpt(body: dict[str, Any], turns: list[AIMessage]) -> None:
    kinds = [item["type"] for item in body["input"] if item.get("type") in ("reasoning", "function_call", "function_call_output")]
    assert kinds == ["reasoning", "function_call", "function_call_output"] * TURNS
    reasoning = [item for item in body["input"] if item.get("type") == "reasoning"]
    kept = [
        block["encrypted_content"] for turn in turns for block in turn.content if isinstance(block, dict) and "encrypted_content" in block
    ]
    assert [item["encrypted_content"] for item in reasoning] == kept
    asked, given = ([i["call_id"] for i in body["input"] if i.get("type") == kind] for kind in ("function_call", "function_call_output"))
    assert asked == given
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "previous_response_id" not in body


CHECKS = {"moonshot": _kimi, "anthropic": _claude, "openai": _gpt}


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_one_model_goes_on_where_another_stopped(wire: Wire, provider: str, name: str) -> None:
    messages: list[Any] = [HumanMessage("Investigate")]
    for turn in range(TURNS + 1):
        other = MODELS[turn % 3] if turn < TURNS else (provider, name)
        message = await answered(model(wire.url, *other), messages)
        messages += [message, *(ToolMessage("found", tool_call_id=call["id"] or "") for call in message.tool_calls)]
    assert str(message.text) == "Done: nine moons."
    own = {f"Thought {turn}." for turn in range(TURNS) if MODELS[turn % 3] == (provider, name)}
    assert {f"Thought {turn}." for turn in range(TURNS) if f"Thought {turn}." in json.dumps(wire.sent[-1])} == own


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_a_rate_limit_is_told_with_its_wait(server: str, provider: str, name: str) -> None:
    with pytest.raises(ModelCallError) as caught:
        await answered(model(server, provider, name), [HumanMessage("Too much")])
    assert (caught.value.kind, caught.value.retry_after_s) == ("rate_limit", 7.0)


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_the_doctor_examines_it(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, name: str) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", "sk-test")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A.")
    given = {"provider": provider, "name": name, "base_url": server if provider == "anthropic" else f"{server}/v1"}
    params = {"use_responses_api": True} if provider == "openai" else {}
    settings = {"model": {**given, "api_key_env": "TEST_HOST_KEY", "params": params}, "search": {"folder": "docs"}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({**settings, "memory": {"embedder": "none"}, "out": str(tmp_path / "runs")}))
    found: list[Row] = []
    assert await diagnose(path, (), offline=False, on_row=found.append, say=lambda text: None)
    states = {row.check: row.state for row in found}
    assert [states[check] for check in ("key", "host", "model", "tools", "reasoning")] == ["ok"] * 5
    assert states["cache"] in ("ok", "warn")  # this server reports no cached tokens in some of its shapes
    told = next(row.found for row in found if row.check == "reasoning")
    assert "the host took it back in a tool loop" in told
