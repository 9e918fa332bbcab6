"""How the chat models reach their hosts: what goes to whom, and who may share a model."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pydantic import SecretStr

from research_agent.graphs.ports import ModelCallError
from research_agent.models.chat import ReasoningChatModel
from research_agent.models.load import Settings, load
from research_agent.testing.host import Reply, ScriptedHost

KEY, TEAM = "sk-very-secret-1234567890", "team-token-0987654321"


def chat_at(base_url: str, **more: Any) -> ReasoningChatModel:
    headers: Any = {"X-Team": TEAM}
    return ReasoningChatModel(model="any", base_url=base_url, api_key=SecretStr(KEY), default_headers=headers, **more)


@contextmanager
def answering(status: int, location: str = "") -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """The address of a server that says nothing but this, and the headers of what comes."""
    came: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            came.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            if location and not self.path.startswith("/moved"):
                self.send_header("Location", location + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", came
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("streaming", [False, True])
async def test_default_headers_are_sent_with_each_request(streaming: bool) -> None:
    with ScriptedHost([Reply(content="Nine.")] * 2) as host:
        chat = chat_at(host.base_url, streaming=streaming)
        chat.invoke("Q")
        await chat.ainvoke("Q")
    assert [headers.get("x-team") for headers in host.headers] == [TEAM, TEAM]
    assert [headers.get("authorization") for headers in host.headers] == [f"Bearer {KEY}"] * 2


async def test_neither_key_nor_default_headers_are_shown() -> None:
    with ScriptedHost([Reply(status=400, error={"message": f"bad team {TEAM}, bad key {KEY}"})]) as host:
        chat = chat_at(host.base_url)
        with pytest.raises(ModelCallError, match="bad team") as refused:
            await chat.ainvoke("Q")
    shown = f"{chat!r} {chat} {chat.model_dump()} {chat.model_dump_json()} {chat._get_llm_string()} {refused.value.reason}"
    assert KEY not in shown
    assert TEAM not in shown


async def test_a_host_that_moved_is_followed_and_gets_neither_key_nor_default_headers_elsewhere() -> None:
    with ScriptedHost([Reply(content="Nine.")] * 2) as there, answering(307, there.base_url.removesuffix("/v1")) as (old, came):
        chat = chat_at(f"{old}/v1")
        assert chat.invoke("Q").content == (await chat.ainvoke("Q")).content == "Nine."
    assert [headers["x-team"] for headers in came] == [TEAM, TEAM]
    assert KEY not in str(there.headers)
    assert TEAM not in str(there.headers)


@pytest.mark.parametrize(("provider", "name"), [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5"), ("openai", "any")])
async def test_no_vendors_key_follows_to_another_host(provider: str, name: str) -> None:
    params = {"use_responses_api": True} if name == "gpt-5" else {}
    with answering(404) as (there, came), answering(307, there) as (old, _):
        chat = load(Settings(provider=provider, name=name, base_url=f"{old}/v1", api_key=SecretStr(KEY), params=params)).chat
        for asked in (chat.ainvoke("Q"), asyncio.to_thread(chat.invoke, "Q")):
            with pytest.raises(ModelCallError, match="404"):
                await asked
    assert len(came) == 2
    assert KEY not in str(came)


@pytest.mark.parametrize(("provider", "name"), [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-5"), ("openai", "any")])
async def test_a_path_that_moved_at_the_same_host_still_gets_its_key(provider: str, name: str) -> None:
    params = {"use_responses_api": True} if name == "gpt-5" else {}
    with answering(307, "/moved") as (host, came):
        chat = load(Settings(provider=provider, name=name, base_url=f"{host}/v1", api_key=SecretStr(KEY), params=params)).chat
        with pytest.raises(ModelCallError):
            await chat.ainvoke("Q")
    assert [KEY in str(headers) for headers in came] == [True, True]


def test_a_model_may_be_asked_from_many_threads_and_event_loops_at_once() -> None:
    with ScriptedHost(lambda _: Reply(content="Nine.")) as host:
        chat = chat_at(host.base_url)

        async def several() -> set[Any]:
            return {answer.content for answer in await asyncio.gather(*(chat.ainvoke("Q") for _ in range(4)))}

        with ThreadPoolExecutor(8) as pool:
            said = [*pool.map(lambda _: asyncio.run(several()), range(100))]
    assert said == [{"Nine."}] * 100


async def test_a_model_that_was_asked_can_be_copied_and_pickled() -> None:
    with ScriptedHost(lambda _: Reply(content="Nine.")) as host:
        chat = chat_at(host.base_url)
        chat.invoke("Q")
        await chat.ainvoke("Q")
        for other in (copy.deepcopy(chat), pickle.loads(pickle.dumps(chat))):
            assert (await other.ainvoke("Q")).content == other.invoke("Q").content == "Nine."
    assert {headers["x-team"] for headers in host.headers} == {TEAM}


async def test_a_thought_is_not_told_to_another_server_of_the_same_machine() -> None:
    with ScriptedHost(lambda _: Reply(reasoning="private", content="Nine.")) as one, ScriptedHost(lambda _: Reply(content="A")) as other:
        said = await chat_at(one.base_url).ainvoke("Q")
        for host in (one, other):
            await chat_at(host.base_url).ainvoke([HumanMessage("Q"), said, HumanMessage("And?")])
    assert "private" in json.dumps(one.requests)
    assert "private" not in json.dumps(other.requests)
