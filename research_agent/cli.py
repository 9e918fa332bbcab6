"""The command line. Exit: 0 complete, 1 failed, 2 bad config, 3 incomplete, 130 interrupted.

Heavy imports stand inside the commands: `--help` answers at once.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from research_agent import __version__

if TYPE_CHECKING:
    from research_agent.config import Config
    from research_agent.ending import Result
    from research_agent.runs import Run

UsageError: Any = typer.BadParameter.__bases__[0]  # click's, which newer typers carry within themselves
STOPPED = (
    "stopped at once; a run that had begun keeps what was finished: `research-agent list` names it, and `research-agent resume ID` goes on"
)
COMPLETE, FAILED, BAD_CONFIG, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="research-agent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: rich alone takes a tenth of a second
)
memory_app = typer.Typer(help="What a run remembers.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(memory_app, name="memory")

Out = Annotated[Path, typer.Option("--out", help="The folder that runs are kept in.")]
Name = Annotated[str, typer.Argument(metavar="ID", help="A run's id, the beginning of it, or its folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on stdout, progress on stderr.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Changes a setting of the config.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="These sub-questions: YAML, JSON or a Markdown list.")]
ModelName = Annotated[str, typer.Option("--model", metavar="[PROVIDER:]NAME", help="Another model, for every role.")]
RUNS = Path("runs")


class Fault(Exception):
    """Ends the program: one line on stderr and an exit code."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"research-agent {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Investigates a question over many steps, and hands back a report whose claims can be traced to what it read."""


@app.command()
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


@app.command()
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
    _investigate(config_of(found, model=model, overrides=set_ or ()), as_json, str(found.folder), said)


def _answer(text: str | None, plan: Path | None) -> dict[str, Any] | None:
    if text is not None and plan is not None:
        raise Fault("--answer, --plan: not allowed together: one of them answers a plan that waits", BAD_CONFIG)
    if plan is not None:
        from research_agent.history.plan_file import read_plan

        return {"plan": read_plan(plan)}
    if text is None:
        return None
    if not text.strip():
        raise Fault("--answer: it is empty; 'yes', or what to change about the plan", BAD_CONFIG)
    return {"approve": True} if text.strip().lower() in ("y", "yes", "ok", "approve") else {"feedback": text}


@app.command()
def fork(
    id: Name,
    at: Annotated[int, typer.Option("--at", metavar="STEP", help="The step after which it goes another way; 0: before the first.")],
    out: Out = RUNS,
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

    found = runs.find(id, out)
    changes = Changes(plan=read_plan(plan) if plan else (), question=" ".join(question.split()))
    config = config_of(found, question=changes.question, model=model, overrides=set_ or ())
    made = asyncio.run(forked(found, at, config, changes))
    _investigate(config, as_json, str(made.folder), None)


@app.command()
def replay(id: Name, out: Out = RUNS, as_json: AsJson = False) -> None:
    """Run a run again from its own records, offline, and compare every prompt. Exit 1 at the first difference."""
    import asyncio

    from research_agent import runs
    from research_agent.history.replay import replay as replayed

    found = runs.find(id, out)
    told = asyncio.run(replayed(found))
    if as_json:
        _print_json({"id": found.id, "requests": told.recorded, "same": told.requests, "difference": told.difference})
    if told.difference:
        raise Fault(f"run {found.id} differs: {told.difference}", FAILED)
    if not as_json:
        typer.echo(f"replayed {found.id}: {told.requests} of {told.recorded} prompts are the same, byte for byte")


def _investigate(config: Config, as_json: bool, resumed: str | None, answer: dict[str, Any] | None) -> NoReturn:
    """Runs it with the terminal around it, asks for a waiting plan's approval, and exits with the outcome."""
    from research_agent.terminal import Terminal

    with Terminal(stderr=as_json) as terminal:
        terminal({"type": "start", "question": config.question, "model": config.model.name or config.model.provider})
        from research_agent.commands import investigate  # a second or two of libraries: the screen comes first

        result, interrupted = investigate(config, terminal, resumed, answer)
    if as_json:
        _print_json(_told(result))
    if result.status == "failed":
        raise Fault(f"the run failed: {result.reason}", FAILED)
    if result.status == "complete":
        raise typer.Exit(COMPLETE)
    raise Fault(f"incomplete: {result.reason}{_goes_on(result)}", INTERRUPTED if interrupted else INCOMPLETE)


def _goes_on(result: Result) -> str:
    from research_agent.memory.remedy import name_of
    from research_agent.terminal.lines import how_to_answer

    name = name_of(result.folder)
    if result.waiting:
        return f": {how_to_answer(name)}"
    return "" if "resume" in result.reason else f"; `research-agent resume {name}{_raised(result.reason)}` goes on"


def _raised(reason: str) -> str:
    """Of a limit that was reached, the option that sets what would do, or doubles it: with the same one there is nothing to go on with."""
    reached = re.match(r"the limit of (?:\$(?P<usd>[\d.]+)|(?P<number>[\d.]+) (?P<unit>steps|minutes)) was reached", reason)
    if not reached:
        return ""
    enough = re.search(r"limits\.usd=([\d.]+) pays for", reason)
    value = float(enough[1]) if enough else 2 * float(reached["usd"] or reached["number"])
    return f" --set limits.{reached['unit'] or 'usd'}={value:g}"


def _told(result: Result) -> dict[str, Any]:
    report = str(result.report) if result.report else None
    return {"id": result.id, "folder": str(result.folder), "status": result.status, "reason": result.reason, "report": report}


@app.command("list")
def list_(
    text: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]", help="Only runs whose question or id holds these words.")] = None,
    out: Out = RUNS,
    status: Annotated[str, typer.Option("--status", help="Only runs that are complete, incomplete, failed, running, waiting, ...")] = "",
    as_json: AsJson = False,
) -> None:
    """The runs there are: status, age, steps, cost, question."""
    from research_agent.history.listing import STATUSES, rows
    from research_agent.terminal.runs import listed

    if status and status not in STATUSES:
        raise Fault(f"--status {status}: not allowed: {', '.join(STATUSES)}", BAD_CONFIG)
    found = rows(out, text=" ".join(text or ()), status=status)
    if as_json:
        _print_json([row.as_json() for row in found])
        return
    if not found:
        typer.echo(f"no runs in {out}" + (" that match" if text or status else ""))
    else:
        typer.echo("\n".join(listed(found)))


