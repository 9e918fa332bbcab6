"""`recall`: what the run thought and read earlier, by topic or by handle. It is the graph's own (`graphs.recalling`)."""

from __future__ import annotations

from research_agent.graphs.recalling import recall_tool

__all__ = ["recall_tool"]
