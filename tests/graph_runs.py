"""The graph alone, with a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import StructuredTool

from research_agent.graphs.ports import Context, Document, Model, Observation
from research_agent.memory import Archive
from research_agent.testing.scripted import ScriptedModel

Reply = Callable[[list[BaseMessage]], AIMessage]


def calls(*wanted: tuple[str, dict[str, Any]], at: int = 0, thought: str = "Let me look.") -> AIMessage:
    return AIMessage(
        "",
        additional_kwargs={"reasoning_content": thought},
        tool_calls=[{"name": name, "args": args, "id": f"{name}:{at + n}"} for n, (name, args) in enumerate(wanted)],
    )


def model(investigate: Reply, *, sub_questions: list[str] | None = None, follow_ups: list[str] | None = None, **facts: Any) -> Model:
    reviews = iter([follow_ups or []])

    def script(messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        wanted = kwargs.get("response_format", {}).get("json_schema", {}).get("name")
        if wanted == "plan":
            return AIMessage(json.dumps({"brief": "A figure.", "sub_questions": sub_questions or ["What is the figure?"]}))
        if wanted == "review":
            return AIMessage(json.dumps({"verdict": "Enough.", "follow_ups": next(reviews, [])}))
        if wanted == "report":
            handles = [line.split('handle="')[1].split('"')[0] for line in str(messages[-1].content).splitlines() if "<finding " in line]
            cited = " ".join(f"[{handle}]" for handle in handles)
            return AIMessage(json.dumps({"answer": f"It is so {cited}", "sections": [{"sub_question": "1", "text": f"So {cited}"}]}))
        return investigate(messages)

    chat = ScriptedModel(script=script)
    return Model(chat=chat, name="scripted", **{"window_tokens": 32_000, "max_output_tokens": 4_000, **facts})


def tool(name: str, answer: Callable[..., Observation]) -> StructuredTool:
    async def run(query: str) -> tuple[str, Observation]:
        observation = answer(query)
        return observation.summary or "nothing found", observation

    return StructuredTool.from_function(coroutine=run, name=name, description=name, response_format="content_and_artifact")


def page(query: str) -> Observation:
    return Observation(documents=(Document(text=f"The figure for {query} is 42.", url=f"https://example.org/{query}", title=query),))


def context(archive: Archive, given: Model, *tools: StructuredTool, **fields: Any) -> Context:
    roles = dict.fromkeys(("planner", "investigator", "reviewer", "writer"), given)
    return Context(run="r", models=roles, tools=tools or (tool("web_search", page),), archive=archive, **fields)  # type: ignore[arg-type]


def prompts(given: Model) -> list[list[BaseMessage]]:
    assert isinstance(given.chat, ScriptedModel)
    return [sent for sent in given.chat.prompts if str(sent[0].content).startswith("You are a research agent")]
