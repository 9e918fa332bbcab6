"""A table whose root page is damaged. Its other pages are whole, but nothing leads to them: what nothing leads to is its.

SQLite reads the rows itself, from a copy of the file in which the root is made anew (https://www.sqlite.org/fileformat2.html#b_tree_pages).
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading damage raises: where SQLite tells of it in the damaged words themselves, the latter."""
_TABLE, _TABLE_LEAF, _INDEX, _INDEX_LEAF = 5, 13, 2, 10
_INNER = (_TABLE, _INDEX)


def regrown(path: Path, tables: Sequence[str], copy: Path) -> frozenset[str]:
    """Makes the copy, without a log beside it. Which of the tables have a new root there."""
    for part in ("", "-wal"):
        if Path(f"{path}{part}").is_file():
            shutil.copyfile(f"{path}{part}", f"{copy}{part}")
    try:
        with closing(sqlite3.connect(copy)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            roots: dict[str, int] = dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))
            columns = {name: len(db.execute(f"PRAGMA table_info({name})").fetchall()) for name in tables}
    except UNREADABLE:
        return frozenset()
    pages = _Pages(bytearray(copy.read_bytes()))
    broken = [name for name in tables if name in roots and not pages.whole(roots[name])]
    if not broken:
        return frozenset()
    led = pages.reached([1, *(root for root in roots.values() if pages.whole(root))]) | pages.free()
    left = {n for n in range(2, pages.count + 1) if n not in led and n not in roots.values() and pages.kind(n) in (_TABLE, _TABLE_LEAF)}
    left = {n for n in left if pages.whole(n)}
    tops = left - {child for n in left for child in pages.children(n)}
    found = frozenset(
        name for name in broken if pages.plant(roots[name], [n for n in tops if _may_be(pages.columns(n), columns[name], len(broken))])
    )
    copy.write_bytes(pages.data)
    return found


def _may_be(held: int, columns: int, broken: int) -> bool:
    """Whether a page's rows may be of a table; one that got more columns since has rows with less."""
    return held == columns or (broken == 1 and 0 < held < columns)


class _Pages:
    """A database file by its pages, which are numbered from 1."""

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.size = 65_536 if (size := int.from_bytes(data[16:18])) == 1 else size
        self.count = len(data) // self.size
        self._end = self.size - data[20]

    def _at(self, page: int) -> int:
        return (page - 1) * self.size

    def _head(self, page: int) -> int:
        return self._at(page) + (100 if page == 1 else 0)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size])

    def _varint(self, at: int) -> tuple[int, int]:
        """A number, and where it ends."""
        value = 0
        for n in range(9):
            byte = self.data[at + n]
            value = value << 8 | byte if n == 8 else value << 7 | byte & 0x7F
            if byte < 0x80 or n == 8:
                break
        return value, at + n + 1

    def kind(self, page: int) -> int:
        return self.data[self._head(page)]

    def _cells(self, page: int) -> list[int]:
        """Where they begin."""
        head = self._head(page)
        first = head + (12 if self.kind(page) in _INNER else 8)
        return [self._at(page) + self._number(first + 2 * n, 2) for n in range(self._number(head + 3, 2))]

    def children(self, page: int) -> list[int]:
        if self.kind(page) not in _INNER:
            return []
        return [*(self._number(cell, 4) for cell in self._cells(page)), self._number(self._head(page) + 8, 4)]

    def whole(self, page: int) -> bool:
        """Whether it is a page of a tree; noise is none."""
        if self.kind(page) not in (_TABLE, _TABLE_LEAF, _INDEX, _INDEX_LEAF) or self._number(self._head(page) + 3, 2) > self.size // 4:
            return False
        start, end = self._head(page) + 8, self._at(page) + self._end
        return all(start < cell <= end - 4 for cell in self._cells(page)) and all(
            1 < child <= self.count and child != page for child in self.children(page)
        )

    def reached(self, roots: Iterable[int]) -> set[int]:
        found: set[int] = set()
        waiting = list(roots)
        while waiting:
            page = waiting.pop()
            if page not in found:
                found.add(page)
                waiting += self.children(page) if self.whole(page) else []
        return found

    def free(self) -> set[int]:
        """Pages that hold what was deleted."""
        found: set[int] = set()
        trunk = self._number(32, 4)
        while 1 < trunk <= self.count and trunk not in found:
            at = self._at(trunk)
            found |= {trunk, *(self._number(at + 8 + 4 * n, 4) for n in range(min(self._number(at + 4, 4), self.size // 4 - 2)))}
            trunk = self._number(at, 4)
        return found

    def columns(self, page: int) -> int:
        """Of the first row that can be found below a page; 0 if none can."""
        leaf = next((n for n in sorted(self.reached([page])) if self.kind(n) == _TABLE_LEAF and self.whole(n) and self._cells(n)), 0)
        if not leaf:
            return 0
        _, at = self._varint(self._cells(leaf)[0])
        _, record = self._varint(at)
        size, at = self._varint(record)
        count = 0
        while at < record + size:
            _, at = self._varint(at)
            count += 1
        return count

    def _first(self, page: int) -> int:
        """A row number that is none of a page before this one."""
        while self.kind(page) == _TABLE and self.whole(child := self.children(page)[0]) and self._cells(child):
            page = child
        cell = self._cells(page)[0]
        return self._varint(cell + 4 if self.kind(page) == _TABLE else self._varint(cell)[1])[0]

    def plant(self, root: int, tops: Sequence[int]) -> bool:
        """Makes a page the root of these; False if there are none, or more than one page can lead to."""
        ordered = sorted((self._first(top), top) for top in tops if self._cells(top))
        at, end = self._at(root), self._end
        if len(ordered) == 1:
            one = self._at(ordered[0][1])
            self.data[at : at + self.size] = self.data[one : one + self.size]
            return True
        page, pointers = bytearray(self.size), list[int]()
        for (_, top), (following, _) in pairwise(ordered):
            cell = top.to_bytes(4) + _as_varint(following - 1)
            end -= len(cell)
            page[end : end + len(cell)] = cell
            pointers.append(end)
        if not ordered or 12 + 2 * len(pointers) > end:
            return False
        page[:12] = bytes([_TABLE, 0, 0]) + len(pointers).to_bytes(2) + end.to_bytes(2) + b"\0" + ordered[-1][1].to_bytes(4)
        page[12 : 12 + 2 * len(pointers)] = b"".join(pointer.to_bytes(2) for pointer in pointers)
        self.data[at : at + self.size] = page
        return True


def _as_varint(value: int) -> bytes:
    """Of less than 2**56, in groups of seven bits."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
