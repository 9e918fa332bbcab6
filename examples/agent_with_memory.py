"""LangChain's `create_agent` with this project's memory: 60 tool calls through a window of 16,000 tokens, and nothing is lost.

    pip install '.[middleware]' && python examples/agent_with_memory.py

The model here is scripted, so that it runs without a key: put any chat model in its place.
"""

import tempfile

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool

from research_agent.graphs import TraceMemoryMiddleware
from research_agent.testing.scripted import ScriptedModel


@tool
def look_up(year: int) -> str:
    """What the chronicle says of a year."""
    return f"In {year} the mill at Orrin ground {year * 7 % 911} sacks. " + "Nothing else of note was written down that year. " * 150


def reply(messages: list[BaseMessage], kwargs: dict[str, object]) -> AIMessage:
    """Reads sixty years one after another, then asks its memory for the third."""
    read = [int(str(m.tool_call_id)) for m in messages if isinstance(m, ToolMessage)]
    year = max(read, default=1900) + 1
    if year <= 1960:
        return AIMessage(f"Let me see {year}.", tool_calls=[{"name": "look_up", "args": {"year": year}, "id": str(year)}])
    if year == 1961:
        return AIMessage("", tool_calls=[{"name": "recall", "args": {"query": "sacks ground at Orrin in 1903"}, "id": str(year)}])
    said = next(line for line in str(messages[-1].content).splitlines() if line.startswith("In 1903"))
    return AIMessage(said.partition(".")[0])


def main() -> str:
    with tempfile.TemporaryDirectory() as folder:
        memory = TraceMemoryMiddleware(folder, window_tokens=16_000, max_output_tokens=2_000)
        model = ScriptedModel(script=reply)
        agent = create_agent(model, [look_up], middleware=[memory])
        result = agent.invoke({"messages": [("user", "How many sacks did Orrin grind in 1903?")]}, {"recursion_limit": 500})
        memory.close()
    answer = str(result["messages"][-1].content)
    print(f"{len(model.prompts)} prompts, {len(result['messages'])} messages in the state at the end: {answer}")
    return answer


if __name__ == "__main__":
    main()