@app.command()
def show(
    id: Name,
    out: Out = RUNS,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="One step, as it stood; 0: the planning.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Its plan, as YAML that --plan FILE takes.")] = False,
    as_json: AsJson = False,
) -> None:
    """A run: its plan, what it cost, how it stands; or one step of it, as it stood."""
    from research_agent import runs

    found = runs.find(id, out)
    if step is not None:
        _show_step(found, step, as_json)
    elif plan:
        from research_agent.history.plan_file import write_plan

        items = found.read().get("sub_questions") or []
        if not items:
            raise Fault(f"run {found.id} has no plan yet", FAILED)
        _print_json(items) if as_json else typer.echo(write_plan(found.name, items), nl=False)
    else:
        record = {**found.read(), "status": found.status(), "folder": str(found.folder)}
        if record["status"] in ("running", "interrupted"):
            from research_agent.history.progress import progress

            record |= progress(found)
        if as_json:
            _print_json(record)
            return
        from research_agent.terminal import show_record

        show_record(record)


def _show_step(found: Run, step: int, as_json: bool) -> None:
    import asyncio

    from research_agent.history.at_step import at_step
    from research_agent.terminal.steps import step_lines

    told = asyncio.run(at_step(found, step))
    _print_json(told) if as_json else typer.echo("\n".join(step_lines(told)))


