"""The server behind the misbehaving web: raw sockets, so that it can do what no proper server does."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from research_agent.web.net import Client

HOST = "site.test"
_BLOCK_S = 30.0
"""How long a server that keeps somebody waiting does so."""


@dataclass(slots=True)
class Exchange:
    """One request, and the wire to answer on."""

    host: str
    path: str
    headers: dict[str, str]
    count: int
    """How many times this path was asked for, this one included."""
    web: MisbehavingServer
    wire: socket.socket

    def send(self, data: bytes) -> None:
        self.wire.sendall(data)

    def head(self, status: str = "200 OK", **headers: str) -> None:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode("latin-1"))

    def answer(self, body: str | bytes, status: str = "200 OK", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.head(status, **{"Content_Type": "text/html; charset=utf-8", "Content_Length": str(len(data)), **headers})
        self.send(data)

    def wait(self) -> None:
        self.web.closing.wait(_BLOCK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    path: str
    does: str
    outcome: Literal["text", "failure"]
    says: str
    """A regular expression: found in the text that is read, or in the one line that tells why nothing was."""
    never: str = ""
    """What must not be in the text."""
    serve: Callable[[Exchange], None] = field(repr=False)
    host: str = HOST
    scheme: str = "http"


def page(body: str | bytes, status: str = "200 OK", **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer(body, status, **headers)


_ROBOTS = "User-agent: *\nDisallow: /private/\nDisallow: /*?page=\nAllow: /private/open\n"


class MisbehavingServer:
    """The cases, on one port of 127.0.0.1 under several names."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self.closing = threading.Event()
        self.asked: list[tuple[str, str]] = []
        """Host and path of what came."""
        self._serve = {(case.host, case.path): case.serve for case in cases}
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, case: Case) -> str:
        return f"{case.scheme}://{case.host}:{self.port}{case.path}"

    def client(self, *, max_bytes: int = 2_000_000, timeout_s: float = 1.0) -> Client:
        """The product's own client, for which the hosts of this web are public, and `intranet.test` is private."""

        async def resolver(host: str, port: int) -> Sequence[str]:
            if host == "nowhere.test" or not host.endswith(".test"):
                raise OSError("unknown")
            return ["127.0.0.1" if host != "intranet.test" else "10.0.0.1"]

        hosts = {case.host for case in self._cases}
        return Client(allow_hosts=hosts, max_bytes=max_bytes, timeout_s=timeout_s, resolver=resolver)

    def serve(self, exchange: Exchange) -> None:
        if exchange.path == "/robots.txt" and exchange.host == "ring.test":
            exchange.answer("", "302 Found", Location="/robots.txt")
            return
        if exchange.path == "/robots.txt":
            down = exchange.host == "down.test"
            exchange.answer(_ROBOTS, "503 Service Unavailable" if down else "200 OK", Content_Type="text/plain", Retry_After="60")
            return
        serve = self._serve.get((exchange.host, exchange.path)) or self._serve.get((exchange.host, exchange.path.partition("?")[0]))
        (serve or page("not found", "404 Not Found"))(exchange)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that had enough is what this server is for."""


def _handler(web: MisbehavingServer) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(_BLOCK_S)
            received = b""
            while b"\r\n\r\n" not in received:
                piece = self.request.recv(65_536)
                if not piece or received[:1] == b"\x16":  # TLS
                    return
                received += piece
                if received[:1] == b"\x16":
                    self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
            lines = received.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            path, host = lines[0].split(" ")[1], headers.get("host", "").partition(":")[0]
            web.asked.append((host, path))
            web.serve(Exchange(host, path, headers, web.asked.count((host, path)), web, self.request))
            time.sleep(0.01)  # so that what was sent is read before a reset may overtake it

    return Handler
