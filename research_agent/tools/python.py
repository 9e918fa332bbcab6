"""`python`: a place to compute, in a sandbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.sandbox.bubblewrap import Limits, Ran, SandboxFailed
from research_agent.sandbox.bubblewrap import run as sandboxed
from research_agent.web.net import utc_now


class PythonArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1, description="A whole Python script. Print what you want to see. Files in the working directory stay.")


Run = Callable[[str, Path, Limits | None], Awaitable[Ran]]
"""Code, its working directory and limits. Raises SandboxFailed."""


def python_tool(folder: Path, *, limits: Limits | None = None, run: Run = sandboxed) -> BaseTool:
    """Runs code with `folder` as its working directory. Ask `sandbox.available` first."""

    async def python(code: str) -> tuple[str, Observation]:
        try:
            ran = await run(code, folder, limits)
        except SandboxFailed as error:
            raise ToolException(str(error)) from error
        text = _told(ran)
        document = Document(text=text, title="output of a Python script", retrieved_at=utc_now())
        summary = f"exit {ran.status}, {ran.seconds:.1f} s" + (f"; stopped: {ran.stopped}" if ran.stopped else "")
        return render([Shown(handle="", title=document.title, text=text)]), Observation(documents=(document,), summary=summary)

    return StructuredTool.from_function(
        coroutine=python,
        name="python",
        description=(
            f"Compute with Python: sums, dates, statistics, tables, plots. A fresh interpreter{' without network' * (run is sandboxed)} "
            "each time; only files in the working directory stay from call to call."
        ),
        args_schema=PythonArgs,
        response_format="content_and_artifact",
    )


def _told(ran: Ran) -> str:
    parts = [ran.stdout.rstrip()]
    if ran.stderr.strip():
        parts.append(f"stderr:\n{ran.stderr.rstrip()}")
    if ran.stopped:
        parts.append(f"Stopped: {ran.stopped}.")
    if ran.files:
        more = f" and {len(ran.files) - 20} more" if len(ran.files) > 20 else ""
        parts.append(f"Files written: {', '.join(ran.files[:20])}{more}")
    parts.append(f"Exit status {ran.status}.")
    return "\n".join(part for part in parts if part)
