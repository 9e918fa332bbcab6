"""A run's report, from what is stored of it: as it ends, and later in a format that its config did not ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research_agent.assets.keep import Assets
from research_agent.config import Config
from research_agent.graphs.state import ResearchState
from research_agent.history.steps import read_only, values_of
from research_agent.memory import Archive
from research_agent.report import Found, Investigation, Report, build
from research_agent.runs import Run, RunError


def texts(report: Report) -> dict[str, str]:
    """By format."""
    return {"md": report.markdown, "html": report.html}


def investigation(
    run: Run, config: Config, state: ResearchState, archive: Archive, *, draft: dict[str, Any] | None, reason: str, finished_at: str
) -> Investigation:
    """What its report is made of. `reason`: why it is not complete; empty if it is."""
    writer, assets = config.model_for("writer"), Assets(run.folder)
    findings = [
        Found(id=finding.id, claim=finding.text, quote=finding.quote, source=source, sub_question=finding.sub_question)
        for finding in archive.find(kind="finding")
        if (source := archive.get(finding.source))
    ]
    return Investigation(
        question=state["question"],
        plan=state["plan"],
        draft=draft,
        findings=findings,
        lookup=archive.get,
        assets=assets.listed(),
        data_of=assets.data,
        status="incomplete" if reason else "complete",
        reason=reason,
        failures=state.get("failures", []),
        model=writer.name,
        extractive=writer.provider == "extractive",
        max_words=config.report.max_words,
        folder=str(Path.cwd()),  # the folder search names files from here
        finished_at=finished_at,
    )


async def rendered(run: Run, format: str, config: Config) -> str:
    """The report that the run has, in this format. Nothing of the run is written. Raises RunError where it has none."""
    record = run.read()
    if not record.get("report"):
        raise RunError(f"run {run.id} has no report; {run.status()}: {record.get('reason') or 'no reason given'}")
    async with read_only(run) as history:
        if not history:
            raise RunError(f"run {run.id} has no checkpoints: its report cannot be made in another format")
        state = values_of(history[-1])
    archive = Archive.open(run.folder, run=run.id, read_only=True)
    try:
        stopped = record["status"] == "incomplete" and not state.get("stopped")  # by a person: a draft of earlier is not what was reported
        draft = None if stopped else state.get("report") or None
        return texts(
            build(investigation(run, config, state, archive, draft=draft, reason=record["reason"], finished_at=record["updated"]))
        )[format]
    finally:
        await archive.close()
