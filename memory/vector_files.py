"""The files of an embedded Chroma, looked at before it opens them: of one that a kill or a full disk has cut, it reads what was never
written, or ends the process.

Each collection's graph is a folder: `header.bin`, then a row for each vector in `data_level0.bin` (its links to others first) and in
`length.bin`, and its further links in `link_lists.bin`, each a length and so many bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from .damage import sound

DATABASE = "chroma.sqlite3"
_HEADER = struct.Struct("<i6Qii3QdQ")  # version, -, room, rows, bytes of a row, ...
_VERSION = 1
_ROUNDING = 0.001
_ROWS, _LENGTHS, _LINKS = "data_level0.bin", "length.bin", "link_lists.bin"


def fault(folder: Path) -> str:
    """What is wrong with them; empty for those that are whole, of a format that is not known here, or not there at all.

    Raises sqlite3.Error for a database that cannot be looked at.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return ""
    database = folder / DATABASE
    if not database.is_file() or not database.stat().st_size or not sound(database):
        return f"{DATABASE} is no whole database"
    return next((wrong for graph in sorted(folder.iterdir()) if graph.is_dir() and (wrong := _wrong(graph))), "")


def _wrong(graph: Path) -> str:
    """The first of its files that does not hold what the header says, and what of it; empty if each does."""
    sizes = {path.name: path.stat().st_size for path in graph.iterdir()}
    if not sizes:
        return ""
    if sizes.get("header.bin", 0) < _HEADER.size:
        return "header.bin is cut"
    version, _, _, count, size, label_at, vector_at, _, _, _, most, *_ = _HEADER.unpack_from((graph / "header.bin").read_bytes())
    if version != _VERSION:
        return ""
    held, rest = divmod(sizes.get(_LENGTHS, 0), 4)
    if rest or held < count:
        return f"{_LENGTHS} is cut"
    if sizes.get(_ROWS, 0) != held * size:
        return f"{_ROWS} is cut"
    if count and not _same(graph, _Row(size, vector_at, label_at, most), count):
        return f"{_ROWS} holds something else"
    return "" if _whole(graph / _LINKS, count) else f"{_LINKS} is cut"


class _Row(NamedTuple):
    """Bytes: how many links there are (in 2 of 4), their numbers, the vector, its label."""

    size: int
    vector_at: int
    label_at: int
    most_links: int


def _same(graph: Path, row: _Row, count: int) -> bool:
    """Whether every link is to a row that there is, and every vector as long as it was."""
    import numpy as np

    rows = np.memmap(graph / _ROWS, dtype=np.uint8, mode="r", shape=(count, row.size))
    links = np.ascontiguousarray(rows[:, : row.vector_at]).view("<u4")
    many = links[:, :1] & 0xFFFF
    if np.any(many > row.most_links) or np.any((links[:, 1:] >= count) & (np.arange(row.most_links) < many)):
        return False
    lengths = np.fromfile(graph / _LENGTHS, dtype="<f4", count=count)
    vectors = np.ascontiguousarray(rows[:, row.vector_at : row.label_at]).view("<f4")
    return bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - lengths) < _ROUNDING))


def _whole(path: Path, count: int) -> bool:
    data, at = path.read_bytes() if path.is_file() else b"", 0
    for _ in range(count):
        if at + 4 > len(data):
            return False
        at += 4 + int(struct.unpack_from("<I", data, at)[0])
    return at == len(data)
