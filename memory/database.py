"""A SQLite file of ours: opened, brought to the version that is read here, written whole or not at all; a damaged one is mended or told."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import damage
from .errors import ArchiveError, ReadOnly
from .reading import Reader
from .words import folded


class Connection(Protocol):
    def execute(self, sql: str, /) -> sqlite3.Cursor: ...


class _Closed:
    """What a closed file is asked through."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        raise ArchiveError(f"{self._path} is closed: open it again")

    executemany = execute

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a file holds. Its functions work in the transaction that is open."""

    name: str
    """`a ledger`, say."""
    version: int
    create: Callable[[Connection], None]
    upgrade: Callable[[Connection, int], bool]
    """From an older version; True if what is indexed must be indexed again."""
    truth: tuple[str, ...]
    """Tables that nothing else can be made into again."""
    true: Callable[[str, damage.Row], bool]
    """Whether a row of these is what was written."""
    begin: Callable[[Path], str]
    """What is to be done where nothing of a file can be read."""
    pragmas: tuple[str, ...] = ()
    shaped: Callable[[Connection], bool] = lambda db: True
    """Whether the tables are those of this version: what is only read cannot be upgraded."""
    spoilt: Callable[[Path], bool] = lambda path: False
    """Whether a file that is whole as a database holds what was not written."""


class Database:
    """One file, one connection, any number of threads."""

    mended: str = ""
    """What was made anew because it was damaged."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        again: Callable[[Path], None],
        told: Path | None = None,
        read_only: bool = False,
        rebuild: str = "",
        accept_loss: bool = False,
    ) -> None:
        """`again` makes the indexes of a rescued file, before it takes the damaged one's place.

        `told`: the file that errors name; `rebuild`: the command that keeps what can be read of a damaged one, where that is not done
        unasked. Raises ArchiveError.
        """
        self.lock = threading.RLock()
        self._path, self._told, self._layout, self._again = path, told or path, layout, again
        self._read_only, self._rebuild, self._accept_loss = read_only, rebuild, accept_loss
        self._db: sqlite3.Connection | Reader | _Closed
        with self._named():
            self._db = Reader(path) if read_only else self._opened()

    def prepare(self, reindex: Callable[[], None]) -> None:
        """Brings the tables to this version; what is read only is not touched. Raises ArchiveError."""
        with self._named():
            if self._read_only:
                self._check()
                return
            with self.write():
                version = self._version()
                if version == 0:
                    self._layout.create(self._db)
                elif version < self._layout.version and self._layout.upgrade(self._db, version):
                    reindex()

    def _check(self) -> None:
        version, known = self._version(), self._layout.version
        if not self._layout.shaped(self._db):
            told = f"this version of research-agent reads {known}: {self._rebuild} upgrades it"
            raise ArchiveError(f"{self._told} has schema {version}, {told}")

    def _version(self) -> int:
        version, known = int(self.one("PRAGMA user_version")), self._layout.version
        if version > known:
            newer = f"written by a newer research-agent; this one reads up to {known}: update it"
            raise ArchiveError(f"{self._told} has schema {version}, {newer}")
        return version

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ArchiveError(f"{self._told} cannot be read as {self._layout.name}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        if not damage.sound(self._path) or (self._accept_loss and self._layout.spoilt(self._path)):
            self._rescue()
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10.0)
        db.create_function("folded", 1, folded, deterministic=True)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", *self._layout.pragmas):
            db.execute(f"PRAGMA {pragma}")
        return db

    def _rescue(self) -> None:
        layout = self._layout
        new, saved = damage.rescue(self._path, layout.create, layout.truth, layout.true)
        if not saved.rows:
            new.unlink()
            raise ArchiveError(f"{self._told} cannot be read as {layout.name}: {saved}; {layout.begin(self._told)}")
        if not saved.whole and self._rebuild and not self._accept_loss:
            new.unlink()
            unasked = "nothing else holds what is lost, so that is not taken for granted"
            raise ArchiveError(f"{self._told} is damaged: {saved}; {unasked}: {self._rebuild} keeps what can be read")
        self._again(new)
        kept = damage.adopt(new, self._path)
        self.mended = f"{self._path.name} was damaged and is made anew: {saved}; the damaged one is {kept.name}"

    @contextmanager
    def write(self) -> Iterator[None]:
        """What is written inside is written all, or not at all."""
        if self._read_only:
            raise ReadOnly(f"{self._told} was opened for reading only")
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._db.execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        return self._db.executemany(sql, values)

    def all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except (UnicodeEncodeError, OverflowError):  # nothing that is kept has such a value: it is asked for the next there can be
                return self._db.execute(sql, [storable(value) for value in values]).fetchall()
            except sqlite3.DatabaseError as error:
                if self._read_only and not damage.is_passing(error):  # a writer's is told by whoever ends the run
                    promise = f"{self._rebuild} keeps what can be read of it, if anything can"  # to know is to try, and to write
                    raise ArchiveError(f"{self._told} is damaged ({error}): {promise}") from error
                raise

    def one(self, sql: str, *values: Any) -> Any:
        rows = self.all(sql, *values)
        return rows[0][0] if rows else None

    def close(self) -> None:
        with self.lock:
            self._db.close()
            self._db = _Closed(self._told)


def storable(value: Any) -> Any:
    """The value, or the nearest to it that SQLite can hold: no text there has lone surrogates, and no number more than 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return min(max(value, -(2**63)), 2**63 - 1) if isinstance(value, int) else value


def run(db: Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
