"""How a web misbehaves: bodies and whole answers that no honest server sends."""

from __future__ import annotations

import base64
import socket
import zlib
from collections.abc import Callable

from research_agent.testing.misbehaving_server import Exchange

WORDS = (
    "The tide at Saint-Malo rises by twelve metres at the equinox, which few harbours of the coast can bear without a lock. "
    "Its mills ground grain with it for centuries, until steam made them idle and the ponds behind their gates silted up. "
    "A power station across the estuary has turned the same water into electricity since 1966, on the ebb as well as on the flood."
)
FACT = "rises by twelve metres at the equinox"
ARTICLE = (
    f"<!doctype html><html lang='en'><head><title>Tides</title></head><body><article><h1>Tides</h1><p>{WORDS}</p></article></body></html>"
)


def html(title: str, body: str, head: str = "") -> str:
    return f"<!doctype html><html><head><title>{title}</title>{head}</head><body>{body}</body></html>"


def to(location: str, status: str = "302 Found") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer("", status, Location=location.replace("{port}", str(exchange.web.port)))


def first(badly: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """Misbehaves the first time only."""
    return lambda exchange: badly(exchange) if exchange.count == 1 else exchange.answer(ARTICLE)


def reset(exchange: Exchange) -> None:
    exchange.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def endless(exchange: Exchange) -> None:
    exchange.head(Content_Type="text/html")
    while not exchange.web.closing.is_set():
        exchange.send(b"<p>and on and on and on</p>\n" * 2_000)


def endless_gzip(exchange: Exchange) -> None:
    exchange.head(Content_Type="text/html", Content_Encoding="gzip")
    pack = zlib.compressobj(wbits=31)
    while not exchange.web.closing.is_set():
        exchange.send(pack.compress(b"<p>and on and on</p>\n" * 50_000))


def drip(data: bytes, every_s: float = 0.05) -> Callable[[Exchange], None]:
    def serve(exchange: Exchange) -> None:
        for number in range(len(data)):
            exchange.send(data[number : number + 1])
            if exchange.web.closing.wait(every_s):
                return

    return serve


def raw(data: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(data)


def header_flood(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while not exchange.web.closing.is_set():
        exchange.send(b"X-More: " + b"x" * 4_000 + b"\r\n")


def zstd_zeros(blocks: int) -> bytes:
    """Blocks of 128 KB each, all zeros, in four bytes each."""
    heads = [(int(number == blocks - 1) | 1 << 1 | 1 << 20).to_bytes(3, "little") for number in range(blocks)]
    return b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(head + b"\0" for head in heads)


def pdf() -> bytes:
    """One page of Helvetica."""
    stream = b"BT /F1 11 Tf 40 700 Td 13 TL " + b" ".join(b"(" + line.encode() + b") Tj T*" for line in WORDS.split(". ")) + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 900 800] /Contents 5 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(out)


def stall(exchange: Exchange) -> None:
    exchange.head(Content_Length="9000")
    exchange.send(b"<p>and")
    exchange.wait()


def smuggle(exchange: Exchange) -> None:
    exchange.answer(ARTICLE)
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled")


def cookie_ring(exchange: Exchange) -> None:
    if "cookie" in exchange.headers:
        exchange.answer(ARTICLE)
    else:
        exchange.answer("", "302 Found", Location="/cookie-ring", Set_Cookie="seen=1")


BROTLI_BOMB = base64.b64decode("m/8RevgnAOKxQCA3QQ8=")
ZSTD_BOMB = zstd_zeros(64)
