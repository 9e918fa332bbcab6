"""The guarded client: where it goes, where it does not, and that it always comes back."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence

import pytest

from research_agent.testing.closed_addresses import ABSOLUTE, SPELLINGS
from research_agent.testing.closed_addresses import resolver as closed_names
from research_agent.testing.site import Page, Site
from research_agent.web.addresses import closed, literal
from research_agent.web.net import Client, FetchFailed, Refused


def resolver(**names: Sequence[str]):
    """Each name's answers, and what was asked."""

    async def ask(host: str, port: int) -> Sequence[str]:
        ask.asked.append(host)
        key = host.rstrip(".").replace(".", "_").replace("-", "_")
        if key not in names:
            raise OSError("unknown")
        return names[key]

    ask.asked = []
    return ask


@pytest.fixture(scope="module")
def one_site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def site(one_site: Site) -> Site:
    one_site.visits.clear()
    return one_site


@pytest.mark.parametrize("url", SPELLINGS)
async def test_a_closed_address_is_refused_however_it_is_spelled(url: str) -> None:
    async with Client(resolver=closed_names, timeout_s=5) as client:
        with pytest.raises(Refused) as refused:
            await client.get(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", [url for url in ABSOLUTE if url.isascii() and "\n" not in url])
async def test_a_redirect_to_a_closed_address_is_refused(site: Site, url: str) -> None:
    site.pages["/go"] = Page(status=302, headers={"Location": url})
    async with Client(allow_hosts=[site.host], resolver=closed_names, timeout_s=5) as client:
        with pytest.raises(Refused):
            await client.get(site.url("/go"))
    assert [visit.path for visit in site.visits] == ["/go"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leaves_the_named_port_for_another_one(status: int) -> None:
    with Site({"/secret": "s"}) as inner, Site() as outer:
        outer.pages["/go"] = Page(status=status, headers={"Location": inner.url("/secret")})
        async with Client(allow_hosts=[outer.host]) as client:
            with pytest.raises(Refused, match="loopback"):
                await client.get(outer.url("/go"))
        assert inner.visits == []


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:831::200e"])
def test_public_addresses_are_open(address: str) -> None:
    assert closed(address) == ""
    assert literal(address) == address


@pytest.mark.parametrize("host", ["example.org", "1.2.3.4.5", "a1.b2", "0x7g", "256.1.1.1", "99999999999"])
def test_a_name_is_not_taken_for_numbers(host: str) -> None:
    assert literal(host) is None


async def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to() -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    with Site({"/": "page"}) as site:
        async with Client(allow_hosts=["site.test"], resolver=rebinding) as client:
            got = await client.get(f"http://site.test:{site.port}/")
        assert got.body == b"page"
        assert site.visits[0].headers["host"] == f"site.test:{site.port}"
    assert answers == [["10.0.0.1"]]


async def test_a_name_that_rebinds_between_two_fetches_is_refused_the_second_time() -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    with Site({"/": "secret"}) as site:
        async with Client(resolver=rebinding, timeout_s=2) as client:
            with pytest.raises(FetchFailed):  # the public address; tests do not leave the machine
                await client.get(f"http://rebind.test:{site.port}/")
            with pytest.raises(Refused, match=r"rebind\.test \(127\.0\.0\.1\)"):
                await client.get(f"http://rebind.test:{site.port}/")
        assert site.visits == []


async def test_of_mixed_answers_only_public_ones_are_tried() -> None:
    with Site({"/": "secret"}) as site:
        async with Client(resolver=resolver(mixed_test=["127.0.0.1", "93.184.216.34"]), timeout_s=2) as client:
            with pytest.raises(FetchFailed):
                await client.get(f"http://mixed.test:{site.port}/")
        assert site.visits == []


async def test_tls_keeps_the_name_while_the_address_is_pinned() -> None:
    hello: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(allow_hosts=["secure.test"], resolver=resolver(secure_test=["127.0.0.1"])) as client:
        with pytest.raises(FetchFailed, match=r"secure\.test"):
            await client.get(f"https://secure.test:{port}/")
    assert b"secure.test" in hello[0]


async def test_a_named_host_is_fetched_and_its_redirects_followed() -> None:
    pages = {"/a": Page(status=301, headers={"Location": "b?x=1#part"}), "/b": Page("ü", content_type="text/plain; charset=latin-1")}
    with Site(pages) as site:
        async with Client(allow_hosts=[site.host]) as client:
            got = await client.get(site.url("/a"))
    assert (got.url, got.status, got.content_type, got.charset) == (site.url("/b?x=1"), 200, "text/plain", "latin-1")
    assert got.body == "ü".encode()


@pytest.mark.parametrize("name", ["::1", "[::1]", "[::1]:{port}"])
async def test_an_ipv6_host_is_named_with_or_without_brackets(name: str) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(hello, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    async with server, Client(allow_hosts=[name.format(port=port)]) as client:
        assert (await client.get(f"http://[::1]:{port}/")).body == b"hi"


async def test_an_error_status_is_an_answer() -> None:
    with Site() as site:
        async with Client(allow_hosts=["127.0.0.1"]) as client:
            assert (await client.get(site.url("/none"))).status == 404


async def test_no_cookie_and_no_given_header_crosses_to_another_host() -> None:
    with Site({"/end": "end"}) as other, Site() as site:
        site.pages["/set"] = Page(status=302, headers={"Location": other.url("/end"), "Set-Cookie": "id=1"})
        async with Client(allow_hosts=["127.0.0.1"]) as client:
            await client.get(site.url("/set"), headers={"X-Key": "k"})
        assert site.visits[0].headers["x-key"] == "k"
        assert {"cookie", "x-key"} & other.visits[0].headers.keys() == set()


async def test_a_ring_of_redirects_ends() -> None:
    with Site({"/a": Page(status=302, headers={"Location": "/a"})}) as site:
        async with Client(allow_hosts=[site.host], max_redirects=4) as client:
            with pytest.raises(FetchFailed, match="more than 4 redirects"):
                await client.get(site.url("/a"))
        assert len(site.visits) == 5


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
async def test_compressed_bodies_are_unpacked(encoding: str, pack) -> None:
    with Site({"/": Page(pack(b"hello " * 50_000), headers={"Content-Encoding": encoding})}) as site:
        async with Client(allow_hosts=[site.host]) as client:
            assert (await client.get(site.url())).body == b"hello " * 50_000


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(gzip.compress(b"0" * 50_000_000), headers={"Content-Encoding": "gzip"}), "larger than 1 MB"),
        (Page(b"0" * 1_000_001), "larger than 1 MB"),
        (Page(gzip.compress(b"0" * 5_000)[:-9], headers={"Content-Encoding": "gzip"}), "ends too early"),
        (Page(b"not gzip", headers={"Content-Encoding": "gzip"}), "does not decompress"),
        (Page(b"\x0b\x02\x80", headers={"Content-Encoding": "compress"}), "not asked for"),
        (Page(b"x", headers={"Content-Encoding": "gzip, gzip"}), "not asked for"),
        (Page(b"short", headers={"Content-Length": "500", "Connection": "close"}), "broke"),
    ],
)
async def test_a_body_that_is_too_large_or_broken_is_a_failed_fetch(page: Page, reason: str) -> None:
    with Site({"/": page}) as site:
        async with Client(allow_hosts=[site.host], max_bytes=1_000_000) as client:
            with pytest.raises(FetchFailed, match=reason):
                await client.get(site.url())


