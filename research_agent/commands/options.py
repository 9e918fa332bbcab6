"""What the commands share: their options, their exit codes, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from research_agent.visible import one_line

if TYPE_CHECKING:
    from research_agent.ending import Result

COMPLETE, FAILED, BAD_CONFIG, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130

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


def tell(text: str) -> None:
    typer.echo(f"research-agent: {one_line(text)}", err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def result_json(result: Result) -> dict[str, Any]:
    report = str(result.report) if result.report else None
    return {"id": result.id, "folder": str(result.folder), "status": result.status, "reason": result.reason, "report": report}
