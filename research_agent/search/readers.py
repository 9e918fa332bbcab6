"""Reads files in parallel, and so that none can hang, crash or exhaust the run: HTML and PDF are parsed in children of ours.

A child is a plain `python -c`: multiprocessing would import an application's main module again, or fork its threads. A request is two
lengths, the hints as JSON and bytes; an answer is a length and JSON, a page's fields or the reason as a string.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any

from research_agent.reading.page import Page, Unreadable, is_pdf, read

TIMEOUT_S = 90.0
MAX_CHILD_BYTES = 3 * 2**30
_REQUEST, _ANSWER = struct.Struct(">II"), struct.Struct(">I")
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from research_agent.search.readers import serve; serve()"


class Readers:
    """A child for each thread that asks, started when it first needs one."""

    def __init__(self, *, timeout_s: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._mine = threading.local()
        self._children: list[_Child] = []

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for child in self._children:
            child.close()

    def kill(self) -> None:
        """What is being read is given up."""
        for child in list(self._children):
            child.kill()

    def read(self, data: bytes, name: str, *, content_type: str = "", charset: str = "") -> Page:
        """Like `reading.read`."""
        hints = {"name": name, "content_type": content_type, "charset": charset}
        if not _hard(data, name, content_type):
            return read(data, **hints)
        child: _Child | None = getattr(self._mine, "child", None)
        if child is None:
            child = self._mine.child = _Child(self._timeout_s or TIMEOUT_S)
            self._children.append(child)
        return child.read(data, hints)


def _hard(data: bytes, name: str, content_type: str) -> bool:
    """Whether it takes a real parser; Markdown and text do not, and make most folders."""
    told = f"{name} {content_type}".lower()
    return is_pdf(data, told) or data[:1024].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<") or "html" in told or "xml" in told


class _Child:
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, data: bytes, hints: Mapping[str, str]) -> Page:
        process = self._process or self._start()
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, give_up)
        timer.start()
        try:
            answer = _ask(process, data, hints)
        except (OSError, EOFError) as error:
            self.close()
            raise Unreadable(f"takes more than {self._timeout_s:.0f} s to read" if late.is_set() else "crashed the reader") from error
        finally:
            timer.cancel()
        if isinstance(answer, str):
            raise Unreadable(answer)
        return Page(**answer)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C stops the run, which then closes its children; it must not look like a crash of theirs.
        self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and a constant
            [sys.executable, "-I", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._process

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what it still held was for a child that is gone


def _ask(process: subprocess.Popen[bytes], data: bytes, hints: Mapping[str, str]) -> str | dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    label = json.dumps(hints).encode()
    process.stdin.write(_REQUEST.pack(len(label), len(data)) + label)
    process.stdin.write(data)
    process.stdin.flush()
    (length,) = _ANSWER.unpack(_exactly(process.stdout, _ANSWER.size))
    answer: str | dict[str, Any] = json.loads(_exactly(process.stdout, length))
    return answer


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve() -> None:
    """The child: answers until its parent goes."""
    _limit_memory()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a parser that prints must not garble an answer
    while head := requests.read(_REQUEST.size):
        hints_bytes, data_bytes = _REQUEST.unpack(head)
        hints = json.loads(_exactly(requests, hints_bytes))
        try:
            answer = json.dumps(asdict(read(_exactly(requests, data_bytes), **hints)))
        except Unreadable as error:
            answer = json.dumps(str(error))
        answers.write(_ANSWER.pack(len(answer)) + answer.encode())
        answers.flush()


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = MAX_CHILD_BYTES if hard == resource.RLIM_INFINITY else min(MAX_CHILD_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