async def test_a_server_that_keeps_silent_costs_no_more_than_the_time_allowed() -> None:
    with Site({"/": Page("late", delay_s=1.0)}) as site:
        started = time.monotonic()
        async with Client(allow_hosts=[site.host], timeout_s=0.3) as client:
            with pytest.raises(FetchFailed, match=r"in time|longer than 0\.3 s"):
                await client.get(site.url())
        assert time.monotonic() - started < 0.9


async def test_a_body_that_only_drips_costs_no_more_than_the_time_allowed() -> None:
    with Site({"/": Page("x" * 100, drip_s=0.05)}) as site:
        async with Client(allow_hosts=[site.host], timeout_s=0.4) as client:
            with pytest.raises(FetchFailed, match=r"longer than 0\.4 s"):
                await client.get(site.url())


async def test_an_unknown_name_and_a_closed_port_are_failed_fetches() -> None:
    with Site() as site:
        port = site.port
    async with Client(allow_hosts=["127.0.0.1"], resolver=resolver()) as client:
        with pytest.raises(FetchFailed, match="no such host"):
            await client.get("http://nowhere.test/")
        with pytest.raises(FetchFailed, match="no connection"):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Site({"/": "direct"}) as site, Site() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        async with Client(allow_hosts=[site.host]) as client:
            assert (await client.get(site.url())).body == b"direct"
        assert proxy.visits == []


def packed(encoding: str, data: bytes) -> bytes:
    if encoding == "br":
        return pytest.importorskip("brotli").compress(data, quality=5)
    return pytest.importorskip("zstandard").compress(data)


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_the_newer_encodings_are_asked_for_and_unpacked(encoding: str) -> None:
    body = b"".join(b"%d " % n for n in range(100_000))
    with Site({"/": Page(packed(encoding, body), headers={"Content-Encoding": encoding})}) as site:
        async with Client(allow_hosts=[site.host]) as client:
            assert (await client.get(site.url())).body == body
        assert encoding in site.visits[0].headers["accept-encoding"]


@pytest.mark.parametrize("encoding", ["br", "zstd"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda pack: pack(b"0" * 200_000_000), "larger than 1 MB"),
        (lambda pack: pack(b"hello " * 9_000)[:-4], "ends too early"),
        (lambda pack: b"\xff\xfe" + b"no such thing" * 20, "does not decompress"),
    ],
)
async def test_a_bomb_or_a_wreck_in_the_newer_encodings_is_a_failed_fetch(encoding: str, spoil, reason: str) -> None:
    body = spoil(lambda data: packed(encoding, data))
    tracemalloc.start()
    with Site({"/": Page(body, headers={"Content-Encoding": encoding})}) as site:
        async with Client(allow_hosts=[site.host], max_bytes=1_000_000) as client:
            with pytest.raises(FetchFailed, match=reason):
                await client.get(site.url())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


async def test_zstd_of_several_frames_is_one_body() -> None:
    body = packed("zstd", b"one ") + packed("zstd", b"two")
    with Site({"/": Page(body, headers={"Content-Encoding": "zstd"})}) as site:
        async with Client(allow_hosts=[site.host]) as client:
            assert (await client.get(site.url())).body == b"one two"
