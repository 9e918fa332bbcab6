"""What a file made by code is, by its bytes. Only what cannot act when a report is opened is an asset: no SVG, no HTML."""

from __future__ import annotations

import struct
from pathlib import PurePosixPath

FIGURES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif"}
"""By suffix; `jpeg` is written `jpg`."""
FILES = frozenset({"csv", "tsv", "json", "jsonl", "txt", "md", "xlsx", "parquet", "npz"})
MAX_PIXELS = 40_000_000
"""A picture of a few kilobytes may unpack to gigabytes in whatever opens the report."""

_SPELLED = {"jpeg": "jpg"}
_OTHERWISE = {
    "svg": "an SVG may hold scripts and links: save the figure as PNG",
    "html": "a page may hold scripts: save figures as PNG, tables as CSV",
    **dict.fromkeys(("pdf", "webp", "bmp", "tif", "tiff", "eps", "ps"), "save the figure as PNG or JPEG"),
}
"""What a model may well have meant for the report, and what it does instead."""


def suffix_of(name: str) -> str:
    """In lower case, spelled one way; empty if there is none."""
    suffix = PurePosixPath(name).suffix.removeprefix(".").lower()
    return _SPELLED.get(suffix, suffix)


def is_meant(suffix: str) -> bool:
    """Whether a file of this kind may be meant for the report; helper modules and the like are not."""
    return suffix in FIGURES or suffix in FILES or suffix in _OTHERWISE


def refusal(suffix: str, data: bytes) -> str:
    """Why a file is not kept; empty if it is."""
    if suffix in FILES:
        return ""
    if suffix not in FIGURES:
        return _OTHERWISE.get(suffix, "of a kind that is not kept")
    size = dimensions(data)
    if size is None or not _is(suffix, data):
        return f"no {suffix.upper()} picture, though its name says so"
    return "" if 0 < size[0] * size[1] <= MAX_PIXELS else f"a picture of {size[0]:,} x {size[1]:,} pixels"


def _is(suffix: str, data: bytes) -> bool:
    return data.startswith({"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "gif": b"GIF8"}[suffix])


def dimensions(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG, JPEG or GIF, by its header; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data.startswith(b"GIF8") and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return width, height
    return _jpeg(data) if data.startswith(b"\xff\xd8") else None


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """From segment to segment, up to the one that opens the frame."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length if length >= 2 else len(data)
    return None
