"""A scripted model host: a real HTTP server on 127.0.0.1 that speaks the OpenAI chat dialect and refuses what real hosts refuse.

def script(request):
    if request["messages"][-1]["role"] == "tool":
        return Reply(reasoning="I have it.", content="Nine.")
    return Reply(reasoning="I search.", calls=[Call("web_search", {"query": "moons"})])

with ScriptedHost(script) as host:
    model = load(Settings(provider="openai", name="any", base_url=host.base_url))
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from .rules import Dialect, Refusal, check

Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    """A string is sent as it is."""
    id: str = ""
    """Empty: numbered by the host as its dialect does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer."""

    content: str = ""
    reasoning: str = ""
    calls: Sequence[Call] = ()
    usage: Mapping[str, Any] | None = None
    """Empty: counted by the host, four characters a token, with the cached prefix."""
    finish_reason: str = ""
    """Empty: `tool_calls` or `stop`."""
    chunk_chars: int = 24
    """How finely a stream is cut."""
    stop_after: int | None = None
    """The stream just stops after so many chunks, without an end."""
    stall_after: int | None = None
    """The stream stalls for `stall_s` after so many chunks, with its connection open."""
    stall_s: float = 0.0
    delay_s: float = 0.0
    """Before the first byte."""
    status: int = 200
    error: Mapping[str, Any] | str = ""
    """The body's `error`; or, a string, the whole body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[Mapping[str, Any] | str] | None = None
    """The stream itself, event by event, where its layout is what matters. A string is sent as the event's data."""
    write_bytes: int = 0
    """The stream's bytes are written so many at a time, whatever that cuts in two; 0: an event at a time."""
    line_end: str = "\n"
    """Servers also end their lines with carriage return and line feed."""
    keep_alive: str = ""
    """A comment sent before each event, as proxies send them while a model thinks."""
    final_done: bool = True
    """The stream's `[DONE]`."""


Script = Callable[[Request], Reply]


