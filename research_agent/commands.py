"""What the commands do once their arguments are read. Imported by a command when it runs, so that `--help` need not wait for it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from langgraph.runtime import RunControl

from research_agent import runs
from research_agent.agent import Agent, OnEvent
from research_agent.config import Config
from research_agent.graphs.observation import render
from research_agent.graphs.window import shown
from research_agent.memory import Archive
from research_agent.memory.embedders import choose
from research_agent.session import Result
from research_agent.terminal import Terminal


def investigate(
    config: Config, terminal: Terminal, resumed: str | None, answer: dict[str, Any] | None, *, rewrite: bool = False
) -> tuple[Result, bool]:
    """The outcome, and whether it was interrupted. A plan that waits is put to whoever sits at the terminal."""
    result, interrupted = asyncio.run(_work(config, resumed, answer, terminal, rewrite=rewrite))
    while result.waiting and not interrupted and terminal.interactive:
        try:
            answer = terminal.approval()
        except EOFError:
            break
        result, interrupted = asyncio.run(_work(config, str(result.folder), answer, terminal))
    return result, interrupted


async def _work(
    config: Config, resumed: str | None, answer: dict[str, Any] | None, on_event: OnEvent, *, rewrite: bool = False
) -> tuple[Result, bool]:
    """The first Ctrl-C stops after the running step, the second at once; both can be resumed."""
    control, agent, signals = RunControl(), Agent(config), 0
    task = asyncio.current_task()

    def interrupted() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            on_event({"type": "warning", "text": "stopping after this step; Ctrl-C again stops at once"})
            control.request_drain("interrupted")
        elif task:
            task.cancel()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, interrupted)
    try:
        if resumed and rewrite:
            result = await agent.arewrite(resumed, on_event=on_event, control=control)
        elif resumed:
            result = await agent.aresume(resumed, answer=answer, on_event=on_event, control=control)
        else:
            result = await agent.arun(on_event=on_event, control=control)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
    return result, signals > 0 and result.status == "incomplete"


async def recall(id: str, out: Path, query: str, tokens: int) -> list[str]:
    """What a run remembers, as text."""
    run = runs.find(id, out)
    with run.lock():
        embedder = str(run.read().get("config", {}).get("memory", {}).get("embedder", "auto"))
        archive = Archive.open(run.folder, run=run.id, embedder=choose(embedder).embedder)
        try:
            if segment := archive.get(query):
                return [render([shown(segment, segment.text)])]
            passages = await archive.recall(query, budget_tokens=tokens)
            return [render([shown(passage.segment, passage.text)]) for passage in passages] or ["nothing on that"]
        finally:
            await archive.close()


async def rebuild(id: str, out: Path) -> str:
    """Makes the index anew from the ledger; says what it did."""
    run = runs.find(id, out)
    with run.lock():
        spec = str(run.read().get("config", {}).get("memory", {}).get("embedder", "auto"))
        archive = Archive.open(run.folder, run=run.id, embedder=choose(spec).embedder)
        try:
            await archive.rebuild()
            return f"rebuilt the index of {run.id}: {archive.stats()}"
        finally:
            await archive.close()
