"""What the commands do once their arguments are read. Imported by a command when it runs, so that `--help` need not wait for it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from langgraph.runtime import RunControl

from research_agent.agent import Agent
from research_agent.config import Config
from research_agent.ending import Result
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
    config: Config, resumed: str | None, answer: dict[str, Any] | None, terminal: Terminal, *, rewrite: bool = False
) -> tuple[Result, bool]:
    """The first Ctrl-C stops after the running step, the second at once; both can be resumed. A terminal that is closed asks like one."""
    control, agent, signals = RunControl(), Agent(config), 0
    task, terminals = asyncio.current_task(), [number for number in (1, 2) if os.isatty(number)]

    def interrupted() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            terminal({"type": "warning", "text": f"stopping after {terminal.waits_for}; Ctrl-C again stops at once"})
            control.request_drain("interrupted")
        elif task:
            task.cancel()

    def hung_up() -> None:
        for number in terminals:  # what is written there now fails
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        interrupted()

    loop, asked = asyncio.get_running_loop(), {signal.SIGINT: interrupted, signal.SIGTERM: interrupted, signal.SIGHUP: hung_up}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup
        del asked[signal.SIGHUP]
    for name, handler in asked.items():
        loop.add_signal_handler(name, handler)
    try:
        if resumed and rewrite:
            result = await agent.arewrite(resumed, on_event=terminal, control=control)
        elif resumed:
            result = await agent.aresume(resumed, answer=answer, on_event=terminal, control=control)
        else:
            result = await agent.arun(on_event=terminal, control=control)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for name in asked:
            loop.remove_signal_handler(name)
    return result, signals > 0 and result.status != "complete"
