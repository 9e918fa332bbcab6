"""Tools of MCP servers, by config. What they return is text from outside like any other: archived whole, labelled, clipped when shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import SecretStr

from research_agent.graphs.observation import Shown, defuse, render
from research_agent.graphs.ports import Document, Observation
from research_agent.visible import one_line
from research_agent.web.net import utc_now

if TYPE_CHECKING:
    from langchain_mcp_adapters.sessions import Connection

START_S = 20.0
"""What a server may take to start and to name its tools."""
END_S = 3.0
CALL_S = 120.0
"""What a call may take."""
CONTENT_CHARS = 40_000
MAX_CHARS = 2_000_000
"""Of one answer, what is archived."""
MAX_DESCRIPTION_CHARS = 1_000
MAX_NAME_CHARS = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server: a command that speaks over its pipes, or an address."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, SecretStr] = field(default_factory=dict)
    """All it gets of our environment, besides PATH and the like."""
    url: str = ""
    key: SecretStr | None = None
    tools: tuple[str, ...] = ()
    """Only these; empty: all."""


@asynccontextmanager
async def mcp_tools(servers: tuple[Server, ...], taken: frozenset[str], warn: Callable[[str], None]) -> AsyncIterator[tuple[BaseTool, ...]]:
    """Their tools, each named `server_tool`. A server that cannot be reached is told of, and left out. `taken`: names not to be used."""
    try:
        import langchain_mcp_adapters  # noqa: F401
    except ImportError:
        warn("the tools of MCP servers are off: not installed: pip install '.[mcp]'")
        yield ()
        return
    async with AsyncExitStack() as stack:
        found: dict[str, BaseTool] = {}
        for server in servers:
            try:
                offered = await stack.enter_async_context(_opened(server))
            except _Off as error:
                warn(f"the MCP server {server.name!r} is off: {error}")
                continue
            for tool in offered:
                if tool.name in taken or tool.name in found:
                    warn(f"the tool {tool.name!r} of the MCP server {server.name!r} is left out: there is one of that name")
                else:
                    found[tool.name] = tool
        yield tuple(found.values())


class _Off(Exception):
    """A server that cannot be had: one line."""


@asynccontextmanager
async def _opened(server: Server) -> AsyncIterator[list[BaseTool]]:
    """Raises _Off. The session lives in a task of its own: when a server fails, what is cancelled must be that task and not the run."""
    ready: asyncio.Future[list[BaseTool]] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()
    task = asyncio.create_task(_live(server, ready, done))
    task.add_done_callback(lambda ended: ready.cancel())
    try:
        await asyncio.wait([ready], timeout=START_S)
        if not ready.done():
            raise _Off(f"no answer in {START_S:g} s")
        if ready.cancelled():
            reason = None if task.cancelled() else task.exception()
            raise _Off(_first_line(reason) if reason else "it ended at once")
        yield ready.result()
    finally:
        done.set()
        await asyncio.wait([task], timeout=END_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)  # a server that ends badly has ended


async def _live(server: Server, ready: asyncio.Future[list[BaseTool]], done: asyncio.Event) -> None:
    from langchain_mcp_adapters.sessions import create_session
    from langchain_mcp_adapters.tools import load_mcp_tools

    async with create_session(_connection(server)) as session:
        await session.initialize()
        offered = await load_mcp_tools(session, handle_tool_errors=False)
        if missing := set(server.tools) - {tool.name for tool in offered}:
            raise LookupError(f"it has no tool {', '.join(sorted(missing))}; it has {', '.join(tool.name for tool in offered)}")
        ready.set_result([_wrapped(server.name, tool) for tool in offered if not server.tools or tool.name in server.tools])
        await done.wait()


def _connection(server: Server) -> Connection:
    if server.url:
        headers = {"Authorization": f"Bearer {server.key.get_secret_value()}"} if server.key else {}
        return {"transport": "streamable_http", "url": server.url, "headers": headers}
    env = {name: value.get_secret_value() for name, value in server.env.items()}
    command, *args = server.command
    return {"transport": "stdio", "command": command, "args": args, "env": env or None}


def _wrapped(server: str, tool: BaseTool) -> BaseTool:
    name = _ODD.sub("_", f"{server}_{tool.name}")[:MAX_NAME_CHARS]

    async def call(**arguments: Any) -> tuple[str, Observation]:
        try:
            async with asyncio.timeout(CALL_S):
                message = await tool.ainvoke({"type": "tool_call", "id": "mcp", "name": tool.name, "args": arguments})
        except TimeoutError as error:
            raise ToolException(f"{name} did not answer in {CALL_S:g} s") from error
        except ToolException as error:
            raise ToolException(f"{name} answered with an error: {_first_line(error)}") from error
        except Exception as error:
            raise ToolException(f"{name} failed: {_first_line(error)}") from error
        text = str(message.text)
        if not text.strip():
            return f"{name} returned no text.", Observation(summary="no text")
        cut = f"\n[{len(text) - MAX_CHARS:,} more characters were not kept]" if len(text) > MAX_CHARS else ""
        document = Document(text=text[:MAX_CHARS] + cut, title=f"{tool.name} of {server}", retrieved_at=utc_now())
        shown = Shown(handle="", title=document.title, text=document.text[:CONTENT_CHARS])
        return render([shown]), Observation(documents=(document,), summary=f"{len(text.split()):,} words")

    return StructuredTool.from_function(
        coroutine=call,
        name=name,
        description=f"{defuse(one_line(tool.description or tool.name, MAX_DESCRIPTION_CHARS))} (a tool of the MCP server {server!r})",
        args_schema=tool.args_schema,
        response_format="content_and_artifact",
    )


def _first_line(error: BaseException) -> str:
    """The innermost reason: servers' failures come wrapped in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return one_line(str(error), 300) or type(error).__name__
