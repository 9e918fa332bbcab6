"""The wiring, and nothing else.

plan -> approve -> open -> investigate <-> act (one task a call)
                               |
                             review -> write
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from . import investigate, review
from .act import Task, act
from .approve import approve
from .plan import open_, plan
from .ports import Context
from .state import ResearchInput, ResearchState
from .write import write

ResearchGraph = CompiledStateGraph[ResearchState, Context, ResearchInput, ResearchState]

RECURSION_LIMIT = 10_000
"""Super-steps of one run; `limits` end it long before."""


def build_research_graph(*, checkpointer: BaseCheckpointSaver[Any] | None = None, name: str = "research") -> ResearchGraph:
    """The investigation as a LangGraph graph. Run it with `context=Context(...)`; as a subgraph it inherits the parent's checkpointer."""
    graph = StateGraph(ResearchState, context_schema=Context, input_schema=ResearchInput)
    graph.add_node("plan", plan)
    graph.add_node("approve", approve)
    graph.add_node("open", open_)
    graph.add_node("investigate", investigate.investigate)
    graph.add_node("act", act, input_schema=Task)
    graph.add_node("review", review.review)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "approve")
    graph.add_edge("open", "investigate")
    graph.add_conditional_edges("investigate", investigate.route, ["act", "investigate", "review", "write"])
    graph.add_edge("act", "investigate")
    graph.add_conditional_edges("review", review.route, ["investigate", "write"])
    graph.add_edge("write", END)
    return graph.compile(checkpointer=checkpointer, name=name).with_config(recursion_limit=RECURSION_LIMIT)
