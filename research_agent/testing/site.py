"""A small web site on 127.0.0.1 for tests and examples: `with Site({"/a": Page("text")}) as site: site.url("/a")`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers."""

    body: str | bytes = ""
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before the answer."""
    drip_s: float = 0.0
    """Between the single bytes of the body."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that arrived."""

    path: str
    """With its query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    method: str = "GET"
    body: bytes = b""


Answer = Page | str | Callable[[Visit], Page]


class Site:
    """Serves `pages` by path, a query ignored; anything else is a 404. Pages may be added while it runs; `visits` is what came."""

    def __init__(self, pages: Mapping[str, Answer] | None = None) -> None:
        self.pages: dict[str, Answer] = dict(pages or {})
        self.visits: list[Visit] = []
        self._server = _server(self)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """For `allow_hosts`."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection kept alive must not hold up the end of a test

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away mid-answer is no news."""


def _server(site: Site) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            sent = self.rfile.read(int(headers.get("content-length", 0)))
            visit = Visit(self.path, headers, self.command, sent)
            site.visits.append(visit)
            answer = site.pages.get(self.path.partition("?")[0], Page("not found", status=404))
            page = answer if isinstance(answer, Page) else Page(answer) if isinstance(answer, str) else answer(visit)
            time.sleep(page.delay_s)
            body = page.body.encode() if isinstance(page.body, str) else page.body
            self.send_response(page.status)
            for name, value in {"Content-Type": page.content_type, "Content-Length": str(len(body)), **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in [body[i : i + 1] for i in range(len(body))] if page.drip_s else [body]:
                self.wfile.write(piece)
                time.sleep(page.drip_s)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return _Server(("127.0.0.1", 0), Handler)
