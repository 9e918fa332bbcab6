"""Draws a page whose text its scripts make, in a Chromium that reaches nothing by itself.

Every request of the browser is taken from it and fetched by our own client, so that the same rules hold: addresses checked on each
connection and redirect, robots.txt, limits of size and time. The browser itself has no network: it stands in a namespace of its own
where bubblewrap is, and everywhere behind a proxy that is none and a resolver that knows no name.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from research_agent.web.net import Fetched, FetchFailed, Refused

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import BrowserContext, Page, Route, WebSocketRoute

Fetch = Callable[[str], Awaitable[Fetched]]
"""Our own way to a page. Raises Refused and FetchFailed."""

PAGE_S = 20.0
"""For one page with all that it loads."""
START_S = 60.0
"""Its first start on a cold, busy machine has taken more than 20 s."""
QUIET_S = 0.6
"""A page that has asked for nothing for so long, and whose text stays the same, is drawn."""
MAX_REQUESTS = 60
MAX_LOADED_BYTES = 20_000_000
MAX_HTML_CHARS = 5_000_000
_LOADED = frozenset({"script", "xhr", "fetch"})
"""What a page's text may hang on. Pictures, fonts, styles, media, frames and pings are not loaded."""
_KEPT_HEADERS = ("content-type", "access-control-allow-origin", "access-control-allow-credentials")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = (
    "--proxy-server=http://127.0.0.1:9",  # where nobody listens
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-background-networking",
    "--disable-gpu",
    "--js-flags=--max-old-space-size=512",
)
_TEXT = "() => document.body ? document.body.innerText.length : 0"
_HTML_SIZE = "() => document.documentElement.outerHTML.length"


class NoBrowser(Exception):
    """Pages cannot be drawn on this machine: one line."""


class NotDrawn(Exception):
    """This page could not be drawn: one line."""


def find() -> str:
    """The browser's program: the system's, else the one that Playwright installed. Raises NoBrowser."""
    try:
        import playwright
    except ImportError:
        raise NoBrowser("not installed: pip install '.[browser]'") from None
    del playwright
    if found := next((path for name in _NAMES if (path := shutil.which(name))), None):
        return found
    for folder in (Path.home() / ".cache" / "ms-playwright", Path.home() / "Library" / "Caches" / "ms-playwright"):
        for program in ("*/headless_shell", "*/chrome-headless-shell", "*/chrome"):
            if installed := sorted(folder.glob(f"chromium*/{program}")):
                return str(installed[-1])
    raise NoBrowser("no Chromium found: install your system's package chromium, or run `playwright install chromium`")


class Browser:
    """Started when first needed; one page at a time. Belongs to one event loop; use it as a context manager."""

    def __init__(self, program: str, fetch: Fetch, *, page_s: float = PAGE_S) -> None:
        self._program, self._fetch, self._page_s = program, fetch, page_s
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._started: Chromium | None = None

    async def draw(self, shell: Fetched) -> Fetched:
        """The page that `shell` becomes once its scripts ran. Raises NoBrowser and NotDrawn."""
        async with self._turn:
            chromium = await self._chromium()
            visit = _Visit(shell, self._fetch)
            try:
                async with asyncio.timeout(self._page_s):
                    html = await visit.drawn(chromium)
            except TimeoutError as error:
                await self.aclose()  # a page that keeps its process busy would keep it from the next one too
                raise NotDrawn(f"it took longer than {self._page_s:g} s to draw") from error
            except _playwright_error() as error:
                await self.aclose()
                raise NotDrawn(f"the browser failed: {_first_line(error)}") from error
        headers = {"content-type": "text/html; charset=utf-8"}
        return replace(shell, headers=headers, body=html.encode("utf-8", "replace"))

    async def _chromium(self) -> Chromium:
        if self._started is None or not self._started.is_connected():
            await self.aclose()
            try:
                async with asyncio.timeout(START_S):
                    self._started = await self._start()
            except TimeoutError as error:
                await self.aclose()
                raise NoBrowser(f"the browser did not start in {START_S:g} s") from error
            except _playwright_error() as error:
                await self.aclose()
                raise NoBrowser(f"the browser does not start: {_first_line(error)}") from error
        return self._started

    async def _start(self) -> Chromium:
        from playwright.async_api import async_playwright

        playwright = await self._stack.enter_async_context(async_playwright())
        scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="browser-"))
        program = await asyncio.to_thread(_walled, self._program, Path(scratch))
        chromium = await playwright.chromium.launch(
            executable_path=program, args=list(_ARGUMENTS), env={"PATH": os.defpath, "HOME": scratch}, handle_sigint=False
        )
        self._stack.push_async_callback(_closed, chromium)
        return chromium

    async def aclose(self) -> None:
        self._started = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


