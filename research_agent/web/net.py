"""The HTTP client for pages nobody vouches for. It goes to public addresses only, and comes back in bounded time with bounded bytes.

    Refused       our rules forbid the address: scheme, credentials, a private or otherwise closed address
    FetchFailed   the other side: no such host, no connection, broken TLS, too slow, too large, too many redirects

Each carries one line that a model can act on. An HTTP error status is neither: it is a `Fetched` with that status.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx

from research_agent.web.addresses import closed, literal
from research_agent.web.unpack import Broken, accepted, encodings, named

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to IP addresses. Raises OSError when the name has none."""

AGENT = "research-agent"
"""What robots.txt calls us."""
USER_AGENT = f"Mozilla/5.0 (compatible; {AGENT}/0.1)"
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Refused(Exception):
    """An address that our rules forbid: one line with the reason."""


class FetchFailed(Exception):
    """A fetch that did not work: one line with the reason."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing
        """Whether the same fetch may well work in a moment."""


class TooManyRedirects(FetchFailed):
    """They lead on and on, or around."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status."""

    url: str
    """Where it came from, after redirects."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    retrieved_at: str
    """ISO 8601, UTC."""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        return httpx.Response(self.status, headers=dict(self.headers)).charset_encoding or ""


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the CA bundle takes 20 ms: once, and not before it is needed."""
    return httpx.create_ssl_context(trust_env=False)


