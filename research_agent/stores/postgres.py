"""Checkpoints on a PostgreSQL server. Imported only where one is named: it needs the extra `postgres`.

One connection carries both the run's lock and its checkpoints, so that who lost the lock cannot write either. A connection that breaks is
made again for a while, the lock taken again, and what failed is repeated: each write is an upsert.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row

from .address import PostgresUrl
from .errors import RunError, StoreError

T = TypeVar("T")
Connection = psycopg.AsyncConnection[DictRow]

WAIT_S = 60.0
"""A server that goes away may be restarting: so long is it waited for."""
_CONNECT_TIMEOUT_S = 10
_SETUP_WAIT_S = 60.0
_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
_REMEDIES = (
    ("no password supplied", "set PGPASSWORD, store.password_env or ~/.pgpass: no password is kept with a run"),
    ("password authentication failed", "check the user and the password (PGPASSWORD, store.password_env, ~/.pgpass)"),
    ("does not exist", "check the name in store.checkpoints, or create it"),
    ("permission denied", "grant it to the user of store.checkpoints"),
    ("no space left", "make room on the server"),
)
_START_IT = "start the server or check store.checkpoints"
_ME = f"research-agent on {socket.gethostname()[:24]}, process {os.getpid()}, {secrets.token_hex(3)}"
"""How the server names this process's connections: at most 63 bytes."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is and how one gets in."""

    url: PostgresUrl
    password: str
    """Empty: as PGPASSWORD or ~/.pgpass say."""

    def __repr__(self) -> str:
        return f"Server({self.url!s})"

    async def connect(self) -> Connection:
        """Raises StoreError."""
        given: dict[str, Any] = {"password": self.password} if self.password else {}
        try:
            connection: Connection = await psycopg.AsyncConnection.connect(
                self.url.url,
                autocommit=True,
                prepare_threshold=0,
                row_factory=dict_row,
                connect_timeout=_CONNECT_TIMEOUT_S,
                application_name=_ME,
                **given,
            )
            for setting, value in (("tcp_keepalives_idle", 30), ("tcp_keepalives_interval", 10), ("tcp_keepalives_count", 3)):
                await connection.execute(f"SET {setting} = {value}")  # a machine that died gives its lock back within a minute
        except psycopg.Error as error:
            raise self.failed(error) from None
        return connection

    def failed(self, error: psycopg.Error) -> StoreError:
        """What PostgreSQL says, in one line, without a password."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        said = next((line for line in lines if "FATAL" in line or "failed:" in line), lines[0])[:300]
        if self.password:
            said = said.replace(self.password, "[redacted]")
        remedy = next((remedy for words, remedy in _REMEDIES if words in str(error).lower()), "")
        if not remedy and isinstance(error, psycopg.OperationalError):
            remedy = _START_IT
        return StoreError(f"PostgreSQL at {self.url.place}: {said}{f'; {remedy}' if remedy else ''}")


class PostgresCheckpoints(AsyncPostgresSaver):
    """A saver for one run, which nobody else may write meanwhile."""

    def __init__(self, server: Server, run: str, connection: Connection, warn: Callable[[str], None], wait_s: float, name: str) -> None:
        super().__init__(connection)
        self._server, self._run, self._warn, self._wait_s, self._name = server, run, warn, wait_s, name
        self._mending = asyncio.Lock()
        self._given_up: StoreError | None = None

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        put = super().aput
        return await self._surely(lambda: put(config, checkpoint, metadata, new_versions))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        put = super().aput_writes
        await self._surely(lambda: put(config, writes, task_id, task_path))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        get = super().aget_tuple
        return await self._surely(lambda: get(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        listing = super().alist

        async def read() -> list[CheckpointTuple]:
            return [found async for found in listing(config, filter=filter, before=before, limit=limit)]

        for found in await self._surely(read):
            yield found

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        get = super().aget_delta_channel_history
        return await self._surely(lambda: get(config=config, channels=channels))

    async def adelete_thread(self, thread_id: str) -> None:
        delete = super().adelete_thread
        await self._surely(lambda: delete(thread_id))

    async def rows(self) -> int:
        """How many rows the run has on the server."""
        counts = " + ".join(f"(SELECT count(*) FROM {table} WHERE thread_id = %(run)s)" for table in _TABLES)

        async def count() -> int:
            assert isinstance(self.conn, psycopg.AsyncConnection)  # noqa: S101 - it is never given a pool
            row = await (await self.conn.execute(f"SELECT {counts} AS n", {"run": self._run})).fetchone()
            return int(row["n"]) if row else 0

        return await self._surely(count)

    async def _surely(self, work: Callable[[], Awaitable[T]]) -> T:
        """Done, over a new connection if that one broke. Raises StoreError."""
        while True:
            used = self.conn
            assert isinstance(used, psycopg.AsyncConnection)  # noqa: S101 - it is never given a pool
            try:
                return await work()
            except psycopg.Error as error:
                if not (used.closed or used.broken):
                    raise self._server.failed(error) from None
                await self._mend(used, self._server.failed(error))

    async def _mend(self, broken: Connection, error: StoreError) -> None:
        async with self._mending:
            if self._given_up is not None:
                raise self._given_up
            if self.conn is not broken:
                return
            self._warn(f"{str(error).partition(';')[0]}; waiting up to {self._wait_s:g} s for it to come back")
            deadline, pause_s = time.monotonic() + self._wait_s, 0.2
            while True:
                try:
                    self.conn = await _locked(self._server, self._run, again=True)
                    return
                except StoreError as still:
                    if time.monotonic() + pause_s > deadline:
                        again = f"then `research-agent resume {self._name}`: nothing finished is lost"
                        self._given_up = StoreError(f"{still}, {again}")
                        raise self._given_up from None
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 5.0)


@asynccontextmanager
async def opened(
    server: Server, run: str, warn: Callable[[str], None], *, name: str = "", wait_s: float | None = None
) -> AsyncIterator[PostgresCheckpoints]:
    """A run's checkpoints, locked for this process. Raises RunError if another holds them, StoreError if the server cannot be used.

    `name`: what a command finds the run by.
    """
    with _heard_here():
        async with _opened(server, run, warn, name or run, WAIT_S if wait_s is None else wait_s) as saver:
            yield saver


@contextmanager
def _heard_here() -> Iterator[None]:
    """What psycopg logs of a connection that broke, which is told here, does not come out on stderr where nobody asked for logs."""
    handler, logger = logging.NullHandler(), logging.getLogger("psycopg")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@asynccontextmanager
async def _opened(server: Server, run: str, warn: Callable[[str], None], name: str, wait_s: float) -> AsyncIterator[PostgresCheckpoints]:
    connection = await _locked(server, run)
    saver = PostgresCheckpoints(server, run, connection, warn, wait_s, name)
    try:
        await _tables(saver, server, connection)
        yield saver
    finally:
        await saver.conn.close()


async def _locked(server: Server, run: str, *, again: bool = False) -> Connection:
    """A connection with the run's lock. `again`: this process had it, over a connection whose end the server may not have noticed."""
    connection, number = await server.connect(), _number(f"run {run}")
    try:
        if await _take(connection, number):
            return connection
        pid, name = await _holder(connection, number)
        if again and name == _ME:
            await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            for _ in range(50):
                if await _take(connection, number):
                    return connection
                await asyncio.sleep(0.1)
    except psycopg.Error as error:
        await connection.close()
        raise server.failed(error) from None
    await connection.close()
    raise RunError(f"run {run} is being worked on by another process{f' ({name})' if name else ''}; wait for it, or stop it first")


