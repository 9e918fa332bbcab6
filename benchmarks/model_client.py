"""What our chat model costs: own CPU per call and per streamed chunk, beside bare httpx and plain ChatOpenAI.

    uv run python benchmarks/model_client.py

The host is a process of its own, so only the client's CPU is counted. Per call: a reply of 2 chunks to a conversation of 60 turns.
Per chunk: the slope between replies of 2 and of 2,000 chunks. Merging the chunks into one message is part of it for all three.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, convert_to_openai_messages
from pydantic import SecretStr

CALLS = 40
CHUNKS = 2_000
Client = Callable[[str, list[Any]], Awaitable[str]]


def serve() -> None:
    from research_agent.testing.host import Reply, Request, ScriptedHost

    def script(request: Request) -> Reply:
        chunks = CHUNKS if request["messages"][0]["content"] == "long" else 2
        return Reply(content="abcd" * chunks, chunk_chars=4)

    with ScriptedHost(script) as host:
        print(host.base_url, flush=True)
        sys.stdin.read()


def conversation(first: str) -> list[Any]:
    messages: list[Any] = [HumanMessage(first)]
    for turn in range(60):
        call = {"name": "search", "args": {"query": f"q{turn}"}, "id": f"call_{turn}", "type": "tool_call"}
        messages += [AIMessage("", tool_calls=[call]), ToolMessage("found " * 300, tool_call_id=f"call_{turn}")]
    return messages


def bare(http: httpx.AsyncClient) -> Client:
    async def ask(url: str, messages: list[Any]) -> str:
        body = {"model": "m", "messages": convert_to_openai_messages(messages), "stream": True, "stream_options": {"include_usage": True}}
        text = []
        async with http.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    for choice in json.loads(line[6:])["choices"]:
                        text.append(choice["delta"].get("content") or "")
        return "".join(text)

    return ask


def langchain(chat: Any) -> Client:
    async def ask(url: str, messages: list[Any]) -> str:
        chunks = [chunk async for chunk in chat.astream(messages)]
        return str(chunks[0].__add__(chunks[1:]).text)

    return ask


def clients(url: str) -> dict[str, Client]:
    from langchain_openai import ChatOpenAI

    from research_agent.models.load import Settings, load

    key = SecretStr("sk-none")
    ours = load(Settings(provider="openai", name="m", base_url=url, api_key=key)).chat
    plain = ChatOpenAI(model="m", base_url=url, api_key=key, max_retries=0, stream_usage=True)
    return {"bare httpx": bare(httpx.AsyncClient()), "ChatOpenAI": langchain(plain), "ours": langchain(ours)}


async def cpu_ms(client: Client, url: str, messages: list[Any], calls: int) -> float:
    await client(url, messages)
    start = time.process_time()
    for _ in range(calls):
        await client(url, messages)
    return (time.process_time() - start) / calls * 1e3


async def measure(url: str) -> None:
    print(f"{'client':12} {'ms a call':>10} {'us a chunk':>11}")
    for name, client in clients(url).items():
        assert len(await client(url, conversation("long"))) == 4 * CHUNKS
        call = await cpu_ms(client, url, conversation("short"), CALLS)
        long = await cpu_ms(client, url, conversation("long"), 4)
        print(f"{name:12} {call:10.1f} {(long - call) / (CHUNKS - 2) * 1e3:11.1f}")


def main() -> None:
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        asyncio.run(measure(host.stdout.readline().strip()))
        host.terminate()


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
