"""The commands that tell of models and of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research_agent.commands.options import COMPLETE, FAILED, AsJson, Set, print_json, tell


def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A model or a provider: all that is known of it.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/models.md has it, with sources.")] = False,
    verified: Annotated[bool, typer.Option("--verified", help="As README.md has it: what each was tried against.")] = False,
) -> None:
    """The models that are known. Their windows, prices, and what each was tried against."""
    from research_agent.models import catalog
    from research_agent.terminal import tables

    if name is not None:
        found = catalog.named(name)
        if not found:
            tell(f"no model or provider {name!r} is known; it can be used all the same, with cautious values: model.like, model.wire")
            raise typer.Exit(2)
        typer.echo("\n".join(map(tables.whole, found)), nl=False)
        return
    typer.echo(tables.models_markdown(brief=verified) if markdown or verified else tables.models(), nl=False)


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
        print_json({"works": works, "rows": [{key: getattr(row, key) for key in keys} for row in rows]})
    raise typer.Exit(COMPLETE if works else FAILED)
