"""A run's report, from what is stored of it: as it ends, and later in a format that its config did not ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research_agent.assets.keep import Assets
from research_agent.config import Config
from research_agent.graphs.state import ResearchState
from research_agent.graphs.write import standing
from research_agent.history.settings import config_of
from research_agent.history.steps import read_only, values_of
from research_agent.memory import Archive, content_hash
from research_agent.reasons import for_reader, not_overcome, told_to_reader
from research_agent.report import Found, Investigation, Report, build
from research_agent.runs import Run, RunError, now


def texts(report: Report) -> dict[str, str]:
    """By format."""
    return {"md": report.markdown, "html": report.html}


def written_by(draft: Mapping[str, Any] | None, record: Mapping[str, Any], config: Config, *, at: str) -> dict[str, Any]:
    """What a report tells of its writing, as the record keeps it: by whom, in how many words at most, and when.

    The text itself says by whom. One that was reported before is reported as it was, whatever config a later session has.
    """
    before: dict[str, Any] = record.get("written") or {}
    text = content_hash(json.dumps(draft, sort_keys=True)) if draft else ""
    if draft and before.get("text") == text:
        return before
    writer = config.model_for("writer")
    by = {"model": writer.name, "extractive": writer.provider == "extractive", "max_words": config.report.max_words}
    own = (draft.get("by") or before) if draft else {}  # `before`: of a text by a version that did not say it in the text
    return {**by, **own, "finished_at": at, "text": text}


def investigation(
    run: Run,
    written: Mapping[str, Any],
    state: ResearchState,
    archive: Archive,
    *,
    draft: dict[str, Any] | None,
    reason: str,
) -> Investigation:
    """What its report is made of. `written`: as `written_by` gave it; `reason`: why it is not complete, empty if it is."""
    assets = Assets(run.folder)
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
        failures=told_to_reader(not_overcome(state.get("failures", []), state.get("stopped", ""), written=bool(draft))),
        model=written["model"],
        extractive=written["extractive"],
        max_words=written["max_words"],
        finished_at=written["finished_at"],
        folder=str(Path.cwd()),  # the folder search names files from here
    )


async def rendered(run: Run, format: str) -> str:
    """The report that the run has, in this format; or of what it has noted by now. Nothing of the run is written.

    Raises RunError where there is nothing to report.
    """
    record, status = run.read(), run.status()
    none = f"run {run.id} has no report; {status}: {record.get('reason') or 'nothing was noted for one'}"
    async with read_only(run) as history:
        if not history:
            raise RunError(none if not record.get("report") else f"run {run.id} has no checkpoints: its report cannot be made again")
        state = values_of(history[-1])
    archive = Archive.open(run.folder, run=run.id, read_only=True)
    try:
        findings = len(archive.find(kind="finding"))
        if not record.get("report") and not findings:
            raise RunError(none)
        written = record["status"] == "complete" or state.get("stopped")  # else it went on since its draft was
        draft = (state.get("report") if written else standing(state, findings)) or None
        draft = draft if record.get("report") else None
        reason = for_reader(record["reason"]) or (
            "" if status == "complete" else f"the run is {status}: this is what it had noted by {now()}"
        )
        by = written_by(draft, record, config_of(run), at=record["updated"])
        made = investigation(run, by, state, archive, draft=draft, reason=reason)
        return texts(build(made))[format]
    finally:
        await archive.close()
