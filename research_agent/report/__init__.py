"""An investigation's report: Markdown, HTML, its sources and findings, and the audit of its citations."""

from research_agent.report.compose import build
from research_agent.report.model import Checked, Found, Investigation, Report

__all__ = ["Checked", "Found", "Investigation", "Report", "build"]
