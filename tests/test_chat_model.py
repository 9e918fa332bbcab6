"""The chat model, against a scripted host over real HTTP."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from chats import KEY, SEARCH, ask, failure, model, replied
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import SecretStr

from research_agent.graphs.overflow import window_told
from research_agent.graphs.ports import RETRYABLE, ModelCallError
from research_agent.models.chat import ReasoningChatModel
from research_agent.models.errors import from_answer
from research_agent.models.load import Settings, load
from research_agent.testing.host import Call, Reply, ScriptedHost
from research_agent.testing.rules import KIMI, Dialect


def streamed(*deltas: dict[str, Any], finish: str = "stop", **last: Any) -> Reply:
    events: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return Reply(chunks=[*events, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **last}, "[DONE]"])


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thought_and_answer_come_apart_streamed_and_whole(field: Any) -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(reasoning="First, I think about it.", content="Nine moons.", chunk_chars=5)

    with ScriptedHost(script, dialect=Dialect(reasoning_field=field)) as host:
        chat = model(host)
        streamed, whole = await ask(chat), await chat.ainvoke("Q", stream=False)
        plain = ReasoningChatModel(model="any", base_url=host.base_url, api_key=SecretStr(KEY), row=chat.row, streaming=False)
        for message in (streamed, whole, await plain.ainvoke("Q"), plain.invoke("Q"), chat.invoke("Q")):
            assert message.content == "Nine moons."
            assert message.additional_kwargs["reasoning_content"] == "First, I think about it."
            assert message.additional_kwargs["reasoning_field"] == field
            assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
            assert message.usage_metadata is not None
            assert message.usage_metadata["output_token_details"]["reasoning"] == 6


async def test_think_tags_are_reasoning_however_they_are_cut() -> None:
    for chars in range(1, 12):
        message = await replied(Reply(content="<think>Hm, 1 < 2.</think>\n\nYes: <think> is a tag.", chunk_chars=chars))
        assert message.additional_kwargs["reasoning_content"] == "Hm, 1 < 2."
        assert message.content.strip() == "Yes: <think> is a tag."


async def test_reasoning_goes_back_inside_a_tool_loop_under_the_name_it_came_in() -> None:
    def script(request: dict[str, Any]) -> Reply:
        if len(request["messages"]) < 40:
            return Reply(reasoning="More.", calls=[Call("search", {"query": f"q{len(request['messages'])}"})])
        return Reply(reasoning="Enough.", content="Done.")

    with ScriptedHost(script, dialect=KIMI) as host:
        chat = model(host, "moonshot", "kimi-k2-thinking", params={"temperature": 0.2})
        messages: list[Any] = [HumanMessage("Q")]
        while not isinstance(messages[-1], AIMessage) or messages[-1].tool_calls:
            answer = await ask(chat, messages, tools=[SEARCH])
            messages.append(AIMessage(**answer.model_dump(exclude={"type", "tool_call_chunks", "chunk_position"})))
            messages += [ToolMessage("found", tool_call_id=call["id"]) for call in answer.tool_calls]
    assert host.refusals == []
    assert messages[-1].content == "Done."
    sent = host.requests[-1]["messages"]
    assert all(m["reasoning_content"] == "More." and "content" not in m for m in sent if m["role"] == "assistant")
    assert host.requests[-1]["temperature"] == 1.0
    assert host.requests[-1]["max_completion_tokens"] == 32768
    for earlier, later in zip(host.requests, host.requests[1:], strict=False):
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]


async def test_reasoning_of_another_host_is_not_sent() -> None:
    call = {"name": "search", "args": {"query": "x"}, "id": "toolu_1", "type": "tool_call"}
    foreign = AIMessage(
        "",
        tool_calls=[call],
        additional_kwargs={"reasoning_content": "private", "reasoning_field": "reasoning"},
        response_metadata={"model_provider": "vllm:elsewhere:kimi-k2-thinking"},
    )
    history = [HumanMessage("Q"), foreign, ToolMessage("found", tool_call_id="toolu_1")]
    with ScriptedHost([Reply(content="A")], dialect=KIMI) as host:
        await ask(model(host, "moonshot", "kimi-k2-thinking"), history)
    assert "private" not in json.dumps(host.requests)
    assert host.requests[0]["messages"][1]["reasoning_content"] == ""


async def test_foreign_ids_are_renumbered_for_self_hosted_kimi_and_kept_elsewhere() -> None:
    def turn(id: str) -> list[Any]:
        return [AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": id}]), ToolMessage("found", tool_call_id=id)]

    history = [HumanMessage("Q"), *turn("toolu_1"), *turn("functions.search:1"), *turn("functions.search:1")]
    with ScriptedHost(lambda _: Reply(content="A")) as host:
        await ask(model(host, "vllm", "kimi-k2-thinking"), history)
        await ask(model(host), history[:5])
    kimi, other = ([m["tool_call_id"] for m in r["messages"] if m["role"] == "tool"] for r in host.requests)
    assert kimi == ["functions.search:0", "functions.search:1", "functions.search:2"]
    assert other == ["toolu_1", "functions.search:1"]
    assert host.refusals == []


@pytest.mark.parametrize("dialect", [Dialect(call_index=False), Dialect(repeats_name=True), Dialect(call_index=False, repeats_name=True)])
async def test_parallel_calls_survive_odd_deltas(dialect: Dialect) -> None:
    reply = Reply(calls=[Call("search", {"query": "one"}), Call("search", {"query": "two"})], chunk_chars=4)
    message = await replied(reply, dialect=dialect, tools=[SEARCH])
    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("search", {"query": "one"}, "call_0"),
        ("search", {"query": "two"}, "call_1"),
    ]


async def test_calls_without_index_and_id_are_told_apart() -> None:
    call = {"function": {"name": "search", "arguments": '{"query": "x"}'}}
    message = await replied(streamed({"tool_calls": [call]}, {"tool_calls": [call]}, finish="tool_calls"), tools=[SEARCH])
    assert len({call["id"] for call in message.tool_calls}) == 2


async def test_a_call_cut_off_by_the_output_limit_is_invalid_not_half() -> None:
    calls = [Call("search", {"query": "whole"}), Call("search", '{"query": "hal')]
    message = await replied(Reply(calls=calls, finish_reason="length"), tools=[SEARCH])
    assert [call["args"] for call in message.tool_calls] == [{"query": "whole"}]
    assert [call["name"] for call in message.invalid_tool_calls] == ["search"]


@pytest.mark.parametrize("endless", ["[" * 50_000, "9" * 5_000])
async def test_a_call_whose_arguments_go_round_in_circles_is_rejected_and_the_other_stands(endless: str) -> None:
    calls = [Call("search", {"query": "whole"}), Call("search", f'{{"query": {endless}}}')]
    message = await replied(Reply(calls=calls), tools=[SEARCH])
    assert [call["args"] for call in message.tool_calls] == [{"query": "whole"}]
    assert [call["name"] for call in message.invalid_tool_calls] == ["search"]


async def test_an_id_that_is_a_number_is_one_of_text() -> None:
    call = {"index": 0, "id": 7, "type": "function", "function": {"name": "search", "arguments": "{}"}}
    message = await replied(streamed({"tool_calls": [call]}, finish="tool_calls"), tools=[SEARCH])
    assert [call["id"] for call in message.tool_calls] == ["7"]


async def test_a_rejected_call_goes_back_as_json() -> None:
    with ScriptedHost([Reply(calls=[Call("search", '{"query": "hal')]), Reply(content="A")]) as host:
        chat = model(host)
        first = await ask(chat, tools=[SEARCH])
        again = [HumanMessage("Q"), first, ToolMessage("not JSON", tool_call_id=first.invalid_tool_calls[0]["id"])]
        await ask(chat, again, tools=[SEARCH])
    assert host.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("usage", ["chunk", "choice", "both"])
@pytest.mark.parametrize("cached_in", ["details", "top", "hit_tokens"])
async def test_usage_is_read_from_every_layout_and_never_doubled(usage: Any, cached_in: Any) -> None:
    dialect = Dialect(usage=usage, cached_in=cached_in)
    count = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050, **dialect.cached(768)}
    message = await replied(Reply(content="A", usage=count), dialect=dialect)
    assert message.usage_metadata == {
        "input_tokens": 1000,
        "output_tokens": 50,
        "total_tokens": 1050,
        "input_token_details": {"cache_read": 768},
        "output_token_details": {},
    }


async def test_a_stream_that_just_stops_is_a_failure() -> None:
    error = await failure(Reply(content="A long answer indeed.", chunk_chars=4, stop_after=3))
    assert error.kind == "network"
    assert "stopped" in error.reason


async def test_a_stream_that_stalls_is_given_up_and_one_that_only_pauses_is_not() -> None:
    slow = Reply(content="A long answer indeed.", chunk_chars=4, stall_after=3, stall_s=0.6)
    with ScriptedHost([slow, slow]) as host:
        patient = model(host)
        hasty = ReasoningChatModel(model="any", base_url=host.base_url, api_key=SecretStr(KEY), row=patient.row, idle_timeout_s=0.2)
        with pytest.raises(ModelCallError) as caught:
            await ask(hasty)
        assert (await ask(patient)).content == "A long answer indeed."
    assert caught.value.kind == "network"


async def test_an_error_inside_the_stream_is_a_failure() -> None:
    event = {"error": {"type": "engine_overloaded_error", "message": "The engine is currently overloaded"}}
    error = await failure(Reply(chunks=[{"choices": [{"delta": {"content": "A"}}]}, event]))
    assert error.kind == "overloaded"


async def test_an_unusual_line_separator_inside_a_chunk_is_text() -> None:
    assert (await replied(Reply(content="one\u2028two\x85three"))).content == "one\u2028two\x85three"


@pytest.mark.parametrize(
    ("status", "error", "headers", "kind", "wait"),
    [
        (429, {"type": "engine_overloaded_error", "message": "overloaded"}, {"Retry-After": "7"}, "overloaded", 7.0),
        (429, {"type": "rate_limit_reached_error", "message": "max RPM: 3, please try again after 1 seconds"}, {}, "rate_limit", 1.0),
        (429, {"type": "exceeded_current_quota_error", "message": "check your plan"}, {"Retry-After": "1"}, "quota", None),
        (402, {"message": "Insufficient Balance", "type": "unknown_error"}, {}, "quota", None),
        (401, {"type": "invalid_authentication_error", "message": f"Incorrect API key provided: {KEY}"}, {}, "auth", None),
        (
            400,
            {"type": "content_filter", "message": "The request was rejected because it was considered high risk"},
            {},
            "content_filter",
            None,
        ),
        (400, {"type": "invalid_request_error", "message": "invalid temperature"}, {}, "bad_request", None),
        (500, {"type": "server_error", "message": "oops"}, {}, "overloaded", None),
        (529, {"type": "overloaded_error", "message": "Overloaded"}, {}, "overloaded", None),
        (402, {"message": "This request requires more credits, or fewer max_tokens."}, {}, "quota", None),
        (403, {"message": "Key limit exceeded (total limit)."}, {}, "quota", None),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low"}, {}, "quota", None),
        (400, {"message": "You have reached your specified API usage limits. You will regain access on 2026-12-01"}, {}, "quota", None),
        (400, {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}, {}, "quota", None),
        (429, {"type": "access_terminated_error", "message": "You've reached your usage limit for this billing cycle."}, {}, "quota", None),
        (403, {"message": "预扣费额度失败, 用户剩余额度不足", "type": "new_api_error"}, {}, "quota", None),
        (429, {"message": "Limit 30000, Requested 40000. Please try again in 1m2.5s", "type": "tokens"}, {}, "rate_limit", 62.5),
        (429, {"message": "slow"}, {"retry-after-ms": "1500"}, "rate_limit", 1.5),
        (429, {"message": "slow"}, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "rate_limit", 0.0),
        (429, {"message": "slow"}, {"retry-after": "soon"}, "rate_limit", None),
        (451, {"message": "content blocked"}, {}, "content_filter", None),
        (503, "<html><title>503 Service Unavailable</title></html>", {}, "overloaded", None),
    ],
)
async def test_refusals_have_a_kind(status: int, error: Any, headers: dict[str, str], kind: str, wait: float | None) -> None:
    caught = await failure(Reply(status=status, error=error, headers=headers))
    assert (caught.kind, caught.retry_after_s) == (kind, wait)
    assert "\n" not in caught.reason
    assert KEY not in caught.reason


@pytest.mark.parametrize(
    ("message", "window"),
    [
        ("Your request exceeded model token limit: 262144 (requested: 300000)", 262144),
        ("This model's maximum context length is 131072 tokens. However, you requested 140000 tokens", 131072),
        ("the request exceeds the available context size (8192 tokens), try increasing it", 8192),
        ("prompt is too long: 213462 tokens > 200000 maximum", 200000),
        ("Input is too long for requested model.", None),
        ("Please reduce the length of the messages or completion.", None),
        # OpenAI, Anthropic, vLLM, SGLang, llama.cpp, Ollama, TGI, Gemini by a relay, Qwen, Moonshot, OpenRouter
        ("Your input exceeds the context window of this model. Please adjust your input and try again.", None),
        ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.", 272000),
        ("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens`", 200000),
        ("'max_tokens' is too large: 32768. This model's maximum context length is 131072 tokens and your request has 120000", 131072),
        ("The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that `max_model_len` is", 8192),
        ("You passed 35000 input tokens and requested 2000 output tokens. However, the model's context length is only 32768", 32768),
        ("The input (140000 tokens) is longer than the model's context length (131072 tokens).", 131072),
        ("Requested token count exceeds the model's maximum context length of 131072 tokens. You requested 140000 tokens", 131072),
        ("the request exceeds the available context size. try increasing the context size or enable context shift", None),
        ("the prompt is longer than the context length", None),
        ("input length exceeds the context length", None),
        ("`inputs` tokens + `max_new_tokens` must be <= 32769. Given: 40000 `inputs` tokens and 2000 `max_new_tokens`", 32769),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1048576),
        ("Range of input length should be [1, 129024]", 129024),
        ("Input token length too long", None),
        ("Prompt exceeds max length", None),
        ("Token limit exceeded: input has 20000 tokens, the limit is 16000", 16000),
        ("Input length 20000 exceeds maximum allowed token size 16000", 16000),
        ("total tokens of image and text exceed max message tokens", None),
        ("max_tokens must be at least 1, got -200", None),
        ("输入长度超过模型最大上下文", None),
        ("This endpoint's maximum context length is 262144 tokens. However, you requested about 300000 tokens", 262144),
    ],
)
async def test_an_overflow_in_any_wording_teaches_the_window(message: str, window: int | None) -> None:
    caught = await failure(Reply(status=400, error={"message": message}))
    assert (caught.kind, caught.window_tokens) == ("overflow", window)


@pytest.mark.parametrize("body", ["[" * 50_000, f'{{"n": {"9" * 5_000}}}', "<" * 300_000, "<title>" * 50_000])
async def test_a_refusal_that_nobody_can_read_is_one_line_all_the_same(body: str) -> None:
    began = time.monotonic()
    for status, kind in ((500, "overloaded"), (400, "bad_request")):
        caught = await failure(Reply(status=status, error=body))
        assert (caught.kind, len(caught.reason) <= 300) == (kind, True)
    told = from_answer(429, f'{{"error": {{"message": "retry in {"9" * 400} s, maximum context length is {"9" * 5_000}"}}}}', host="h")
    assert (told.kind, told.retry_after_s) == ("rate_limit", None)
    assert window_told(f"maximum context length is {'9' * 5_000}") == 999_999_999_999
    assert time.monotonic() - began < 5.0


async def test_a_host_that_is_not_there_is_a_network_failure() -> None:
    with ScriptedHost([]) as host:
        chat = model(host)
    with pytest.raises(ModelCallError) as caught:
        await ask(chat)
    assert caught.value.kind == "network"


async def test_nothing_at_all_is_a_failure_that_may_be_retried() -> None:
    assert (await failure(Reply())).kind == "empty"
    assert (await failure(Reply(reasoning="I should search now."), tools=[SEARCH])).kind == "empty"
    assert (await failure(Reply(reasoning="Hm", finish_reason="length"))).kind == "empty"


async def test_a_report_in_the_reasoning_channel_is_recovered() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}, "strict": True}}
    prose = await replied(Reply(reasoning="# Report\nNine."))
    structured = await replied(Reply(reasoning='So {x}: the plan is {"brief": "b"}.'), response_format=schema)
    assert prose.content == "# Report\nNine."
    assert structured.content == '{"brief": "b"}'


async def test_leaked_tool_tokens_become_the_call() -> None:
    leak = (
        "I search.<|tool_calls_section_begin|><|tool_call_begin|>functions.search:3<|tool_call_argument_begin|>"
        '{"query": "x"}<|tool_call_end|><|tool_calls_section_end|>'
    )
    message = await replied(Reply(reasoning=leak, chunk_chars=3), tools=[SEARCH])
    assert message.tool_calls == [{"name": "search", "args": {"query": "x"}, "id": "functions.search:3", "type": "tool_call"}]
    assert message.additional_kwargs["reasoning_content"] == "I search."


async def test_structure_is_asked_for_as_the_host_knows_it() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object", "title": "Plan"}, "strict": True}}
    with ScriptedHost(lambda _: Reply(content="{}")) as host:
        await ask(model(host), response_format=schema)
        await ask(model(host, "vllm"), response_format=schema)
    plain, vllm = host.requests
    assert plain["response_format"] == {"type": "json_object"}
    assert '"title": "Plan"' in plain["messages"][-1]["content"]
    assert vllm["response_format"] == schema
    assert vllm["messages"][-1]["content"] == "Q"


async def test_a_forced_tool_becomes_a_free_choice_while_the_model_thinks() -> None:
    with ScriptedHost([Reply(content="A")], dialect=KIMI) as host:
        bound = model(host, "moonshot", "kimi-k2-thinking").bind_tools([SEARCH], tool_choice="search")
        await bound.ainvoke("Q")
    assert host.refusals == []
    assert host.requests[0]["tool_choice"] == "auto"


async def test_the_key_goes_to_the_host_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-meant-for-another-host")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-meant-for-another-host")
    with ScriptedHost(lambda _: Reply(content="A")) as host:
        chat = model(host)
        await ask(chat)
        keyless = load(Settings(provider="vllm", name="m", base_url=host.base_url)).chat
        await keyless.ainvoke("Q")
    assert host.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "another-host" not in json.dumps(host.headers)
    assert KEY not in repr(chat) + str(chat.model_dump())


async def test_a_host_that_goes_silent_is_a_network_failure() -> None:
    with ScriptedHost([Reply(content="A", delay_s=1.0)]) as host:
        chat = ReasoningChatModel(model="any", base_url=host.base_url, api_key=SecretStr(KEY), idle_timeout_s=0.1)
        with pytest.raises(ModelCallError) as caught:
            await ask(chat)
    assert (caught.value.kind, caught.value.reason) == ("network", "127.0.0.1: no answer in time")


async def test_a_host_teaches_what_it_does_not_take() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}, "strict": True}}
    with ScriptedHost(lambda _: Reply(content="{}"), dialect=Dialect(formats=("text",))) as host:
        chat = model(host, "vllm")
        for _ in range(2):
            with pytest.raises(ModelCallError) as caught:
                await ask(chat, response_format=schema)
            assert caught.value.kind in RETRYABLE
        assert (await ask(chat, response_format=schema)).content == "{}"
    assert [r.get("response_format", {}).get("type") for r in host.requests] == ["json_schema", "json_object", None]
    assert '{"type": "object"}' in host.requests[-1]["messages"][-1]["content"]


async def test_other_marks_of_a_thought_are_known() -> None:
    message = await replied(Reply(content="◁think▷Hm.◁/think▷Yes.", chunk_chars=3))
    assert (message.additional_kwargs["reasoning_content"], message.content) == ("Hm.", "Yes.")


async def test_signed_details_of_a_thought_go_back_as_they_came() -> None:
    parts = [
        {"type": "reasoning.text", "text": "I ", "index": 0},
        {"type": "reasoning.text", "text": "think.", "signature": "sig", "index": 0},
        {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
    ]
    deltas = [{"reasoning": part.get("text", ""), "reasoning_details": [part]} for part in parts]
    with ScriptedHost([streamed(*deltas, {"content": "A"}), Reply(content="B")]) as host:
        chat = model(host, "openrouter")
        first = await ask(chat)
        await ask(chat, [HumanMessage("Q"), first, HumanMessage("And?")])
    sent = host.requests[1]["messages"][1]
    assert sent["reasoning"] == "I think."
    assert sent["reasoning_details"] == [{"type": "reasoning.text", "text": "I think.", "signature": "sig", "index": 0}, parts[2]]


async def test_a_host_that_answers_whole_though_asked_to_stream_is_read() -> None:
    message = {"role": "assistant", "reasoning_content": "Hm.", "content": "Nine."}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}, indent=1)
    answer = await replied(Reply(status=203, error=body))
    assert (answer.content, answer.additional_kwargs["reasoning_content"]) == ("Nine.", "Hm.")
    assert answer.usage_metadata is not None


async def test_events_without_an_empty_line_between_them_are_read() -> None:
    pieces = [
        json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": end}]}) for text, end in (("Ni", None), ("ne.", "stop"))
    ]
    answer = await replied(Reply(chunks=["\ndata: ".join([*pieces, "[DONE]"])]))
    assert answer.content == "Nine."


@pytest.mark.parametrize("key", ["“d41d8cd98f00”", "abc\nrysecret", "ключ-d41d8cd98f00"])
async def test_a_key_that_is_none_is_refused_and_stands_in_no_error(key: str) -> None:
    with ScriptedHost([Reply(content="Nine.")]) as host:
        chat = ReasoningChatModel(model="any", base_url=host.base_url, api_key=SecretStr(key))
        with pytest.raises(ModelCallError) as refused:
            await ask(chat)
    error = refused.value
    assert error.kind == "auth"
    assert key.strip("“”")[:5] not in f"{error!r} {error.reason} {error.__context__!r} {error.__cause__!r}"
    assert host.requests == []


async def test_settings_of_a_call_and_of_the_model_are_fields_of_the_request() -> None:
    with ScriptedHost([Reply(content="Nine.")] * 2) as host:
        chat = ReasoningChatModel(model="any", base_url=host.base_url, extra_body={"top_k": 5}, stop=["END"])
        await chat.bind(extra_body={"min_p": 0.1}).ainvoke("Q")
        other = chat.model_copy(update={"extra_body": None})
        await other.ainvoke("Q", stop=["HALT"])
    first, second = host.requests
    assert (first["top_k"], first["min_p"], first["stop"]) == (5, 0.1, ["END"])
    assert "extra_body" not in first
    assert ("top_k" in second, second["stop"]) == (False, ["HALT"])
    assert chat._get_llm_string() != other._get_llm_string()  # what a cache of answers goes by


async def test_blocks_of_text_stay_blocks_and_names_stay_names() -> None:
    rules = SystemMessage([{"type": "text", "text": "rules", "cache_control": {"type": "ephemeral"}}])
    with ScriptedHost([Reply(content="Nine.")]) as host:
        await ask(model(host), [rules, HumanMessage("Q \ud800", name="ann")])
    system, user = host.requests[0]["messages"]
    assert system["content"] == [{"type": "text", "text": "rules", "cache_control": {"type": "ephemeral"}}]
    assert (user["name"], user["content"]) == ("ann", "Q \ud800")


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [None]},
        {"choices": [{"delta": {"tool_calls": [None]}}]},
        {"choices": [{"delta": {"content": 5}}]},
        {"choices": [{"delta": {}}], "usage": {"prompt_tokens": 3, "prompt_tokens_details": "x"}},
        {"choices": [{"delta": {}}], "usage": {"prompt_tokens": float("nan")}},
        {"choices": [{"delta": {}}], "usage": {"prompt_tokens": float("inf")}},
    ],
)
async def test_an_answer_of_another_shape_is_one_typed_error(chunk: Any) -> None:
    error = await failure(Reply(chunks=[chunk, "[DONE]"]))
    assert error.kind in RETRYABLE


def test_an_address_that_is_none_is_refused_at_once() -> None:
    for address in ("host:8000/v1", "ftp://host/v1"):
        with pytest.raises(ValueError, match="not an http:// or https:// address"):
            ReasoningChatModel(model="any", base_url=address)
