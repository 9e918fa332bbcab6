"""The local web of the long run, as tools: what our own `web_search` and `scrape` would say of these pages, without a fetch."""

from __future__ import annotations

from langchain_core.tools import BaseTool, StructuredTool
from long_run_world import World

from research_agent.graphs.observation import Shown, render
from research_agent.graphs.ports import Document, Observation
from research_agent.tools.scrape import ScrapeArgs
from research_agent.tools.web_search import WebSearchArgs


def search_of(world: World, query: str) -> tuple[str, Observation]:
    pages = world.results.get(query, [])
    if not pages:
        return f"No results for {query!r}. Try other or fewer words.", Observation(summary="no results")
    text = render(Shown(handle="", title=page.title, url=page.url, text=page.text) for page in pages)
    documents = tuple(Document(text=page.text, url=page.url, title=page.title) for page in pages)
    return text, Observation(documents=documents, summary=f"{len(pages)} results")


def page_of(world: World, url: str) -> tuple[str, Observation]:
    page = world.pages[url]
    document = Document(text=page.text, url=url, title=page.title)
    text = render([Shown(handle="", title=page.title, url=url, text=page.text)])
    return text, Observation(documents=(document,), summary=f"{len(page.text.split()):,} words")


def tools_for(world: World) -> tuple[BaseTool, BaseTool]:
    async def web_search(query: str, max_results: int = 5, fresh: bool = False) -> tuple[str, Observation]:
        return search_of(world, query)

    async def scrape(url: str, fresh: bool = False) -> tuple[str, Observation]:
        return page_of(world, url)

    search = "Search for pages. Each result has a title, an address and the matching passage; read the promising ones with scrape."
    read = "Read a web page, a PDF or a file as text. Use it on the search results worth reading whole."
    kind = "content_and_artifact"
    return (
        StructuredTool.from_function(
            coroutine=web_search, name="web_search", description=search, args_schema=WebSearchArgs, response_format=kind
        ),
        StructuredTool.from_function(coroutine=scrape, name="scrape", description=read, args_schema=ScrapeArgs, response_format=kind),
    )


def plain_tools_for(world: World) -> list[BaseTool]:
    """The same for those who know no Observation: their texts only."""

    async def web_search(query: str, max_results: int = 5, fresh: bool = False) -> str:
        return search_of(world, query)[0]

    async def scrape(url: str, fresh: bool = False) -> str:
        return page_of(world, url)[0]

    async def note(claim: str, quote: str, source: str) -> str:
        return f"Noted, from {source}: {quote}"

    search, read = tools_for(world)
    return [
        StructuredTool.from_function(
            coroutine=web_search, name="web_search", description=search.description, args_schema=search.args_schema
        ),
        StructuredTool.from_function(coroutine=scrape, name="scrape", description=read.description, args_schema=read.args_schema),
        StructuredTool.from_function(coroutine=note, name="note", description="Keep a piece of evidence for the report."),
    ]
