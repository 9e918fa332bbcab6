"""No test leaves the machine: sockets connect to 127.0.0.1 (and ::1, and Unix sockets) only, and no key of the developer's is seen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from command_line import Command

    from research_agent.testing.crash.rig import Rig

_ALLOWED = {"127.0.0.1", "::1", "localhost", ""}

for name in [name for name in os.environ if name.endswith("_API_KEY")]:
    del os.environ[name]
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", LANGSMITH_TRACING="false")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in _ALLOWED:
            raise ConnectionRefusedError(f"tests do not leave the machine: {address[0]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name not in _ALLOWED and not name.replace(".", "").isdigit():
            raise socket.gaierror(socket.EAI_NONAME, f"tests do not leave the machine: {name}")
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    return


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Processes to be killed: their libraries are loaded once, for all tests that kill some."""
    from research_agent.testing.crash.rig import Rig  # nothing of ours is loaded before the environment is what it is above

    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`research-agent` with these words, in this process."""
    from command_line import commands

    return commands(monkeypatch, capsys)