@app.command()
def report(
    id: Name,
    out: Out = RUNS,
    format: Annotated[str, typer.Option("--format", "-f", help="md or html.")] = "md",
    model: Annotated[str, typer.Option("--model", metavar="[PROVIDER:]NAME", help="Writes it anew with this model.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Writes it anew with this changed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's report; or have it written anew on what was found, by another model (the earlier one is kept)."""
    from research_agent import runs

    found = runs.find(id, out)
    if format not in ("md", "html"):
        raise Fault(f"--format {format}: not allowed: md or html", BAD_CONFIG)
    told = _rewritten(found, model, set_ or (), as_json) if model or set_ else None
    path = found.folder / f"report.{format}"
    if path.is_file():
        text = path.read_text("utf-8")
        if (status := found.status()) in ("running", "interrupted"):
            _said(f"run {found.id} is {status} since: this is the report that it had before")
    else:
        import asyncio

        from research_agent.history.rendering import rendered

        text = asyncio.run(rendered(found, format))
    _print_json({**(told or _recorded(found)), "text": text}) if as_json else typer.echo(text)


def _rewritten(found: Run, model: str, overrides: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Has the report written anew, and tells of it as it goes, beside the report. Ends the program where it was not."""
    from research_agent.history.settings import config_of
    from research_agent.terminal import Terminal

    config = config_of(found, model=model, role="writer", overrides=overrides)
    writer = config.model_for("writer")
    with Terminal(stderr=True) as terminal:
        terminal({"type": "start", "question": config.question, "model": writer.name or writer.provider})
        from research_agent.commands import investigate

        result, interrupted = investigate(config, terminal, str(found.folder), None, rewrite=True)
    if result.status == "failed":
        if as_json:
            _print_json(_told(result))
        raise Fault(result.reason, INTERRUPTED if interrupted else FAILED)
    return _told(result)


def _recorded(found: Run) -> dict[str, Any]:
    record = found.read()
    report = str(found.folder / record["report"]) if record.get("report") else None
    return {"id": found.id, "folder": str(found.folder), "status": found.status(), "reason": record.get("reason", ""), "report": report}


@app.command()
def forget(id: Name, out: Out = RUNS, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a run, whole: its folder, and what it put on servers. Refused while somebody works on it."""
    import asyncio

    from research_agent import runs
    from research_agent.history.listing import rows
    from research_agent.stores.forget import forget

    found = runs.find(id, out)
    if forks := [row.id for row in rows(found.folder.parent) if row.parent == found.id]:
        typer.echo(f"forked from it, and keeping what it had read by then: {', '.join(forks)}")
    if not yes:
        typer.confirm(f"Delete {found.folder} and everything in it?", abort=True)
    removed = asyncio.run(forget(found))
    typer.echo(f"forgot {found.id}: removed {'; '.join(map(str, removed))}")


@memory_app.command("search")
def memory_search(
    id: Name,
    query: Annotated[str, typer.Argument(help="What to look for, or a handle such as S1203.")],
    out: Out = RUNS,
    tokens: Annotated[int, typer.Option("--tokens", min=50, help="How much to bring back.")] = 1500,
) -> None:
    """What a run remembers about something. It may be running meanwhile: nothing of it is written."""
    import asyncio

    from research_agent.memory_commands import search

    for line in asyncio.run(search(id, out, query, tokens, say=_said)):
        typer.echo(line)


@memory_app.command("rebuild")
def memory_rebuild(
    id: Name,
    out: Out = RUNS,
    embedder: Annotated[str, typer.Option("--embedder", help="By this embedder from now on, as memory.embedder names it.")] = "",
) -> None:
    """Make a run's index anew from its ledger."""
    import asyncio

    from research_agent.memory_commands import rebuild

    typer.echo(asyncio.run(rebuild(id, out, embedder)))


@memory_app.command("export")
def memory_export(
    id: Name, file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines; replaced if it is there.")], out: Out = RUNS
) -> None:
    """Write all that a run remembers into one file, as redacted as it is kept."""
    import asyncio

    from research_agent.memory_commands import export

    typer.echo(asyncio.run(export(id, out, file)))


@memory_app.command("import")
def memory_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `memory export` wrote.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="A new folder, or one this file was imported into before.")],
    embedder: Annotated[str, typer.Option("--embedder", help="Makes its vectors, as memory.embedder names it.")] = "auto",
) -> None:
    """Make a folder of an exported memory, to search or to name in another run's memory.also."""
    import asyncio

    from research_agent.memory_commands import import_

    typer.echo(asyncio.run(import_(file, into, embedder, say=_said)))


def _said(text: str) -> None:
    typer.echo(f"research-agent: {text}", err=True)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A model or a provider: all that is known of it.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/models.md has it, with sources.")] = False,
    verified: Annotated[bool, typer.Option("--verified", help="As README.md has it: what each was tried against.")] = False,
) -> None:
    """The models that are known: windows, prices, and what each was tried against."""
    from research_agent.models import catalog
    from research_agent.terminal import tables

    if name is not None:
        found = catalog.named(name)
        if not found:
            _said(f"no model or provider {name!r} is known; it can be used all the same, with cautious values: model.like, model.wire")
            raise typer.Exit(2)
        typer.echo("\n".join(map(tables.whole, found)), nl=False)
        return
    typer.echo(tables.models_markdown(brief=verified) if markdown or verified else tables.models(), nl=False)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Also checks what this config names.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Asks no host and no search engine.")] = False,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything a run needs is there and works. With a hosted model it costs two short calls, told before."""
    import asyncio

    from research_agent.doctor.machine import diagnose
    from research_agent.doctor.row import Row
    from research_agent.terminal import tables

    rows: list[Row] = []
    show = rows.append if as_json else lambda row: typer.echo(tables.check(row))
    works = asyncio.run(
        diagnose(config, set_ or (), offline=offline, on_row=show, say=lambda text: typer.echo(f"doctor: {text}", err=True))
    )
    if as_json:
        keys = ("check", "state", "found", "remedy")
        _print_json({"works": works, "rows": [{key: getattr(row, key) for key in keys} for row in rows]})
    raise typer.Exit(COMPLETE if works else FAILED)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def main() -> None:
    """The console script. Every known fault is one line and a code."""
    # A start makes some 300,000 objects that stay: looking through them after every 700 is a twentieth of it.
    gc.set_threshold(50_000, 20, 20)
    try:
        code = app(standalone_mode=False)
    except typer.Exit as end:
        code = end.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        fault = _code(error)
        if fault is None:
            raise
        typer.echo(_line(error), err=True)
        sys.exit(fault)
    if code == INTERRUPTED:  # newer typers make a code of Ctrl-C themselves
        typer.echo(f"research-agent: {STOPPED}", err=True)
    sys.exit(code if isinstance(code, int) else COMPLETE)  # newer clicks return an exit's code, older ones raise it


def _line(error: Exception) -> str:
    """One line; but a command that was given nothing to do answers with its help, as it is."""
    if isinstance(error, typer.Abort):
        return f"research-agent: {STOPPED if isinstance(error.__cause__, KeyboardInterrupt) else 'nothing was done'}"
    text = error.format_message() if isinstance(error, UsageError) else str(error)
    return text if text.lstrip().startswith("Usage:") else f"research-agent: {' '.join(text.split())}"


def _code(error: Exception) -> int | None:
    if isinstance(error, Fault):
        return error.code
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return BAD_CONFIG
    names = {"ConfigError": BAD_CONFIG, "PlanError": BAD_CONFIG, "NoSuchStep": BAD_CONFIG, "RunError": FAILED, "ArchiveError": FAILED}
    return next((names[base.__name__] for base in type(error).__mro__ if base.__name__ in names), None)


if __name__ == "__main__":
    main()
