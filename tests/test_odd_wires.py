"""The same answer, however a server cuts, orders, wraps and ends its stream; property by property, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chats import SEARCH, ask, failure, model, replied
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.rules import Dialect

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<◁\x00"), max_size=60)
TEXT = st.one_of(WORDS, st.sampled_from(["Neun Monde — 月球 🌕", "a\u2028b\x85c", 'quote " and \\ slash', "data: [DONE]", "\r\n\r\n"]))
CALLS = st.lists(st.dictionaries(st.sampled_from(["query", "q", "ü"]), st.one_of(TEXT, st.integers(), st.none()), max_size=3), max_size=4)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[ScriptedHost, list[Reply]]]:
    """A host whose next reply the test sets."""
    next_reply: list[Reply] = []
    with ScriptedHost(lambda request: next_reply[-1]) as host:
        yield host, next_reply


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reasoning=TEXT,
    content=TEXT,
    calls=CALLS,
    chars=st.integers(1, 30),
    bytes_=st.sampled_from([0, 1, 2, 3, 7, 64]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    comment=st.sampled_from(["", "OPENROUTER PROCESSING", "ping"]),
    dialect=st.builds(
        Dialect,
        reasoning_field=st.sampled_from(["reasoning_content", "reasoning"]),
        call_index=st.booleans(),
        repeats_name=st.booleans(),
        usage=st.sampled_from(["chunk", "choice", "both"]),
        cached_in=st.sampled_from(["details", "top", "hit_tokens"]),
    ),
)
async def test_any_cut_of_an_answer_is_the_same_answer(
    stage: tuple[ScriptedHost, list[Reply]],
    reasoning: str,
    content: str,
    calls: list[dict[str, Any]],
    chars: int,
    bytes_: int,
    line_end: str,
    comment: str,
    dialect: Dialect,
) -> None:
    host, replies = stage
    content = content if content.strip() or calls else "Nine."
    usage = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050, **dialect.cached(768)}
    told = [Call("search", args, id=f"search:{n}") for n, args in enumerate(calls)]
    reply = Reply(
        reasoning=reasoning,
        content=content,
        calls=told,
        usage=usage,
        chunk_chars=chars,
        write_bytes=bytes_,
        line_end=line_end,
        keep_alive=comment,
    )
    replies.append(reply)
    host.dialect = dialect
    message = await ask(model(host), tools=[SEARCH])
    assert message.additional_kwargs.get("reasoning_content", "") == reasoning
    assert str(message.content).strip() == content.strip()
    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("search", args, f"search:{n}") for n, args in enumerate(calls)
    ]
    assert message.invalid_tool_calls == []
    assert message.usage_metadata is not None
    assert (message.usage_metadata["input_tokens"], message.usage_metadata["input_token_details"]["cache_read"]) == (1000, 768)


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def part(args: str, **place: Any) -> dict[str, Any]:
    name = {"name": "search"} if place.pop("named", False) else {}
    return {**place, "function": {**name, "arguments": args}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), by=st.sampled_from(["index", "id"]))
async def test_parallel_calls_may_be_interleaved_in_any_order(
    stage: tuple[ScriptedHost, list[Reply]], data: st.DataObject, by: str
) -> None:
    host, replies = stage
    count = data.draw(st.integers(2, 4))
    texts = [json.dumps({"query": f"query {n} é 🌕" * (n + 1)}, ensure_ascii=False) for n in range(count)]
    place = [{"index": n} if by == "index" else {"id": f"id{n}"} for n in range(count)]
    events = [event({"tool_calls": [part("", **{**place[n], "id": f"id{n}"}, named=True)]}) for n in range(count)]
    while any(texts):
        n = data.draw(st.sampled_from([n for n in range(count) if texts[n]]))
        size = data.draw(st.integers(1, 20))
        events.append(event({"tool_calls": [part(texts[n][:size], **place[n])]}))
        texts[n] = texts[n][size:]
    replies.append(Reply(chunks=[*events, event(finish="tool_calls"), "[DONE]"]))
    host.dialect = Dialect()
    message = await ask(model(host), tools=[SEARCH])
    assert [(call["id"], call["args"]) for call in message.tool_calls] == [
        (f"id{n}", {"query": f"query {n} é 🌕" * (n + 1)}) for n in range(count)
    ]


async def test_null_and_missing_fields_are_nothing() -> None:
    chunks: list[Any] = [
        {"choices": None},
        {"choices": []},
        event({"role": "assistant", "content": None, "reasoning_content": None, "tool_calls": None}),
        event({"content": "A"}),
        {"choices": [{"delta": None, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": None}},
        {"usage": None},
        "[DONE]",
    ]
    message = await replied(Reply(chunks=chunks))
    assert (message.content, message.usage_metadata and message.usage_metadata["input_tokens"]) == ("A", 10)


async def test_the_hosts_own_end_is_an_end_and_a_stream_without_any_is_none() -> None:
    assert (await replied(Reply(chunks=[event({"content": "A"}), "[DONE]"]))).content == "A"
    assert (await replied(Reply(chunks=[event({"content": "A"}), event(finish="stop")]))).content == "A"
    assert (await failure(Reply(chunks=[event({"content": "A"})]))).kind == "network"
    assert (await failure(Reply(chunks=["[DONE]"]))).kind == "network"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"message": "slow down", "code": 429}}, "rate_limit"),
        ({"error": {"message": "no such field", "code": "400"}}, "bad_request"),
        ({"object": "error", "message": "This model's maximum context length is 8192 tokens", "code": 400}, "overflow"),
        ({"error": {"message": "You exceeded your current quota", "code": 429}}, "quota"),
        ({"error": {"message": "upstream broke", "code": 502}}, "overloaded"),
        ({"error": "internal"}, "overloaded"),
    ],
)
async def test_an_error_inside_a_stream_has_the_kind_of_its_status(error: dict[str, Any], kind: str) -> None:
    assert (await failure(Reply(chunks=[event({"content": "A"}), error]))).kind == kind


async def test_a_name_that_begins_with_another_tools_name_is_whole() -> None:
    other = {"type": "function", "function": {"name": "search_web", "parameters": {"type": "object", "properties": {}}}}
    pieces = [{"index": 0, "id": "a", "function": {"name": name, "arguments": args}} for name, args in (("search", ""), ("_web", "{}"))]
    message = await replied(
        Reply(chunks=[*(event({"tool_calls": [p]}) for p in pieces), event(finish="tool_calls"), "[DONE]"]), tools=[SEARCH, other]
    )
    assert message.tool_calls[0]["name"] == "search_web"


@pytest.mark.parametrize("thought", ["Okay, so the user wants moons. I count: 8, 9.\n", "Nine of them are counted in the table.\n"])
async def test_a_thought_whose_opening_tag_stood_in_the_prompt_is_told_from_the_answer(thought: str) -> None:
    def script(request: Request) -> Reply:
        return Reply(content=f"{thought}</think>\n\nNine moons.", chunk_chars=3)

    with ScriptedHost(script) as host:
        chat = model(host)
        whole = await chat.ainvoke("Q", stream=False)
        streamed: AIMessage = await ask(chat)
        pieces = [chunk async for chunk in chat.astream("Q")]
    for message in (whole, streamed):
        assert (message.content, message.additional_kwargs["reasoning_content"].strip()) == ("Nine moons.", thought.strip())
    assert sum(bool(chunk.additional_kwargs.get("reasoning_content")) for chunk in pieces) > 3  # a thought comes as it is thought


async def test_a_first_stream_that_thinks_aloud_waits_for_the_tag_and_others_do_not_wait() -> None:
    unopened = Reply(content="Okay, so 8 or 9?</think>Nine moons.", chunk_chars=3)
    plain = Reply(content="Okay, here it is: nine moons.", chunk_chars=3)
    with ScriptedHost([unopened]) as host:
        message = await ask(model(host))
    assert (message.content, message.additional_kwargs["reasoning_content"]) == ("Nine moons.", "Okay, so 8 or 9?")
    assert (await replied(plain)).content == "Okay, here it is: nine moons."
    with ScriptedHost([Reply(content="Nine moons are known, as `</think>` shows.", chunk_chars=3)]) as host:
        chunks: list[AIMessageChunk] = [chunk async for chunk in model(host).astream("Q") if isinstance(chunk, AIMessageChunk)]
    assert sum(bool(chunk.content) for chunk in chunks) > 3
    assert "".join(str(chunk.content) for chunk in chunks) == "Nine moons are known, as `</think>` shows."


async def test_leaked_calls_without_their_section_are_calls() -> None:
    leak = '<|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{"query": "x"}<|tool_call_end|>'
    message = await replied(Reply(reasoning=f"I search.{leak}", chunk_chars=1), tools=[SEARCH])
    assert [call["args"] for call in message.tool_calls] == [{"query": "x"}]
    assert message.additional_kwargs["reasoning_content"] == "I search."
