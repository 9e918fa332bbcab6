"""The command line. Exit: 0 complete, 1 failed, 2 bad config, 3 incomplete, 130 interrupted.

Heavy imports stand inside the commands: `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from research_agent import __version__

if TYPE_CHECKING:
    from research_agent.config import Config
    from research_agent.session import Result

UsageError: Any = typer.BadParameter.__bases__[0]  # click's, which newer typers carry within themselves
STOPPED = "stopped at once; what was finished is kept: `research-agent list` names the run, and `resume ID` goes on"
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
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run where it was."""
    from research_agent import runs
    from research_agent.config import Config

    found = runs.find(id, out)
    if any(override.partition("=")[0].strip() in ("question", "out") for override in set_ or ()):
        raise Fault("--set question, out: not allowed: a run keeps its question and its folder; start another one", BAD_CONFIG)
    record = found.read()
    mapping = {**record.get("config", {}), "question": record["question"], "out": str(found.folder.parent)}
    config = Config.from_mapping(mapping, base=Path.cwd(), overrides=set_ or ())
    _investigate(config, as_json, str(found.folder), _answer(answer))


def _answer(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    return {"approve": True} if text.strip().lower() in ("y", "yes", "ok", "approve") else {"feedback": text}


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
    answer_it = " --answer yes" if result.waiting else ""
    goes_on = "" if "resume" in result.reason else f"; research-agent resume {result.id}{answer_it} goes on"
    raise Fault(f"incomplete: {result.reason}{goes_on}", INTERRUPTED if interrupted else INCOMPLETE)


def _told(result: Result) -> dict[str, Any]:
    report = str(result.report) if result.report else None
    return {"id": result.id, "folder": str(result.folder), "status": result.status, "reason": result.reason, "report": report}


@app.command("list")
def list_(out: Out = RUNS, as_json: AsJson = False) -> None:
    """The runs there are."""
    from research_agent import runs

    rows = [{**run.read(), "status": run.status(), "folder": str(run.folder)} for run in runs.runs(out)]
    if as_json:
        keys = ("id", "folder", "status", "reason", "question", "created", "steps", "usd")
        _print_json([{key: row.get(key) for key in keys} for row in rows])
        return
    if not rows:
        typer.echo(f"no runs in {out}")
    for row in rows:
        typer.echo(f"{row['id']}  {row['status']:<11}  {row.get('steps', 0):>4} steps  ${row.get('usd', 0):.2f}  {row['question']}")


@app.command()
def show(id: Name, out: Out = RUNS, as_json: AsJson = False) -> None:
    """A run: its plan, what it cost, how it stands."""
    from research_agent import runs

    found = runs.find(id, out)
    record = {**found.read(), "status": found.status(), "folder": str(found.folder)}
    if as_json:
        _print_json(record)
        return
    from research_agent.terminal import show_record

    show_record(record)


@app.command()
def report(
    id: Name,
    out: Out = RUNS,
    format: Annotated[str, typer.Option("--format", "-f", help="md or html.")] = "md",
) -> None:
    """Print a run's report."""
    from research_agent import runs

    found = runs.find(id, out)
    if format not in ("md", "html"):
        raise Fault(f"--format {format}: not allowed: md or html", BAD_CONFIG)
    path = found.folder / f"report.{format}"
    if not path.is_file():
        raise Fault(f"run {found.id} has no report.{format}; {found.status()}: {found.read().get('reason') or 'no reason given'}", FAILED)
    typer.echo(path.read_text("utf-8"))


@app.command()
def forget(id: Name, out: Out = RUNS, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a run, whole: its folder, and what it put on servers."""
    import asyncio

    from research_agent import runs

    found = runs.find(id, out)
    if not yes:
        typer.confirm(f"Delete {found.folder} and everything in it?", abort=True)
    from research_agent.stores.forget import forget

    removed = asyncio.run(forget(found))
    typer.echo(f"forgot {found.id}: removed {'; '.join(map(str, removed))}")


@memory_app.command("search")
def memory_search(
    id: Name,
    query: Annotated[str, typer.Argument(help="What to look for, or a handle such as S1203.")],
    out: Out = RUNS,
    tokens: Annotated[int, typer.Option("--tokens", min=50, help="How much to bring back.")] = 1500,
) -> None:
    """What a run remembers about something."""
    import asyncio

    from research_agent.commands import recall

    for line in asyncio.run(recall(id, out, query, tokens)):
        typer.echo(line)


@memory_app.command("rebuild")
def memory_rebuild(id: Name, out: Out = RUNS) -> None:
    """Make a run's index anew from its ledger."""
    import asyncio

    from research_agent.commands import rebuild

    typer.echo(asyncio.run(rebuild(id, out)))


@app.command()
def models(
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/models.md has it, with sources.")] = False,
) -> None:
    """The models that are known: windows, prices, and what each was tried against."""
    from research_agent.terminal import tables

    typer.echo(tables.models_markdown() if markdown else tables.models(), nl=False)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Also checks what this config names.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Asks no host and no search engine.")] = False,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything a run needs is there and works. With a hosted model it costs two short calls, told before."""
    import asyncio

    from research_agent.doctor.machine import Row, diagnose
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
    try:
        code = app(standalone_mode=False)
    except typer.Exit as end:
        code = end.exit_code
    except KeyboardInterrupt:
        typer.echo(f"research-agent: {STOPPED}", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        fault = _code(error)
        if fault is None:
            raise
        typer.echo(_line(error), err=True)
        sys.exit(fault)
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
    names = {"ConfigError": BAD_CONFIG, "RunError": FAILED, "ArchiveError": FAILED}
    return next((names[base.__name__] for base in type(error).__mro__ if base.__name__ in names), None)


if __name__ == "__main__":
    main()
