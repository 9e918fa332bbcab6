"""A run of 300 steps that asks 60 times for what it read 25 to 250 steps before: is it in the next prompt, and what did the run cost?

    python benchmarks/long_run.py [--embedder SPEC] [--corpus CORPUS.json] [--seed N] [--page-tokens N] [--only NAME ...] [--missed]

No model: an ideal reader acts a script and can use only what is in the prompt it is sent (`long_run_reader.py`), over local pages
(`long_run_world.py`) through real tool objects. The host it talks to has a prefix cache in 256-token blocks and Kimi K2 Thinking's prices.
The floor pays each page, search and answer once, whole, as a miss; an 8,000-token prompt at the hit price each step; and the output.
A question that becomes the open need stands in the reader's thought and, where there is a tool that looks into memory, in a call to it: a
topic it has to recall is not a sub-question of the plan, and our own rules tell the model to recall it so.
research-agent runs as shipped. `uv sync --group bench` installs the peers; one that is not there is left out with a line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import long_run_peers as peers
from long_run_peers import Outcome
from long_run_reader import Host, Mind, Reader
from long_run_tools import page_of, search_of, tools_for
from long_run_world import PAGE_TOKENS, STEPS, World, make

from research_agent.event_log import EventLog
from research_agent.events import STREAMED_ONLY
from research_agent.graphs.build import build_research_graph
from research_agent.graphs.ports import Context, Limits, Model, Prices
from research_agent.history.recorder import opened_recorder
from research_agent.memory import Archive, choose, estimate_tokens
from research_agent.models.catalog import lookup
from research_agent.redact import Redactor
from research_agent.runs import Run, now
from research_agent.stores import checkpoint_file
from research_agent.stores.slot import Slot
from research_agent.tools.note import note_tool
from research_agent.tools.python import python_tool
from research_agent.tools.recall import recall_tool

ROW = lookup("vllm", "kimi-k2-thinking")
MISS, HIT, OUTPUT = 0.60, 0.15, 2.50
FLOOR_PROMPT_TOKENS = 8000
NAME = "kimi-k2-thinking"


async def ours(world: World, mind: Mind, folder: Path, embedder: str) -> Outcome:
    """research-agent, with what its own session would give the graph."""
    row = lookup("moonshot", NAME)
    assert row.prices
    prices = Prices(miss=row.prices.miss, hit=row.prices.hit, output=row.prices.output)
    model = Model(
        chat=Reader(mind=mind), name=NAME, window_tokens=row.window_tokens, max_output_tokens=row.max_output_tokens, prices=prices
    )
    started = time.monotonic()
    mind.ask = lambda question: {"name": "recall", "args": {"query": question}}
    mind.answers = True
    redact, log, compactions = Redactor(()), EventLog(folder / "events.jsonl", Redactor(())), 0
    archive = Archive.open(folder, run="bench", embedder=choose(embedder).embedder)
    mind.pause = archive.flush
    web_search, scrape = tools_for(world)
    tools = (web_search, scrape, python_tool(folder / "assets"), recall_tool(archive), note_tool(archive))
    context = Context(
        run="bench",
        models=dict.fromkeys(("planner", "investigator", "reviewer", "writer"), model),
        tools=tools,
        archive=archive,
        limits=Limits(usd=5.0),
        clock=lambda: time.monotonic() - started,
        now=now,
        redact=redact,
        slot=Slot(Run(folder).call),
    )
    spent = time.process_time()
    recording = opened_recorder(Run(folder), archive, redact)
    async with checkpoint_file.opened(folder / "checkpoints.sqlite") as saver:
        with recording as recorder:
            graph = build_research_graph(checkpointer=saver)
            thread: Any = {"configurable": {"thread_id": "bench"}}
            recorded = recorder.began(None, context)
            events = graph.astream({"question": world.question}, thread, context=recorded, stream_mode="custom", durability="sync")
            async for event in events:
                if event["type"] not in STREAMED_ONLY:
                    log.write(event)
                compactions += event["type"] == "compaction"
            state = (await graph.aget_state(thread)).values
    cpu_s, wall_s = time.process_time() - spent, time.monotonic() - started
    stopped = state.get("stopped", "")
    await archive.close()
    return Outcome(cpu_s=cpu_s - mind.cpu_s, wall_s=wall_s, disk=folder / "checkpoints.sqlite", compactions=compactions, note=stopped)


def floor_usd(world: World, mind: Mind) -> float:
    """From what is read and said, whoever says it."""
    read = sum(estimate_tokens(rendered_result(world, step)) for step in world.steps if step.kind in ("search", "page"))
    said = mind.host.output
    return ((read + said) * MISS + STEPS * FLOOR_PROMPT_TOKENS * HIT + said * OUTPUT) / 1e6


def rendered_result(world: World, step: Any) -> str:
    return page_of(world, step.page.url)[0] if step.page else search_of(world, step.query)[0]


def usd(host: Host) -> float:
    return ((host.input - host.cached) * MISS + host.cached * HIT + host.output * OUTPUT) / 1e6


@dataclass(frozen=True)
class Contender:
    name: str
    run: Callable[[World, Mind, Path], Awaitable[Outcome]]


def contenders(embedder: str) -> list[Contender]:
    mine = [Contender("research-agent, words only", lambda world, mind, folder: ours(world, mind, folder, "none"))]
    if embedder != "none":
        mine.append(Contender("research-agent, embedder", lambda world, mind, folder: ours(world, mind, folder, embedder)))
    return [*mine, *(Contender(name, run) for name, run in peers.PEERS.items())]


HEAD = f"{'':<28} same para desc   probes    usd  /floor    miss     hit  prompt   over  breaks compact   torn   ckpt MB  cpu ms wall ms"


async def measure(contender: Contender, world: World, show_missed: bool) -> str:
    mind = Mind(world, Host(ROW.window_tokens, ROW.max_output_tokens))
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = await contender.run(world, mind, Path(folder))
        except ImportError as error:
            return f"{contender.name:<28} left out: {error}"
        size = f"{outcome.disk.stat().st_size / 1e6:9.1f}" if outcome.disk else f"{'-':>9}"
    host, found = mind.host, mind.found
    cost, floor = usd(host), floor_usd(world, mind)
    row = (
        f"{contender.name:<28} {found['same']:4} {found['paraphrased']:4} {found['described']:4}   {found.total():3}/60"
        f" {cost:6.3f} {cost / floor:6.2f}x {(host.input - host.cached) / 1e3:6.0f}k {host.cached / 1e3:6.0f}k {host.biggest:7}"
        f" {host.violations:6} {host.breaks:7} {outcome.compactions:7} {mind.torn:6} {size}"
        f" {outcome.cpu_s / STEPS * 1e3:7.1f} {outcome.wall_s / STEPS * 1e3:7.1f}"
    )
    lines = [row]
    if outcome.note or mind.at < STEPS:
        lines.append(f"    stopped at step {mind.at}: {outcome.note}")
    if show_missed:
        lines += [f"    missed ({probe.fact.wording}, {probe.age} steps): {probe.fact.question}" for probe in mind.missed]
    return "\n".join(lines)


async def main() -> None:
    parser = argparse.ArgumentParser(description="the long run")
    parser.add_argument("--embedder", default="none")
    parser.add_argument("--corpus", type=Path, help="a list of {title, text}: half of what is read comes from it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page-tokens", type=float, default=PAGE_TOKENS, help="of a page, half of them longer: %(default).0f")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the contenders' names")
    parser.add_argument("--missed", action="store_true")
    args = parser.parse_args()
    world = make(args.seed, args.corpus, args.page_tokens)
    pages = list(world.pages.values())
    print(f"seed {args.seed}: {len(pages)} pages of {sum(page.tokens for page in pages) / len(pages):.0f} tokens on average")
    print(HEAD)
    for contender in contenders(args.embedder):
        if not args.only or any(part in contender.name for part in args.only):
            print(await measure(contender, world, args.missed), flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