class ScriptedHost:
    """Serves while it is entered. `requests` holds every chat request in order, refused ones in `refusals` as well."""

    def __init__(self, script: Script | Sequence[Reply], *, dialect: Dialect | None = None, key: str = "") -> None:
        self.script = script if callable(script) else _in_turn(script)
        self._lock = threading.Lock()
        self.dialect = dialect or Dialect()
        self.key = key
        """If set, any other key is refused."""
        self._prompts: list[str] = []
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self.refusals: list[str] = []
        self.others: list[tuple[str, Request]] = []
        """What came on a path that is not served here: its path, its body."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"host": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request, headers: Mapping[str, str]) -> tuple[Reply, int]:
        """The reply to a request, and how many of its prompt tokens were cached."""
        with self._lock:
            prompt = _flat(request)
            cached = max((_shared_tokens(prompt, earlier) for earlier in self._prompts), default=0)
            self._prompts.append(prompt)
            self.requests.append(request)
            lower = {name.lower(): value for name, value in headers.items()}
            self.headers.append(lower)
            try:
                if self.key and lower.get("authorization") != f"Bearer {self.key}":
                    raise Refusal(401, "Invalid Authentication", "invalid_authentication_error")
                check(request, self.dialect)
            except Refusal as refusal:
                self.refusals.append(refusal.message)
                return Reply(status=refusal.status, error={"type": refusal.type, "message": refusal.message}), 0
            return self.script(request), cached


def _in_turn(replies: Sequence[Reply]) -> Script:
    left = iter(replies)

    def script(request: Request) -> Reply:
        reply = next(left, None)
        return reply or Reply(status=500, error={"type": "script", "message": "the script has no further reply"})

    return script


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default refuses the sixth of those that come at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that has what it wanted hangs up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    host: ScriptedHost
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            self.host.others.append((self.path, request))
            return self._body(404, {"error": {"message": f"no such path: {self.path}"}}, {})
        reply, cached = self.host.answer(request, dict(self.headers.items()))
        time.sleep(reply.delay_s)
        if reply.status != 200:
            body = reply.error if isinstance(reply.error, str) else {"error": reply.error}
            return self._body(reply.status, body, reply.headers)
        answer = _Wire(self.host.dialect, request, reply, cached)
        if request.get("stream"):
            return self._stream(answer, reply)
        return self._body(200, answer.whole(), reply.headers)

    def do_GET(self) -> None:
        found = self.path.endswith("/models")
        self._body(200 if found else 404, {"object": "list", "data": [{"id": "scripted", "object": "model"}]} if found else {}, {})

    def _body(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer: _Wire, reply: Reply) -> None:
        self.send_response(200)
        headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", "x-trace-id": answer.id, **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        events = [data if isinstance(data, str) else json.dumps(data, ensure_ascii=False) for data in reply.chunks or answer.chunks()]
        for n, data in enumerate(events[: reply.stop_after]):
            if n == reply.stall_after:
                time.sleep(reply.stall_s)
            self._event(data, reply)
        if reply.stop_after is None and reply.chunks is None and reply.final_done:
            self._event("[DONE]", reply)
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str, reply: Reply) -> None:
        end = reply.line_end
        comment = f": {reply.keep_alive}{end}{end}" if reply.keep_alive else ""
        event = f"{comment}data: {data}{end}{end}".encode()
        size = reply.write_bytes or len(event)
        for at in range(0, len(event), size):
            piece = event[at : at + size]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class _Wire:
    """A reply as it stands on the wire, in one dialect."""

    def __init__(self, dialect: Dialect, request: Request, reply: Reply, cached: int) -> None:
        self._dialect = dialect
        self._reply = reply
        self._model = request.get("model", "scripted")
        asked_before = sum(len(message.get("tool_calls") or ()) for message in request["messages"])
        self._calls = [self._call(call, asked_before + n) for n, call in enumerate(reply.calls)]
        self._usage = dict(reply.usage) if reply.usage is not None else self._count(request, cached)
        self._finish = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
        self.id = f"chatcmpl-{asked_before}-{len(request['messages'])}"

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._reply.content or None}
        if self._reply.reasoning:
            message[self._dialect.reasoning_field] = self._reply.reasoning
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        return {"id": self.id, "object": "chat.completion", "model": self._model, "choices": [choice], "usage": self._usage}

    def chunks(self) -> Iterator[dict[str, Any]]:
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in self._cut(self._reply.reasoning):
            yield self._chunk({self._dialect.reasoning_field: piece})
        for piece in self._cut(self._reply.content):
            yield self._chunk({"content": piece})
        for index, call in enumerate(self._calls):
            place = {"index": index} if self._dialect.call_index else {}
            head = {"name": call["function"]["name"], "arguments": ""}
            yield self._chunk({"tool_calls": [{**place, "id": call["id"], "type": "function", "function": head}]})
            for piece in self._cut(call["function"]["arguments"]):
                name = {"name": head["name"]} if self._dialect.repeats_name else {}
                yield self._chunk({"tool_calls": [{**place, "function": {**name, "arguments": piece}}]})
        in_choice = {"usage": self._usage} if self._dialect.usage in ("choice", "both") else {}
        yield {**self._chunk({}), "choices": [{"index": 0, "delta": {}, "finish_reason": self._finish, **in_choice}]}
        if self._dialect.usage in ("chunk", "both"):
            yield {**self._chunk({}), "choices": [], "usage": self._usage}

    def _chunk(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return {"id": self.id, "object": "chat.completion.chunk", "model": self._model, "choices": [choice]}

    def _cut(self, text: str) -> Iterator[str]:
        size = self._reply.chunk_chars
        return (text[at : at + size] for at in range(0, len(text), size))

    def _call(self, call: Call, number: int) -> dict[str, Any]:
        args = call.args if isinstance(call.args, str) else json.dumps(call.args, ensure_ascii=False)
        id = call.id or self._dialect.call_id.format(name=call.name, n=number)
        return {"id": id, "type": "function", "function": {"name": call.name, "arguments": args}}

    def _count(self, request: Request, cached: int) -> dict[str, Any]:
        reply = self._reply
        reasoning = len(reply.reasoning) // 4
        output = (len(reply.content) + sum(len(call["function"]["arguments"]) + 20 for call in self._calls)) // 4 + reasoning
        prompt = len(_flat(request)) // 4
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            **self._dialect.cached(min(cached, prompt)),
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }


def _flat(request: Request) -> str:
    return json.dumps([request.get("tools"), request["messages"]], ensure_ascii=False)


def _shared_tokens(one: str, other: str) -> int:
    """Tokens of the common prefix, in whole blocks of 256."""
    block = 4 * 256
    blocks = 0
    while (end := (blocks + 1) * block) <= min(len(one), len(other)) and one[end - block : end] == other[end - block : end]:
        blocks += 1
    return blocks * 256
