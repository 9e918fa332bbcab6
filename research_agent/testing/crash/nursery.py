"""Processes to be killed, quickly: everything is loaded once, and a process is forked for each order.

An order is a line of JSON on stdin: `{"argv": [...], "cwd": DIR, "output": FILE, "seam": NAME or "", "hit": N, "embedder": bool}`. Each
child is `research-agent ARGV` in a session of its own. Answers are lines on stdout: `{"pid"}` once, and `{"pid", "status"}` at its end.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import threading
from typing import Any, NoReturn

_LOADED = (
    "research_agent.cli",
    "research_agent.commands.working",
    "research_agent.terminal.live",
    "research_agent.models.chat",
    "research_agent.models.http",
    "research_agent.search.searxng",
    "research_agent.search.folder",
    "research_agent.tools.web_search",
    "research_agent.tools.scrape",
    "research_agent.tools.python",
    "research_agent.tools.recall",
    "research_agent.tools.note",
    "research_agent.web.http_cache",
    "research_agent.web.page_reader",
    "research_agent.sandbox.bubblewrap",
    "research_agent.testing.embedder",
    "research_agent.testing.crash.seams",
    "research_agent.stores.checkpoint_file",
    "hishel",
    "openai.resources.chat.completions.completions",
    "markdown_it",
    "research_agent.report.compose",
    "chromadb",
)


def serve() -> None:
    for name in _LOADED:
        importlib.import_module(name)
    if threading.active_count() != 1:
        raise RuntimeError(f"a process with threads cannot be forked: {threading.enumerate()}")
    _answer({"ready": True})
    children: set[int] = set()
    unread = b""
    while True:
        if select.select([0], [], [], 0.005)[0]:
            piece = os.read(0, 65_536)
            if not piece:
                os._exit(0)  # taking all that was loaded apart again takes seconds
            *lines, unread = (unread + piece).split(b"\n")
            for line in lines:
                children.add(_born(json.loads(line)))
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.discard(pid)
                _answer({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _answer(told: dict[str, Any]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def _born(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        _answer({"pid": pid})
        return pid
    _live(order)


def _live(order: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        os.chdir(order["cwd"])
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(target, stream)
        _hurry()
        if order.get("embedder"):
            _embed()
        if order.get("seam"):
            from research_agent.testing.crash.seams import arm

            arm(order["seam"], order.get("hit", 1))
        sys.argv = ["research-agent", *order["argv"]]
        from research_agent.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _hurry() -> None:
    """A host that fails is tried again as often, and sooner."""
    from research_agent.graphs import failures

    failures.BASE_WAIT_S = 0.01


def _embed() -> None:
    """The hashing embedder, whatever the config says."""
    from research_agent import memories
    from research_agent.memory.embedders import Choice
    from research_agent.testing.embedder import HashingEmbedder

    memories.__dict__["choose"] = lambda *_, **__: Choice(HashingEmbedder())


if __name__ == "__main__":
    serve()
