"""A scripted host that speaks Claude's Messages API or GPT's Responses API, streamed, and refuses what those refuse.

with VendorHost(script, maker="anthropic") as host:
    model = load(Settings(provider="anthropic", name="claude-sonnet-5-5", base_url=host.base_url))
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from .host import Reply, Request
from .rules import Refusal
from .vendor_rules import check_claude, check_gpt

Event = dict[str, Any]


class VendorHost:
    """Serves while it is entered. A reply's usage is `prompt_tokens`, `cached_tokens` (of them) and `completion_tokens`."""

    def __init__(self, script: Callable[[Request], Reply], *, maker: Literal["anthropic", "openai"], usage_at_end: bool = True) -> None:
        self.script = script
        self.maker = maker
        self.usage_at_end = usage_at_end
        """Whether Claude's last event counts the prompt again, as newer hosts do."""
        self.requests: list[Request] = []
        self.refusals: list[str] = []
        self.given: dict[str, Any] = {}
        """By the id of a turn's call: its blocks; of a reasoning item: its encrypted content; of GPT's call: its reasoning item."""
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return address if self.maker == "anthropic" else f"{address}/v1"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> tuple[int, list[Event] | Event]:
        """Status, and the stream's events or the error."""
        with self._lock:
            self.requests.append(request)
            try:
                (check_claude if self.maker == "anthropic" else check_gpt)(request, self.given)
            except Refusal as refusal:
                self.refusals.append(refusal.message)
                return refusal.status, {"type": "error", "error": {"type": refusal.type, "message": refusal.message}}
            reply, turn = self.script(request), len(self.requests)
            if reply.status != 200:
                return reply.status, {"type": "error", "error": reply.error}
            return 200, list(self._claude(reply, turn, request) if self.maker == "anthropic" else self._gpt(reply, turn, request))

    def _claude(self, reply: Reply, turn: int, request: Request) -> Iterator[Event]:
        blocks = self._blocks(reply, turn)
        for block in blocks:
            if block["type"] == "tool_use":
                self.given[block["id"]] = blocks
        counted = _counted(reply, request)
        cached, total = counted["cached_tokens"], counted["prompt_tokens"]
        prompt = {"input_tokens": total - cached, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0}
        message = {
            "id": f"msg_{turn}",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [],
            "stop_reason": None,
        }
        yield {"type": "message_start", "message": {**message, "stop_sequence": None, "usage": {**prompt, "output_tokens": 1}}}
        for index, block in enumerate(blocks):
            yield {"type": "content_block_start", "index": index, "content_block": {**block, **_EMPTY.get(block["type"], {})}}
            for delta in _deltas(block, reply.chunk_chars):
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        usage = {**(prompt if self.usage_at_end else {}), "output_tokens": counted["completion_tokens"]}
        ended = reply.finish_reason or ("tool_use" if reply.calls else "end_turn")
        yield {"type": "message_delta", "delta": {"stop_reason": ended, "stop_sequence": None}, "usage": usage}
        yield {"type": "message_stop"}

    def _blocks(self, reply: Reply, turn: int) -> list[Event]:
        """The thought signed, with a redacted part before it in each third turn."""
        blocks: list[Event] = [{"type": "redacted_thinking", "data": f"redacted {turn}"}] if reply.reasoning and turn % 3 == 0 else []
        if reply.reasoning:
            blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": f"signed {turn}"})
        if reply.content:
            blocks.append({"type": "text", "text": reply.content})
        calls = enumerate(reply.calls)
        return [*blocks, *({"type": "tool_use", "id": f"toolu_{turn}_{n}", "name": call.name, "input": call.args} for n, call in calls)]

    def _gpt(self, reply: Reply, turn: int, request: Request) -> Iterator[Event]:
        items = self._items(reply, turn)
        whole = {"id": f"resp_{turn}", "object": "response", "created_at": 0, "model": request["model"], "output": items, "error": None}
        whole |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "instructions": None}
        begun = {**whole, "status": "in_progress", "output": [], "incomplete_details": None}
        yield {"type": "response.created", "response": begun}
        for index, item in enumerate(items):
            yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **_EMPTY[item["type"]]}}
            yield from _said(item, index, reply.chunk_chars)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        counted = _counted(reply, request)
        prompt, output = counted["prompt_tokens"], counted["completion_tokens"]
        usage = {"input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output}
        usage |= {"input_tokens_details": {"cached_tokens": counted["cached_tokens"]}, "output_tokens_details": {"reasoning_tokens": 0}}
        yield {"type": "response.completed", "response": {**whole, "status": "completed", "incomplete_details": None, "usage": usage}}

    def _items(self, reply: Reply, turn: int) -> list[Event]:
        items: list[Event] = []
        if reply.reasoning:
            self.given[f"rs_{turn}"] = f"encrypted {turn}"
            summary = [{"type": "summary_text", "text": reply.reasoning}]
            items.append({"type": "reasoning", "id": f"rs_{turn}", "summary": summary, "encrypted_content": f"encrypted {turn}"})
        if reply.content:
            text = {"type": "output_text", "text": reply.content, "annotations": []}
            items.append({"type": "message", "id": f"msg_{turn}", "role": "assistant", "status": "completed", "content": [text]})
        for n, call in enumerate(reply.calls):
            if reply.reasoning:
                self.given[f"call_{turn}_{n}"] = f"rs_{turn}"
            ids = {"id": f"fc_{turn}_{n}", "call_id": f"call_{turn}_{n}", "name": call.name, "status": "completed"}
            items.append({"type": "function_call", **ids, "arguments": json.dumps(call.args, ensure_ascii=False)})
        return items


class _Handler(BaseHTTPRequestHandler):
    host: VendorHost
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served = "/messages" if self.host.maker == "anthropic" else "/responses"
        missing: Event = {"type": "error", "error": {"type": "not_found_error", "message": f"no such path: {self.path}"}}
        status, answer = self.host.answer(request) if self.path.endswith(served) else (404, missing)
        if isinstance(answer, list):
            numbered = [{**event, "sequence_number": n} if self.host.maker == "openai" else event for n, event in enumerate(answer)]
            body = "".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n" for e in numbered).encode()
        else:
            body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if isinstance(answer, list) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


_EMPTY: Mapping[str, Event] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "reasoning": {"summary": []},
    "message": {"content": []},
    "function_call": {"arguments": ""},
}
"""A block or item as it begins."""


def _counted(reply: Reply, request: Request) -> Mapping[str, Any]:
    counted = {"prompt_tokens": len(json.dumps(request)) // 4, "cached_tokens": 0, "completion_tokens": 50}
    return {**counted, **(reply.usage or {})}


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _deltas(block: Event, size: int) -> Iterator[Event]:
    match block["type"]:
        case "thinking":
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in _cut(block["thinking"], size))
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "text":
            yield from ({"type": "text_delta", "text": piece} for piece in _cut(block["text"], size))
        case "tool_use":
            pieces = _cut(json.dumps(block["input"], ensure_ascii=False), size)
            yield from ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)


def _said(item: Event, index: int, size: int) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index}
    match item["type"]:
        case "reasoning":
            part, place = item["summary"][0], {**place, "summary_index": 0}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
            for piece in _cut(part["text"], size):
                yield {"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", **place, "part": part}
        case "message":
            part, place = item["content"][0], {**place, "content_index": 0}
            yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
            for piece in _cut(part["text"], size):
                yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": part}
        case _:
            for piece in _cut(item["arguments"], size):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            yield {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"], "name": item["name"]}
