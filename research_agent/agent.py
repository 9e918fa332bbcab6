"""The agent: a config in, an investigation out. Async inside; `run` and `resume` are the sync edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from langgraph.runtime import RunControl

from research_agent import runs
from research_agent.config import Config
from research_agent.ending import Result
from research_agent.events import Event
from research_agent.history.checks import answer_to, must_have_ended, must_hold, must_remember, must_wait
from research_agent.memories import chosen
from research_agent.session import Embedded, Session

OnEvent = Callable[[Event], None]


class Agent:
    """Runs and resumes investigations with one config."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def from_config(
        cls, path: str | Path, *, question: str | None = None, out: str | Path | None = None, overrides: Sequence[str] = ()
    ) -> Self:
        """From a YAML file; `overrides` are `key.path=value`. Raises ConfigError."""
        return cls(Config.load(Path(path), question=question, out=out, overrides=overrides))

    def run(self, question: str | None = None, *, on_event: OnEvent | None = None) -> Result:
        """Investigates, to the end or a limit. Raises RunError if its folder cannot be made, ConfigError if its embedder is not here."""
        _no_loop("run")
        return asyncio.run(self.arun(question, on_event=on_event))

    async def arun(self, question: str | None = None, *, on_event: OnEvent | None = None, control: RunControl | None = None) -> Result:
        """As `run`. `control.request_drain()` stops it after the running step, so that it can be resumed."""
        config = self.config.model_copy(update={"question": question}) if question else self.config
        embedder = await chosen(config)
        run = runs.create(config.out, config.question, config=config.public())
        return await Session(run, config, on_event or _ignore, control or RunControl(), embedder).work(resumed=False)

    async def astream(self, question: str | None = None) -> AsyncIterator[Event]:
        """The events of a run as they happen; the last is `end`. Closing it early stops the run after its running step."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        control = RunControl()
        task = asyncio.create_task(self.arun(question, on_event=queue.put_nowait, control=control))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            control.request_drain("the stream was closed")
            await task

    @asynccontextmanager
    async def embedded(
        self, question: str | None = None, *, run: str | Path | None = None, on_event: OnEvent | None = None
    ) -> AsyncIterator[Embedded]:
        """A run for another LangGraph application to drive: its graph calls `build_research_graph()` with this `context`.

        `run` goes on with one that was begun so. Raises RunError where another process works on it. See examples/embed_in_graph.py.
        """
        config = self.config.model_copy(update={"question": question}) if question else self.config
        embedder = await chosen(config)
        found = runs.find(str(run), config.out) if run is not None else runs.create(config.out, config.question, config=config.public())
        must_hold(found)
        async with Session(found, config, on_event or _ignore, RunControl(), embedder).embedded() as opened:
            yield opened

    def resume(self, run: str | Path, *, answer: str | Mapping[str, Any] | None = None, on_event: OnEvent | None = None) -> Result:
        """Goes on where the run was. `answer` is a person's word on its plan: `yes`, a text that says what to change, or what
        graphs.approve takes, such as `{"plan": ["Which ...?", ...]}`.
        """
        _no_loop("resume")
        return asyncio.run(self.aresume(run, answer=answer, on_event=on_event))

    async def aresume(
        self,
        run: str | Path,
        *,
        answer: str | Mapping[str, Any] | None = None,
        on_event: OnEvent | None = None,
        control: RunControl | None = None,
    ) -> Result:
        """As `resume`. Raises RunError: for an answer that nobody waits for, one that says nothing, a complete run that lost its notes."""

        found = runs.find(str(run), self.config.out)
        await must_remember(found)
        config = self.config.model_copy(update={"question": found.read()["question"]})
        if answer is not None:
            await must_wait(found)
        said = None if answer is None else answer_to(found, config, answer)
        embedder = await chosen(config)
        return await Session(found, config, on_event or _ignore, control or RunControl(), embedder).work(resumed=True, answer=said)

    async def arewrite(self, run: str | Path, *, on_event: OnEvent | None = None, control: RunControl | None = None) -> Result:
        """Asks the writer once more, on what a run that has ended has found. The report there was is kept as `report.1.md`, and so on.

        Raises RunError for a run that has not come to its report.
        """
        from research_agent.history.rewriting import keep_earlier

        found = runs.find(str(run), self.config.out)
        await must_remember(found, rewrite=True)
        await must_have_ended(found)
        config = self.config.model_copy(update={"question": found.read()["question"]})
        embedder = await chosen(config)
        earlier = keep_earlier(found)
        result = await Session(found, config, on_event or _ignore, control or RunControl(), embedder).work(resumed=True, rewrite=True)
        if result.status == "failed":  # the report there was stands where it stood
            for copy in earlier:
                copy.unlink(missing_ok=True)
        return result

    def fork(self, run: str | Path, *, at: int, plan: Sequence[str] = (), question: str = "", on_event: OnEvent | None = None) -> Result:
        """A new run that goes on from where another stood after step `at`, with this agent's config; the other is only read.

        `plan`: these sub-questions instead. Raises NoSuchStep, which says what is allowed, and RunError.
        """
        _no_loop("fork")
        return asyncio.run(self.afork(run, at=at, plan=plan, question=question, on_event=on_event))

    async def afork(
        self,
        run: str | Path,
        *,
        at: int,
        plan: Sequence[str] = (),
        question: str = "",
        on_event: OnEvent | None = None,
        control: RunControl | None = None,
    ) -> Result:
        from research_agent.history.fork import Changes, fork

        parent = runs.find(str(run), self.config.out)
        asked = question or parent.read()["question"]
        config = self.config.model_copy(update={"question": asked})
        embedder = await chosen(config)
        made = await fork(parent, at, config, Changes(plan=plan, question=question))
        return await Session(made, config, on_event or _ignore, control or RunControl(), embedder).work(resumed=True)


def _ignore(event: Event) -> None:
    del event


def _no_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"Agent.{name}() is called inside a running event loop: write `await agent.a{name}(...)` there")
