"""Compressed bodies, unpacked piece by piece and never further than allowed: a bomb does not get to go off.

gzip and deflate are always there; br and zstd where their libraries are installed (the extra `compression`), and then they are asked for.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol


class Broken(Exception):
    """What came does not unpack."""


class Unpacker(Protocol):
    def feed(self, piece: bytes, limit: int) -> bytes:
        """At most `limit` bytes of what the pieces so far come to; once as many came, the rest is lost. Raises Broken."""
        ...

    @property
    def whole(self) -> bool:
        """Whether it ended where its format ends."""
        ...


class _Plain:
    whole = True

    def feed(self, piece: bytes, limit: int) -> bytes:
        return piece[:limit]


_GZIP_MEMBER = b"\x1f\x8b\x08"
"""gzip may have several; what else stands behind the last one (padding, a server's newline) is not of it."""


class _Zlib:
    def __init__(self, *modes: int) -> None:
        """`modes`: window bits to try, in this order; the first bytes tell."""
        self._modes = modes
        self._unpack = zlib.decompressobj(modes[0])
        self._begun = False

    def feed(self, piece: bytes, limit: int) -> bytes:
        try:
            return self._feed(piece, limit)
        except zlib.error as error:
            raise Broken from error

    def _feed(self, piece: bytes, limit: int) -> bytes:
        try:
            unpacked = self._unpack.decompress(piece, limit)
        except zlib.error:
            if self._begun or len(self._modes) == 1:
                raise
            self._unpack = zlib.decompressobj(self._modes[1])
            unpacked = self._unpack.decompress(piece, limit)
        self._begun = True
        while self._unpack.unused_data.startswith(_GZIP_MEMBER) and len(unpacked) < limit:
            rest = self._unpack.unused_data
            self._unpack = zlib.decompressobj(self._modes[0])
            unpacked += self._unpack.decompress(rest, limit - len(unpacked))
        return unpacked

    @property
    def whole(self) -> bool:
        return self._unpack.eof or not self._begun


class _Brotli:
    def __init__(self) -> None:
        self._library: Any = import_module("brotli")
        self._unpack = self._library.Decompressor()
        self._begun = False

    def feed(self, piece: bytes, limit: int) -> bytes:
        self._begun = True
        unpacked = bytearray()
        try:
            while len(unpacked) < limit:
                more = self._unpack.process(piece, output_buffer_limit=limit - len(unpacked))
                unpacked += more
                piece = b""
                if not more or self._unpack.can_accept_more_data():
                    break
        except self._library.error as error:
            raise Broken from error
        return bytes(unpacked[:limit])

    @property
    def whole(self) -> bool:
        return bool(self._unpack.is_finished()) or not self._begun


class _Zstd:
    _WINDOW = 8 * 2**20
    """What a browser takes (RFC 9659)."""
    _SLICE = 32
    """Bytes fed at once: the library knows no limit of its own, and four bytes may stand for 128 KB."""

    def __init__(self) -> None:
        self._library: Any = import_module("zstandard")
        self._frame = self._new()
        self._begun = False

    def _new(self) -> Any:
        return self._library.ZstdDecompressor(max_window_size=self._WINDOW).decompressobj()

    def feed(self, piece: bytes, limit: int) -> bytes:
        unpacked = bytearray()
        try:
            for start in range(0, len(piece), self._SLICE):
                part = piece[start : start + self._SLICE]
                while part:
                    if self._frame.eof:  # the next frame
                        self._frame = self._new()
                    self._begun = True
                    unpacked += self._frame.decompress(part)
                    part = self._frame.unused_data if self._frame.eof else b""
                if len(unpacked) >= limit:
                    return bytes(unpacked[:limit])
        except self._library.ZstdError as error:
            raise Broken from error
        return bytes(unpacked)

    @property
    def whole(self) -> bool:
        return bool(self._frame.eof) or not self._begun


_GZIP = zlib.MAX_WBITS | 16


@functools.cache
def encodings() -> dict[str, Callable[[], Unpacker]]:
    """Those that can be unpacked here, by the name that `Content-Encoding` gives them."""
    known: dict[str, Callable[[], Unpacker]] = {
        "": _Plain,
        "identity": _Plain,
        "gzip": lambda: _Zlib(_GZIP),
        "x-gzip": lambda: _Zlib(_GZIP),
        "deflate": lambda: _Zlib(zlib.MAX_WBITS, -zlib.MAX_WBITS),  # zlib in the standard, raw on some servers
    }
    try:
        if hasattr(import_module("brotli").Decompressor, "can_accept_more_data"):  # 1.2: before, it knows no limit
            known["br"] = _Brotli
    except ImportError:
        pass
    try:
        import_module("zstandard")
    except ImportError:
        return known
    known["zstd"] = _Zstd
    return known


_NO_ENCODING = frozenset({"", "identity", "none", "utf-8", "utf8", "binary"})
"""What servers write where nothing is packed."""


def named(encoding: str) -> str:
    """A `Content-Encoding` without what means nothing."""
    return ", ".join(name for part in encoding.split(",") if (name := part.strip().lower()) not in _NO_ENCODING)


@functools.cache
def accepted() -> str:
    """For `Accept-Encoding`."""
    return ", ".join(name for name in ("gzip", "deflate", "br", "zstd") if name in encodings())