async def _closed(chromium: Chromium) -> None:
    with suppress(TimeoutError, _playwright_error()):
        async with asyncio.timeout(5):
            await chromium.close()


def _walled(program: str, scratch: Path) -> str:
    """A script that starts the browser without network and without our files, where bubblewrap can; else the browser itself."""
    from research_agent.sandbox.bubblewrap import available

    if available() is not None:
        return program
    real = Path(program).resolve()
    wall = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108
    for private in ("/root", "/home", "/srv", "/mnt"):
        wall += ["--tmpfs", private] if Path(private).is_dir() else []
    if real.is_relative_to(Path.home()):
        wall += ["--ro-bind", str(real.parent), str(real.parent)]
    wall += ["--bind", str(scratch), str(scratch), "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    if os.getuid() == 0:
        wall += ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    script = scratch / "browser"
    script.write_text(f'#!/bin/sh\nexec {shlex.join([*wall, "--", program])} "$@"\n', encoding="utf-8")
    script.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return str(script)


@dataclass
class _Visit:
    """One page, from its shell to its text."""

    shell: Fetched
    fetch: Fetch
    requests: int = 0
    loaded_bytes: int = 0
    under_way: int = 0
    last_s: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    opened: bool = False

    async def drawn(self, chromium: Chromium) -> str:
        """HTML. Raises NotDrawn, TimeoutError and Playwright's Error."""
        context = await chromium.new_context(service_workers="block", accept_downloads=False, java_script_enabled=True)
        context.set_default_timeout(1000 * PAGE_S)
        try:
            return await self._in(context)
        finally:
            with suppress(TimeoutError, _playwright_error()):
                async with asyncio.timeout(5):
                    await context.close()

    async def _in(self, context: BrowserContext) -> str:
        await context.route("**/*", self._answer)
        await context.route_web_socket("**/*", _hang_up)
        page = await context.new_page()
        context.on("page", lambda other: asyncio.ensure_future(_shut(other)))
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.dismiss()))
        await page.goto(self.shell.url, wait_until="domcontentloaded")
        await self._until_quiet(page)
        if await page.evaluate(_HTML_SIZE) > MAX_HTML_CHARS:
            raise NotDrawn(f"what its scripts make is larger than {MAX_HTML_CHARS / 1e6:g} MB")
        return await page.content()

    async def _until_quiet(self, page: Page) -> None:
        seen, clock = -1, asyncio.get_running_loop().time
        since_s = clock()
        while True:
            size = int(await page.evaluate(_TEXT))
            if size != seen or self.under_way:
                seen, since_s = size, clock()
            elif clock() - max(since_s, self.last_s) >= QUIET_S:
                return
            await asyncio.sleep(0.1)

    async def _answer(self, route: Route) -> None:
        """Every request comes here; none goes out but by our own client. What the page may not have is a request that failed."""
        request = route.request
        self.last_s = asyncio.get_running_loop().time()
        if request.is_navigation_request() and not self.opened and request.url.partition("#")[0] == self.shell.url.partition("#")[0]:
            self.opened = True
            await _fulfil(route, self.shell.status, {"content-type": _html_type(self.shell)}, self.shell.body)
            return
        wanted = request.method == "GET" and request.resource_type in _LOADED and self.requests < MAX_REQUESTS
        if not wanted or self.loaded_bytes > MAX_LOADED_BYTES:
            await _abort(route)
            return
        self.requests += 1
        self.under_way += 1
        try:
            answer = await self.fetch(request.url)
        except (Refused, FetchFailed):
            await _abort(route)
        else:
            self.loaded_bytes += len(answer.body)
            kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
            await _fulfil(route, answer.status, kept, answer.body)
        finally:
            self.under_way -= 1
            self.last_s = asyncio.get_running_loop().time()


def _html_type(shell: Fetched) -> str:
    return shell.headers.get("content-type", "text/html")


async def _fulfil(route: Route, status: int, headers: Mapping[str, str], body: bytes) -> None:
    with suppress(_playwright_error()):  # the page went away meanwhile
        await route.fulfill(status=status, headers=dict(headers), body=body)


async def _abort(route: Route) -> None:
    with suppress(_playwright_error()):
        await route.abort("blockedbyclient")


async def _hang_up(socket: WebSocketRoute) -> None:
    with suppress(_playwright_error()):
        await socket.close()


async def _shut(page: Page) -> None:
    with suppress(_playwright_error()):
        await page.close()


def _playwright_error() -> type[Exception]:
    from playwright.async_api import Error

    return Error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
