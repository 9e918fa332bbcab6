"""Kimi, Claude and GPT in a loop of tool calls against a server not written by us: aimock, from npm.

npm install --ignore-scripts --prefix DIR @copilotkit/aimock && AIMOCK=DIR pytest tests/test_foreign_server.py
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_chunk_to_message
from pydantic import SecretStr

from research_agent.graphs.ports import ModelCallError
from research_agent.models.load import Settings, load

CLI = Path(os.environ.get("AIMOCK", "")) / "node_modules/@copilotkit/aimock/dist/cli.js"
TURNS = 12
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
MODELS = [("moonshot", "kimi-k2-thinking"), ("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5")]

pytestmark = pytest.mark.skipif(
    not (os.environ.get("AIMOCK") and CLI.is_file() and shutil.which("node")), reason="needs AIMOCK=DIR and node"
)


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
    path = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    path.write_text(json.dumps({"fixtures": [busy, *turns, end]}))
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


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_a_loop_of_tool_calls(server: str, provider: str, name: str) -> None:
    chat = model(server, provider, name)
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


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_one_model_goes_on_where_another_stopped(server: str, provider: str, name: str) -> None:
    messages: list[Any] = [HumanMessage("Investigate")]
    for turn in range(TURNS + 1):
        other = MODELS[turn % 3] if turn < TURNS else (provider, name)
        message = await answered(model(server, *other), messages)
        messages += [message, *(ToolMessage("found", tool_call_id=call["id"] or "") for call in message.tool_calls)]
    assert str(message.text) == "Done: nine moons."


@pytest.mark.parametrize(("provider", "name"), MODELS)
async def test_a_rate_limit_is_told_with_its_wait(server: str, provider: str, name: str) -> None:
    with pytest.raises(ModelCallError) as caught:
        await answered(model(server, provider, name), [HumanMessage("Too much")])
    assert (caught.value.kind, caught.value.retry_after_s) == ("rate_limit", 7.0)