def utc_now() -> str:
    """ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Backend(httpcore.AsyncNetworkBackend):
    """Resolves once, checks, and connects to the address it checked: a second answer of the same name server changes nothing.

    TLS and the Host header keep the name; only the TCP connection is to the pinned address.
    """

    def __init__(self, allow_hosts: frozenset[str], resolver: Resolver) -> None:
        self._allow_hosts = allow_hosts
        self._resolver = resolver
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in await self._open_addresses(host, port):
            try:
                return await self._tcp.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("the name has no address")

    def is_named(self, host: str, port: int) -> bool:
        name = f"[{host}]" if ":" in host else host
        return bool(self._allow_hosts & {host, name, f"{name}:{port}"})

    async def _open_addresses(self, host: str, port: int) -> Sequence[str]:
        number = literal(host)
        try:
            addresses = [number] if number else await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise FetchFailed(f"no such host: {host}") from error
        if self.is_named(host, port):
            return addresses
        reasons = {address: closed(address) for address in addresses}
        public = [address for address, reason in reasons.items() if not reason]
        if not public and reasons:
            address, reason = next(iter(reasons.items()))
            where = host if host == address else f"{host} ({address})"
            raise Refused(f"{where} is a {reason} address; only public ones are fetched, or hosts named in scrape.allow_hosts")
        return public


class Client:
    """Fetches with GET. Belongs to one event loop; keeps connections, but no cookies. Use it as a context manager, or close it."""

    def __init__(
        self,
        *,
        allow_hosts: Iterable[str] = (),
        max_bytes: int = 20_000_000,
        timeout_s: float = 30.0,
        max_redirects: int = 8,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`allow_hosts`: host or host:port, literally as in a URL; they alone may be private. `max_bytes`: of a body once
        decompressed. `timeout_s`: for one `get` with all its redirects."""
        self._backend = _Backend(frozenset(host.lower() for host in allow_hosts), resolver)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._tls = tls
        self._opened: httpcore.AsyncConnectionPool | None = None

    def is_named(self, url: httpx.URL) -> bool:
        """Whether the URL's host is one that may be private."""
        return self._backend.is_named(url.host, url.port or _PORTS[url.scheme])

    @property
    def _pool(self) -> httpcore.AsyncConnectionPool:
        if self._opened is None:
            tls = self._tls or _tls()
            self._opened = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=32,
                max_keepalive_connections=8,
                keepalive_expiry=10.0,
                http2=True,
                network_backend=self._backend,
            )
        return self._opened

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Fetched:
        """Follows redirects, all in `timeout_s`. Raises Refused and FetchFailed. `headers` are sent to the first host only."""
        first = checked(url)

        async def one(target: httpx.URL) -> Fetched:
            return await self._fetch(target, headers if headers and origin(target) == origin(first) else {}, None)

        try:
            async with asyncio.timeout(self._timeout_s):
                return await follow(first, one, most=self._max_redirects)
        except TimeoutError as error:
            raise FetchFailed(f"{first.host} took longer than {self._timeout_s:g} s") from error

    async def fetch(self, url: str, *, headers: Mapping[str, str] | None = None, json: Mapping[str, Any] | None = None) -> Fetched:
        """One exchange: a redirect is its answer. GET, or POST with a JSON body. Raises Refused and FetchFailed."""
        target = checked(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._fetch(target, headers or {}, json)
        except TimeoutError as error:
            raise FetchFailed(f"{target.host} took longer than {self._timeout_s:g} s") from error

    async def _fetch(self, url: httpx.URL, extra: Mapping[str, str], json: Mapping[str, Any] | None) -> Fetched:
        try:
            return await self._exchange(url, extra, json)
        except httpcore.TimeoutException as error:
            raise FetchFailed(f"{url.host} did not answer in time") from error
        except httpcore.ConnectError as error:
            raise FetchFailed(f"no connection to {url.host}: {error}", passing=True) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise FetchFailed(f"the connection to {url.host} broke: {error or type(error).__name__}", passing=True) from error

    async def _exchange(self, url: httpx.URL, extra: Mapping[str, str], json: Mapping[str, Any] | None) -> Fetched:
        headers = httpx.Headers(
            {
                "Host": url.netloc.decode("ascii"),
                "User-Agent": USER_AGENT,
                "Accept": "text/html,application/xhtml+xml,application/pdf;q=0.9,text/*;q=0.9,*/*;q=0.5",
                "Accept-Encoding": accepted(),
            }
        )
        headers.update(extra)
        content = None if json is None else dumps(json).encode()
        if content is not None:
            headers.update({"Content-Type": "application/json", "Content-Length": str(len(content))})
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        connect_s = min(10.0, self._timeout_s)
        request = httpcore.Request(
            "GET" if content is None else "POST",
            target,
            headers=headers.raw,
            content=content,
            extensions={"timeout": {"connect": connect_s, "read": self._timeout_s, "write": self._timeout_s}},
        )
        response = await self._pool.handle_async_request(request)
        try:
            received = {name.lower(): value for name, value in httpx.Headers(response.headers).items()}
            if response.status in _REDIRECTS and "location" in received:
                return Fetched(str(url), response.status, received, b"", utc_now())
            body = await self._body(url, response.aiter_stream(), received.get("content-encoding", ""))
            return Fetched(str(url), response.status, received, body, utc_now())
        finally:
            await response.aclose()

    async def _body(self, url: httpx.URL, chunks: AsyncIterator[bytes], encoding: str) -> bytes:
        """Unpacks as it reads, never more than is allowed: a bomb does not get to go off."""
        encoding = named(encoding)
        if encoding not in encodings():
            raise FetchFailed(f"{url.host} sent a body in an encoding that was not asked for: {encoding[:40]}")
        body, packed = bytearray(), encodings()[encoding]()
        async for chunk in chunks:
            try:
                body += packed.feed(chunk, self._max_bytes + 1 - len(body))
            except Broken as error:
                raise FetchFailed(f"{url.host} sent a body that does not decompress") from error
            if len(body) > self._max_bytes:
                raise FetchFailed(f"{url} is larger than {self._max_bytes / 1e6:g} MB")
        if not packed.whole:
            raise FetchFailed(f"{url.host} sent a compressed body that ends too early")
        return bytes(body)

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


async def follow(first: httpx.URL, one: Callable[[httpx.URL], Awaitable[Fetched]], *, most: int) -> Fetched:
    """Fetches with `one`, and on to where redirects lead. Raises Refused and FetchFailed."""
    target = first
    for _ in range(most + 1):
        answer = await one(target)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            return answer
        target = checked(location, base=target)
    raise TooManyRedirects(f"more than {most} redirects, the last to {target}")


def checked(url: str, *, base: httpx.URL | None = None) -> httpx.URL:
    """A URL that may be fetched, as far as its text tells. Raises Refused."""
    try:
        target = base.join(url) if base else httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: a relative redirect that is no path
        raise Refused(f"not a URL that can be fetched: {url[:200]!r}") from error
    if target.scheme not in _PORTS:
        raise Refused(f"only http and https are fetched, not {target.scheme or 'a URL without scheme'}: {url[:200]!r}")
    if target.userinfo:
        raise Refused("a URL with a user name or password in it is not fetched")
    if not target.host or "%" in target.host:
        raise Refused(f"a URL without a proper host: {url[:200]!r}")
    if target.port is not None and not 0 < target.port < 65536:
        raise Refused(f"a port that does not exist: {url[:200]!r}")
    return target.copy_with(fragment=None)


def origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or _PORTS[url.scheme]
