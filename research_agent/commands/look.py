"""The commands that look back: which runs there are, how one stands, its report, its replay, its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research_agent.commands.investigate import stopped
from research_agent.commands.options import BAD_CONFIG, FAILED, INTERRUPTED, RUNS, AsJson, Fault, Name, Out, print_json, result_json, tell

if TYPE_CHECKING:
    from research_agent.runs import Run


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
        print_json([row.as_json() for row in found])
        return
    if not found:
        gone = "" if out.is_dir() else ": there is no such folder"
        typer.echo(f"no runs in {out}" + (gone or (" that match" if text or status else "")))
    else:
        typer.echo("\n".join(listed(found)))


def show(
    id: Name,
    out: Out = RUNS,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="One step, as it stood; 0: the planning.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Its plan, as YAML that --plan FILE takes.")] = False,
    as_json: AsJson = False,
) -> None:
    """A run: its plan, its cost, how it stands; or one of its steps."""
    from research_agent import runs

    found = runs.find(id, out)
    if step is not None:
        _show_step(found, step, as_json)
    elif plan:
        from research_agent.history.plan_file import write_plan

        items = found.read().get("sub_questions") or []
        if not items:
            raise Fault(f"run {found.id} has no plan yet", FAILED)
        print_json(items) if as_json else typer.echo(write_plan(found.name, items), nl=False)
    else:
        record = {**found.read(), "status": found.status(), "folder": str(found.folder)}
        if record["status"] in ("running", "interrupted"):
            from research_agent.history.progress import progress

            record |= progress(found)
        record |= _damage(found, record["status"])
        if as_json:
            print_json(record)
            return
        from research_agent.terminal import show_record

        show_record(record)


def _damage(found: Run, status: str) -> dict[str, str]:
    """Of a run that cannot be gone on with as it is: that, and what is to be done first."""
    from research_agent.history.damaged import LEFT, in_the_way

    reason = in_the_way(found) if status in LEFT else ""
    return {"status": "damaged", "reason": reason} if reason else {}


def _show_step(found: Run, step: int, as_json: bool) -> None:
    import asyncio

    from research_agent.history.at_step import at_step
    from research_agent.terminal.steps import step_lines

    told = asyncio.run(at_step(found, step))
    print_json(told) if as_json else typer.echo("\n".join(step_lines(told)))


def report(
    id: Name,
    out: Out = RUNS,
    format: Annotated[str, typer.Option("--format", "-f", help="md or html.")] = "md",
    model: Annotated[str, typer.Option("--model", metavar="[PROVIDER:]NAME", help="Writes it anew with this model.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Writes it anew with this changed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's report, or have another model write it anew. It writes on what was found; the earlier report is kept."""
    from research_agent import runs

    found = runs.find(id, out)
    if format not in ("md", "html"):
        raise Fault(f"--format {format}: not allowed: md or html", BAD_CONFIG)
    told = _rewritten(found, model, set_ or (), as_json) if model or set_ else None
    path = found.folder / f"report.{format}"
    if path.is_file():
        text = path.read_text("utf-8")
        if (status := found.status()) in ("running", "interrupted"):
            tell(f"run {found.id} is {status} since: this is the report that it had before")
    else:
        import asyncio

        from research_agent.history.rendering import rendered

        text = asyncio.run(rendered(found, format))
    print_json({**(told or _recorded(found)), "text": text}) if as_json else typer.echo(text)


def _rewritten(found: Run, model: str, overrides: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Has the report written anew, and tells of it as it goes, beside the report. Ends the program where it was not."""
    from research_agent.history.settings import config_of
    from research_agent.terminal import Terminal

    config = config_of(found, model=model, role="writer", overrides=overrides)
    writer = config.model_for("writer")
    with Terminal(stderr=True) as terminal:
        terminal({"type": "start", "question": config.question, "model": writer.name or writer.provider})
        try:
            from research_agent.commands.working import investigate

            result, interrupted = investigate(config, terminal, str(found.folder), None, rewrite=True)
        except KeyboardInterrupt:
            raise stopped(terminal) from None
    if result.status == "failed":
        if as_json:
            print_json(result_json(result))
        raise Fault(result.reason, INTERRUPTED if interrupted else FAILED)
    return result_json(result)


def _recorded(found: Run) -> dict[str, Any]:
    record = found.read()
    report = str(found.folder / record["report"]) if record.get("report") else None
    return {"id": found.id, "folder": str(found.folder), "status": found.status(), "reason": record.get("reason", ""), "report": report}


def replay(id: Name, out: Out = RUNS, as_json: AsJson = False) -> None:
    """Run a run again from its own records, and compare every prompt. It needs no network; exit 1 at the first difference."""
    import asyncio

    from research_agent import runs
    from research_agent.history.replay import replay as replayed

    found = runs.find(id, out)
    told = asyncio.run(replayed(found))
    if as_json:
        print_json({"id": found.id, "requests": told.recorded, "same": told.requests, "difference": told.difference, "ends": told.ends})
    if told.difference:
        raise Fault(f"run {found.id} differs: {told.difference}", FAILED)
    if not as_json:
        ends = f"; the run is {told.ends}, and its records end there" if told.ends else ""
        typer.echo(f"replayed {found.id}: {told.requests} of {told.recorded} prompts are the same, byte for byte{ends}")


def forget(
    id: Name,
    out: Out = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    without_servers: Annotated[
        bool, typer.Option("--without-servers", help="Leave what a server holds that does not answer, and say what that is.")
    ] = False,
) -> None:
    """Delete a run, whole: its folder, and what it put on servers. Refused while somebody works on it."""
    import asyncio

    from research_agent import runs
    from research_agent.history.listing import rows
    from research_agent.stores.forget import forget

    found = runs.find(id, out)
    if forks := [row.id for row in rows(found.folder.parent) if row.parent == found.id]:
        typer.echo(f"forked from it, and keeping what it had read by then: {', '.join(forks)}")
    if not yes:
        _agreed(found)
    removed = asyncio.run(forget(found, without_servers=without_servers))
    typer.echo(f"forgot {found.id}: removed {'; '.join(map(str, removed))}")
    for item in removed:
        if item.still:
            typer.echo(f"{item}: {item.still}")


def _agreed(found: Run) -> None:
    """Ends the program where nobody says yes."""
    import sys

    try:
        typer.confirm(f"Delete {found.folder} and everything in it?", abort=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        typer.echo()
        raise Fault(f"nothing was done, for nobody said yes: `research-agent forget -y {found.name}` does not ask", INTERRUPTED) from None