async def _take(connection: Connection, number: int) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (number,))).fetchone()
    return bool(row and row["taken"])


async def _holder(connection: Connection, number: int) -> tuple[int, str]:
    """Who has the lock: the server's process for it, and its name where this user may see it."""
    sql = """SELECT a.pid, a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = %s"""
    row = await (await connection.execute(sql, (number,))).fetchone()
    return (row["pid"], row["name"] or "") if row else (0, "")


def _number(name: str) -> int:
    """An advisory lock's number, of 64 bits."""
    return int.from_bytes(hashlib.sha256(f"research-agent {name}".encode()).digest()[:8], "big", signed=True)


async def _tables(saver: PostgresCheckpoints, server: Server, connection: Connection) -> None:
    """Makes or upgrades langgraph's tables, one process at a time. Raises StoreError, also if they are newer than what is installed."""
    newest, deadline = len(saver.MIGRATIONS) - 1, time.monotonic() + _SETUP_WAIT_S
    try:
        while (version := await _version(connection)) < newest:
            # Tried again and again, not waited for: one of the steps waits in turn for every statement that runs.
            if await _take(connection, _number("tables")):
                try:
                    await saver.setup()
                finally:
                    await connection.execute("SELECT pg_advisory_unlock(%s)", (_number("tables"),))
            elif time.monotonic() > deadline:
                raise StoreError(f"PostgreSQL at {server.url.place}: another process has been making the tables for {_SETUP_WAIT_S:g} s")
            else:
                await asyncio.sleep(0.1)
    except psycopg.Error as error:
        raise server.failed(error) from None
    if version > newest:
        place, package = server.url.place, "langgraph-checkpoint-postgres"
        raise StoreError(
            f"PostgreSQL at {place} has checkpoint tables of version {version}, the installed {package} knows {newest}: update it"
        )


async def _version(connection: Connection) -> int:
    """Of langgraph's tables; -1 where there are none."""
    row = await (await connection.execute("SELECT to_regclass('checkpoint_migrations') IS NOT NULL AS there")).fetchone()
    if not row or not row["there"]:
        return -1
    row = await (await connection.execute("SELECT coalesce(max(v), -1) AS v FROM checkpoint_migrations")).fetchone()
    return int(row["v"]) if row else -1
