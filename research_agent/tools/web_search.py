"""`web_search`: results, nothing, or a failure, told apart."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.search.health import Providers


class WebSearchArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description="What to look for: the few words a relevant page would contain.")
    max_results: int = Field(default=5, ge=1, le=20, description="How many results at most.")
    fresh: bool = Field(default=False, description="Run this call again, although it was made before with the same arguments.")


def web_search_tool(providers: Providers) -> BaseTool:
    """Fails only if every provider failed: that is never told as finding nothing."""

    async def web_search(query: str, max_results: int = 5, fresh: bool = False) -> tuple[str, Observation]:
        found = await providers.search(query, limit=max_results)
        if found.documents:
            return _results(found.documents, found.failed)
        if not found.silent:
            raise ToolException(f"the search failed: {'; '.join(found.failed) or 'no search provider is set up'}")
        return _nothing(query, found.silent, found.failed)

    return StructuredTool.from_function(
        coroutine=web_search,
        name="web_search",
        description="Search for pages. Each result has a title, an address and the matching passage; read the promising ones with scrape.",
        args_schema=WebSearchArgs,
        response_format="content_and_artifact",
    )


def _results(documents: Sequence[Document], failed: Sequence[str]) -> tuple[str, Observation]:
    blocks = render(Shown(handle="", title=document.title, url=document.url, text=document.text) for document in documents)
    count = f"{len(documents)} result{'s' if len(documents) > 1 else ''}"
    return blocks, Observation(documents=tuple(documents), summary=f"{count}{_but(failed)}")


def _nothing(query: str, silent: Sequence[str], failed: Sequence[str]) -> tuple[str, Observation]:
    said = f"No results for {query!r} ({', '.join(silent)}){_but(failed)}. Try other or fewer words."
    return said, Observation(summary=f"no results{_but(failed)}")


def _but(failed: Sequence[str]) -> str:
    return f"; failed: {'; '.join(failed)}" if failed else ""
