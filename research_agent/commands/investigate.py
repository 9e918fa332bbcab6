"""The commands that investigate: start a run, go on with one, fork one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from research_agent.answering import answer_of
from research_agent.commands.options import (
    BAD_CONFIG,
    COMPLETE,
    FAILED,
    INCOMPLETE,
    INTERRUPTED,
    RUNS,
    AsJson,
    Fault,
    ModelName,
    Name,
    Out,
    PlanFile,
    Set,
    print_json,
    result_json,
    tell,
)

if TYPE_CHECKING:
    from research_agent.config import Config
    from research_agent.ending import Result
    from research_agent.terminal import Terminal


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; see README.md.")],
    question: Annotated[str | None, typer.Option("--question", "-q", help="Instead of the config's question.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder that the run's folder is made in.")] = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Start an investigation."""
    from research_agent.config import Config

    loaded = Config.load(config, question=question, out=out, overrides=set_ or ())
    _investigate(loaded, as_json, None, None)


def resume(
    id: Name,
    out: Out = RUNS,
    answer: Annotated[str | None, typer.Option("--answer", help="To a plan that waits: 'yes', or what to change about it.")] = None,
    plan: PlanFile = None,
    model: ModelName = "",
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run where it was."""
    from research_agent import runs
    from research_agent.history.settings import config_of

    found = runs.find(id, out)
    said = _answer(answer, plan)
    if said is None and found.status() == "complete":
        tell(f"run {found.id} is complete: nothing is left to do but its report's files, made anew of what is stored")
        if model:
            config_of(found, model=model)  # one that there is not is told as that
            tell(f"--model is not used: `research-agent report {found.name} --model {model}` has the report written anew")
            model = ""
    if found.status() == "failed" and str(found.read().get("reason")).startswith("no evidence was found"):
        anew = f"`research-agent fork {found.name} --at 0 --set search.folder=DIR` (or another --question, --model) looks elsewhere"
        tell(f"run {found.id} looked through its whole plan and found nothing: {anew}")
    _investigate(config_of(found, model=model, overrides=set_ or ()), as_json, str(found.folder), said)


def _answer(text: str | None, plan: Path | None) -> dict[str, Any] | None:
    if text is not None and plan is not None:
        raise Fault("--answer, --plan: not allowed together: one of them answers a plan that waits", BAD_CONFIG)
    if plan is not None:
        from research_agent.history.plan_file import read_plan

        return {"plan": read_plan(plan)}
    if text is None:
        return None
    if not (answer := answer_of(text)):
        raise Fault("--answer: it is empty; 'yes', or what to change about the plan", BAD_CONFIG)
    return answer


def fork(
    id: Name,
    at: Annotated[int, typer.Option("--at", metavar="STEP", help="The step after which it goes another way; 0: before the first.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the new run is made. ID is looked for there first, then in runs. [default: beside the other]"),
    ] = None,
    plan: PlanFile = None,
    question: Annotated[str, typer.Option("--question", "-q", help="Another question: it is planned anew, unless --plan says how.")] = "",
    model: ModelName = "",
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run where another one stood at a step. The other is only read."""
    import asyncio

    from research_agent import runs
    from research_agent.history.fork import Changes
    from research_agent.history.fork import fork as forked
    from research_agent.history.plan_file import read_plan
    from research_agent.history.settings import config_of

    found = runs.find_in(id, out or RUNS, RUNS)
    changes = Changes(plan=read_plan(plan) if plan else (), question=" ".join(question.split()))
    config = config_of(found, question=changes.question, model=model, out=out, overrides=set_ or ())
    made = asyncio.run(forked(found, at, config, changes))
    _investigate(config, as_json, str(made.folder), None)


def _investigate(config: Config, as_json: bool, resumed: str | None, answer: dict[str, Any] | None) -> NoReturn:
    """Runs it with the terminal around it, asks for a waiting plan's approval, and exits with the outcome."""
    from research_agent.terminal import Terminal

    both = as_json or (sys.stdout.isatty() and sys.stderr.isatty())
    with Terminal(stderr=as_json, reason_follows=both) as terminal:
        terminal({"type": "start", "question": config.question, "model": config.model.name or config.model.provider})
        try:
            from research_agent.commands.working import investigate  # a second or two of libraries: the screen comes first

            result, interrupted = investigate(config, terminal, resumed, answer)
        except KeyboardInterrupt:
            raise stopped(terminal) from None
    if as_json:
        print_json(result_json(result))
    if result.status == "failed":
        raise Fault(f"the run failed: {result.reason}", FAILED)
    if result.status == "complete":
        raise typer.Exit(COMPLETE)
    raise Fault(f"incomplete: {result.reason}{_goes_on(result)}", INTERRUPTED if interrupted else INCOMPLETE)


def stopped(terminal: Terminal) -> BaseException:
    """At the second Ctrl-C, or one before anything was begun."""
    if not terminal.folder:
        return KeyboardInterrupt()
    from research_agent.memory.remedy import name_of

    return Fault(f"stopped at once: what was finished is kept; `research-agent resume {name_of(terminal.folder)}` goes on", INTERRUPTED)


def _goes_on(result: Result) -> str:
    from research_agent.memory.remedy import name_of
    from research_agent.reasons import raised
    from research_agent.terminal.lines import how_to_answer

    name = name_of(result.folder)
    if result.waiting:
        return f": {how_to_answer(name)}"
    return "" if "resume" in result.reason else f"; `research-agent resume {name}{raised(result.reason)}` goes on"
