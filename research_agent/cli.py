"""The command line. Exit: 0 complete, 1 failed, 2 bad config, 3 incomplete, 130 interrupted.

A command is a function in one of the modules of `commands`, and a line in COMMANDS. Heavy imports stand inside the functions, for `--help`
answers at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from research_agent import __version__
from research_agent.commands import about, investigate, look, memory
from research_agent.commands.options import BAD_CONFIG, COMPLETE, FAILED, INTERRUPTED, Fault
from research_agent.visible import one_line

UsageError: Any = typer.BadParameter.__bases__[0]  # click's, which newer typers carry within themselves
STOPPED = "stopped at once"

COMMANDS: dict[str, Callable[..., None]] = {
    "run": investigate.run,
    "resume": investigate.resume,
    "fork": investigate.fork,
    "list": look.list_,
    "show": look.show,
    "report": look.report,
    "replay": look.replay,
    "forget": look.forget,
    "models": about.models,
    "doctor": about.doctor,
}
MEMORY_COMMANDS: dict[str, Callable[..., None]] = {
    "search": memory.search,
    "rebuild": memory.rebuild,
    "export": memory.export,
    "import": memory.import_,
}

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
for name, command in COMMANDS.items():
    app.command(name)(command)
for name, command in MEMORY_COMMANDS.items():
    memory_app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"research-agent {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Investigates a question over many steps, and hands back a report whose claims can be traced to what it read."""


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
    return text if text.lstrip().startswith("Usage:") else f"research-agent: {one_line(text)}"  # others' words may be in it


def _code(error: Exception) -> int | None:
    if isinstance(error, Fault):
        return error.code
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return BAD_CONFIG
    bad = dict.fromkeys(("ConfigError", "PlanError", "NoSuchStep", "NotAName"), BAD_CONFIG)
    names = {**bad, "RunError": FAILED, "ArchiveError": FAILED}
    return next((names[base.__name__] for base in type(error).__mro__ if base.__name__ in names), None)


if __name__ == "__main__":
    main()
