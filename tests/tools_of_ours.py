"""Every tool that a run may have."""

from __future__ import annotations

from pathlib import Path

from memory_double import Memory, read

from research_agent.graphs.ports import Document
from research_agent.search.health import Providers
from research_agent.tools.note import note_tool
from research_agent.tools.python import python_tool
from research_agent.tools.recall import recall_tool
from research_agent.tools.scrape import scrape_tool
from research_agent.tools.web_search import web_search_tool
from research_agent.web.net import Client
from research_agent.web.page_reader import PageReader

MEMORY = Memory(read(3, "the tide turns twice a day", url="https://a.org/"))


class Library:
    name = "library"
    at_once = 4

    async def search(self, query: str, *, limit: int) -> list[Document]:
        return [Document(text=f"about {query}", url="https://library.org/1", title="One")]


TOOLS = [
    scrape_tool(Client(), PageReader().read),
    web_search_tool(Providers([Library()])),
    python_tool(Path("unused")),
    recall_tool(MEMORY),
    note_tool(MEMORY),
]
