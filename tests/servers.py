"""Real servers for tests: PostgreSQL as an unprivileged user, Chroma, each in a temporary folder on 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

BINARIES = next(
    (
        folder
        for folder in (*map(Path, os.environ.get("PATH", "").split(os.pathsep)), *sorted(Path("/usr/lib/postgresql").glob("*/bin")))
        if (folder / "initdb").exists() and (folder / "postgres").exists()
    ),
    None,
)
NO_POSTGRES = "" if BINARIES else "PostgreSQL's initdb and postgres are not installed (apt-get install postgresql)"
PASSWORD = "pg-s3cr3t-" + "w0rd" * 3


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class Postgres:
    """Refuses root, so it runs as `nobody` then. User `worker` has a password; database `runs` is there."""

    def __init__(self) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call(
            "initdb", "-D", self.data, "-U", "worker", "-A", "scram-sha-256", "--pwfile", secret, "--no-sync", "-E", "UTF8", "--no-locale"
        )
        self.start()
        self.sql("CREATE DATABASE runs", database="postgres")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, password: str = PASSWORD, database: str = "runs") -> str:
        colon = ":" if password else ""
        return f"postgresql://worker{colon}{password}@127.0.0.1:{self.port}/{database}"

    def _call(self, program: str, *arguments: object) -> None:
        assert BINARIES is not None
        done = subprocess.run([BINARIES / program, *map(str, arguments)], user=self._user, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        import psycopg

        assert BINARIES is not None
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"}
        command = [str(BINARIES / "postgres"), "-D", str(self.data), *(f"--{key}={value}" for key, value in settings.items())]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.sql("SELECT 1", database="postgres")
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def sql(self, statement: str, *values: object, database: str = "runs") -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """At once, as a crash does."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)


class Chroma:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chroma-"))
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = Path(sys.executable).parent / "chroma"
        command = [str(program), "run", "--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{self.url}/api/v2/heartbeat").raise_for_status()
                return
            except httpx.HTTPError:
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
