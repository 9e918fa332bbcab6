"""The commands of a run's memory. What they do is in remembering.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from research_agent.commands.options import RUNS, Name, Out, tell


def search(
    id: Name,
    query: Annotated[str, typer.Argument(help="What to look for, or a handle such as S1203.")],
    out: Out = RUNS,
    tokens: Annotated[int, typer.Option("--tokens", min=50, help="How much to bring back.")] = 1500,
) -> None:
    """What a run remembers about something. It may be running meanwhile: nothing of it is written."""
    import asyncio

    from research_agent.commands import remembering

    for line in asyncio.run(remembering.search(id, out, query, tokens, say=tell)):
        typer.echo(line)


def rebuild(
    id: Name,
    out: Out = RUNS,
    embedder: Annotated[str, typer.Option("--embedder", help="By this embedder from now on, as memory.embedder names it.")] = "",
) -> None:
    """Make a run's index anew from its ledger."""
    import asyncio

    from research_agent.commands import remembering

    typer.echo(asyncio.run(remembering.rebuild(id, out, embedder)))


def export(
    id: Name, file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines; replaced if it is there.")], out: Out = RUNS
) -> None:
    """Write all that a run remembers into one file. It is as redacted as what is kept."""
    import asyncio

    from research_agent.commands import remembering

    typer.echo(asyncio.run(remembering.export(id, out, file)))


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `memory export` wrote.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="A new folder, or one this file was imported into before.")],
    embedder: Annotated[str, typer.Option("--embedder", help="Makes its vectors, as memory.embedder names it.")] = "auto",
) -> None:
    """Make a folder of an exported memory. It can be searched, and named in another run's memory.also."""
    import asyncio

    from research_agent.commands import remembering

    typer.echo(asyncio.run(remembering.import_(file, into, embedder, say=tell)))
