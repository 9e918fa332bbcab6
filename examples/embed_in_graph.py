"""The investigation as one node of your own LangGraph graph; its question about the plan passes through to whoever runs yours.

    python examples/embed_in_graph.py

No key and no network: the extractive model, over the documents beside this file. Any config does.
"""

import asyncio
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from research_agent import Agent, build_research_graph
from research_agent.graphs.ports import Context

CONFIG = Path(__file__).with_name("quickstart.yaml")


class Ticket(TypedDict, total=False):
    """The state of your application. What it names as the investigation does is shared: `usage` and `step` are what it cost.

    The report in the run's folder is made of `plan`, `report` and `stopped` (why it ended before its plan did).
    """

    text: str
    question: str
    plan: list[dict[str, str]]
    report: dict[str, object]
    stopped: str
    usage: dict[str, float]
    step: int


def understand(state: Ticket) -> Ticket:
    return {"question": state["text"].removeprefix("Please find out: ")}


def build() -> StateGraph[Ticket, Context, Ticket, Ticket]:
    graph = StateGraph(Ticket, context_schema=Context)
    graph.add_node("understand", understand)
    graph.add_node("research", build_research_graph())  # inherits your checkpointer, and your context
    graph.add_edge(START, "understand")
    graph.add_edge("understand", "research")
    graph.add_edge("research", END)
    return graph


async def main(out: str) -> tuple[str, str]:
    """Your application's reply, and the report that the run's folder, in `out`, holds."""
    settings = ["approve_plan=true", "memory.embedder=none"]
    agent = Agent.from_config(CONFIG, out=out, overrides=settings)
    ticket: Ticket = {"text": "Please find out: Is it safe when two processes write vectors to one Chroma folder?"}
    app = build().compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "ticket-1"}}

    async with agent.embedded("Is it safe when two processes write vectors to one Chroma folder?") as research:
        state = await app.ainvoke(ticket, thread, context=research.context)
        plan = state["__interrupt__"][0].value["plan"]
        print("the investigation asks about its plan:", "; ".join(item["question"] for item in plan))
        state = await app.ainvoke(Command(resume={"approve": True}), thread, context=research.context)
        result = research.finish(state)  # the report in the run's folder; until then the text cites by handle ([S143])

    reply = f"Dear customer, {result.answer}"
    print(reply)
    print("the report:", result.report)
    return reply, str(result.report)


if __name__ == "__main__":
    asyncio.run(main("runs"))
