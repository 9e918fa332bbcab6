"""`python`: a place to compute, in a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.assets.before import Before
from research_agent.assets.keep import Asset, Assets, Kept
from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.sandbox.bubblewrap import SandboxFailed
from research_agent.sandbox.bubblewrap import run as sandboxed
from research_agent.sandbox.watch import Limits, Ran
from research_agent.web.net import utc_now


class PythonArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1, description="A whole Python script. Print what you want to see. Files in the working directory stay.")


Run = Callable[[str, Path, Limits | None], Awaitable[Ran]]
"""Code, its working directory and limits. Raises SandboxFailed."""


STEP = "step"
"""`config["configurable"]["step"]`: the call's number in the run."""
_PACKAGES = ("numpy", "pandas", "matplotlib", "scipy", "sympy")


def python_tool(
    workspace: Path,
    *,
    assets: Assets | None = None,
    before: Before | None = None,
    limits: Limits | None = None,
    run: Run = sandboxed,
) -> BaseTool:
    """Runs code with `workspace` as its working directory; what a report may show of its files goes to `assets`.

    With `before`, a call that was cut finds the files as they were when it runs again.

    One call at a time: they share the folder. Ask `sandbox.available` first.
    """
    turn = asyncio.Lock()

    async def python(code: str, config: RunnableConfig) -> tuple[str, Observation]:
        step = int(config.get("configurable", {}).get(STEP, 0))
        async with turn:
            try:
                if before:
                    await asyncio.to_thread(before.begin, step)
                ran = await run(code, workspace, limits)
            except SandboxFailed as error:
                raise ToolException(str(error)) from error
            kept = await asyncio.to_thread(assets.keep, workspace, ran.files, step=step) if assets else Kept((), ())
            if before:
                before.end()
        text = _told(ran, kept)
        document = Document(text=text, title="output of a Python script", retrieved_at=utc_now())
        made = f", {len(kept.assets)} kept" if kept.assets else ""
        summary = f"exit {ran.status}, {ran.seconds:.1f} s{made}" + (f"; stopped: {ran.stopped}" if ran.stopped else "")
        return render([Shown(handle="", title=document.title, text=text)]), Observation(documents=(document,), summary=summary)

    return StructuredTool.from_function(
        coroutine=python,
        name="python",
        description=_description(sandboxed=run is sandboxed),
        args_schema=PythonArgs,
        response_format="content_and_artifact",
    )


def _description(*, sandboxed: bool) -> str:
    found = [name for name in _PACKAGES if find_spec(name)]
    return (
        f"Compute with Python: sums, dates, statistics, tables, plots. A fresh interpreter{' without network' * sandboxed} each time: "
        "variables are gone after a call, files in the working directory stay to the end of the run. "
        f"Installed: {', '.join(found) or 'the standard library'}. Figures (PNG, JPEG) and tables (CSV, JSON, XLSX) written there are kept "
        "for the report."
    )


def _told(ran: Ran, kept: Kept) -> str:
    parts = [ran.stdout.rstrip()]
    if ran.stderr.strip():
        parts.append(f"stderr:\n{ran.stderr.rstrip()}")
    if ran.stopped:
        parts.append(f"Stopped: {ran.stopped}.")
    if ran.files:
        more = f" and {len(ran.files) - 20} more" if len(ran.files) > 20 else ""
        parts.append(f"Files written: {', '.join(ran.files[:20])}{more}")
    if kept.assets:
        parts.append(f"Kept for the report: {'; '.join(map(_named, kept.assets[:20]))}")
    if kept.refused:
        parts.append(f"Not kept for the report: {'; '.join(kept.refused[:10])}")
    parts.append(f"Exit status {ran.status}.")
    return "\n".join(part for part in parts if part)


def _named(asset: Asset) -> str:
    return f"{asset.path} (figure, {asset.width} x {asset.height})" if asset.is_figure else f"{asset.path} ({asset.bytes:,} bytes)"
