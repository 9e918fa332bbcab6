"""What the graph is given, as the graph sees it: models, tools, an archive, limits, a clock. Whoever composes the graph supplies them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from research_agent.memory import estimate_tokens
from research_agent.memory.segment import Kind, Segment
from research_agent.memory.segment import Passage as Passage

from .state import NO_USAGE, Call, Usage

Role = Literal["planner", "investigator", "reviewer", "writer", "summarizer"]
"""`summarizer` is optional: with it, each compaction has what leaves the prompt summarized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to a model, whole: what its host is sent follows from it."""

    model: str
    role: Role
    messages: Sequence[BaseMessage]
    tools: Sequence[BaseTool]
    response_format: Mapping[str, Any] | None
    output_tokens: int | None
    """None: the model's own limit."""
    number: int = 0
    """Which of its task's calls it is."""


class Tape(Protocol):
    """Stands between the graph and what it cannot foresee: writes it down, or plays it again."""

    async def ask(self, asked: Asked, answer: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        """`answer` raises ModelCallError."""
        ...

    def kept(self, asked: Asked) -> None:
        """A process that was killed had the reply to this already: nobody is asked again."""
        ...

    async def use(self, call: Call, run: Callable[[], Awaitable[Used]]) -> Used:
        """`run` raises ToolException."""
        ...

    def follows(self, own: int, found: Callable[[], int]) -> int:
        """The step that a turn follows on: `own` is its state's, `found` looks where it stands in the ledger."""
        ...


class NoTape:
    async def ask(self, asked: Asked, answer: Callable[[], Awaitable[AIMessage]]) -> AIMessage:
        return await answer()

    def kept(self, asked: Asked) -> None:
        del asked

    async def use(self, call: Call, run: Callable[[], Awaitable[Used]]) -> Used:
        return await run()

    def follows(self, own: int, found: Callable[[], int]) -> int:
        del own
        return found()


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per million tokens."""

    miss: float = 0.0
    hit: float = 0.0
    output: float = 0.0
    cache_write: float | None = None
    """None: as a miss."""


@dataclass(frozen=True, slots=True)
class Model:
    """A chat model and what the window and the budget need to know of it."""

    chat: BaseChatModel
    name: str
    window_tokens: int
    max_output_tokens: int
    prices: Prices = Prices()
    priced: bool = True
    """False: nobody knows its prices, so a limit in dollars cannot hold."""
    least_output_tokens: int = 2_000
    """With less it is not asked at all: thinking would use it up, or the host refuse it."""
    host: str = ""
    """As its address has it: two ports of one machine are two hosts."""
    key: str = ""
    """The NAME of the environment variable that its key comes from: it stands in what a refused key is told as."""
    quotes: bool = False
    """It is no language model: what it writes is made of quotations, and says so."""
    tape: Tape = field(default=NoTape(), repr=False, compare=False)
    _bound: list[tuple[Sequence[BaseTool], Runnable[Any, Any]]] = field(default_factory=list, init=False, repr=False, compare=False)

    def with_tools(self, tools: Sequence[BaseTool]) -> Runnable[Any, Any]:
        """The chat model that may call these; their schemas are made once, not at every call."""
        if not self._bound or self._bound[0][0] is not tools:
            self._bound[:] = [(tools, self.chat.bind_tools(list(tools)))]
        return self._bound[0][1]


ModelErrorKind = Literal[
    "overloaded", "rate_limit", "quota", "auth", "overflow", "content_filter", "bad_request", "network", "empty", "budget"
]
"""`empty`: the host answered, but with nothing that can be used. `budget`: not asked, for it could cost more than is left."""
RETRYABLE: frozenset[ModelErrorKind] = frozenset({"overloaded", "rate_limit", "network", "empty"})


class ModelCallError(Exception):
    """A model call that failed. A chat model of ours raises nothing else for what a host answers."""

    def __init__(
        self,
        reason: str,
        kind: ModelErrorKind,
        *,
        retry_after_s: float | None = None,
        window_tokens: int | None = None,
        usage: UsageMetadata | None = None,
        unreached: bool = False,
        spent: Usage = NO_USAGE,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.window_tokens = window_tokens
        """What an `overflow` taught of the window, if its wording says."""
        self.unreached = unreached
        """Nothing listens there: the connection was refused, or the name is not known."""
        self.usage = usage
        """As the host reported it, or estimated: an answer that cannot be used is billed all the same."""
        self.spent = spent
        """By all attempts of the call."""

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text from outside, as a tool brought it. Archived whole; shown to the model as the passages that serve."""

    text: str
    url: str = ""
    """http(s), or a file's path."""
    title: str = ""
    retrieved_at: str = ""
    """ISO 8601, UTC."""
    run: str = ""
    """The earlier run that read it, where it was not this one."""
    origin: str = ""
    """Set by `recall` only: the id of the segment this text already is. It is shown again, not archived again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim with the exact words that support it, already found in its source."""

    claim: str
    quote: str
    source: str
    """The id of the observation segment that holds the quote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a tool brings back: the `artifact` of a tool whose `response_format` is `content_and_artifact`.

    A tool that fails raises langchain_core's `ToolException` with one line that the model can act on; one that finds nothing
    returns no documents, and its content says so.
    """

    documents: tuple[Document, ...] = ()
    finding: Finding | None = None
    summary: str = ""
    """One short line for people: `5 results`, `3,204 words`."""


Used = tuple[str, Observation | None]
"""What a tool said, and what it brought."""


class Archive(Protocol):
    """The memory, as the graph uses it. Everything is idempotent."""

    async def archive(self, segments: Sequence[Segment], *, bodies: Sequence[str] = ()) -> None:
        """`bodies`: texts kept as `put_body` does. All of it is on disk when this returns, or nothing is."""
        ...

    async def recall(
        self,
        query: str,
        *,
        budget_tokens: int,
        kinds: Sequence[Kind] = (),
        source: str = "",
        since_step: int = 0,
        exclude: frozenset[str] = frozenset(),
    ) -> Sequence[Passage]: ...
    def get(self, id_or_handle: str) -> Segment | None: ...
    def find(self, *, kind: Kind, url: str = "", args_hash: str = "", newest: int = 0) -> Sequence[Segment]:
        """Segments of a kind, in the order of the run; only so many of the newest, if a number is given."""
        ...

    def last_step(self) -> int:
        """The last that anything is archived of; 0 if nothing is."""
        ...

    def put_body(self, text: str) -> str:
        """Keeps a text under its content hash, and returns that."""
        ...

    def get_body(self, ref: str) -> str: ...


class Slot(Protocol):
    """Holds one text, replaced whole, that outlives the process: the model call in flight (flight.py)."""

    def read(self) -> str:
        """Empty if there is none."""
        ...

    def write(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    usd: float = 2.0
    steps: int = 300
    minutes: float = 120.0
    steps_before: int = 0
    """Made before this run began, by the one it was forked from: they are not of its own."""

    @property
    def last_step(self) -> int:
        return self.steps_before + self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The graph's run-time dependencies: LangGraph hands them to every node and never checkpoints them."""

    run: str
    """The run's id; it keys everything archived."""
    models: Mapping[Role, Model]
    tools: Sequence[BaseTool]
    archive: Archive
    limits: Limits = Limits()
    clock: Callable[[], float] = field(default=lambda: 0.0)
    """Seconds, monotonic."""
    now: Callable[[], str] = field(default=lambda: "")
    """ISO 8601, UTC."""
    redact: Callable[[str], str] = field(default=lambda text: text)
    approve_plan: bool = False
    max_words: int | None = None
    loop_guard: bool = True
    earlier: Sequence[str] = ()
    """Ids of the earlier runs that `recall` reaches too."""
    tape: Tape = field(default=NoTape())
    assets: Callable[[], Sequence[tuple[str, int, bool]]] = field(default=lambda: ())
    """What code made so far and a report may show: its path there, the step that made it, and whether it is a figure."""
    slot: Slot | None = None
    """None: a call that is cut is made and paid for again."""
    _schemas: list[tuple[str, int]] = field(default_factory=list, init=False, repr=False, compare=False)
    """Once made: the tools' schemas as text, and its tokens."""
    _arguments: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def schema_text(self) -> str:
        """The tools' schemas as they stand in a prompt."""
        return self._made_schemas()[0]

    @property
    def schema_tokens(self) -> int:
        return self._made_schemas()[1]

    def _made_schemas(self) -> tuple[str, int]:
        if not self._schemas:
            text = json.dumps([convert_to_openai_tool(tool) for tool in self.tools]) if self.tools else ""
            self._schemas.append((text, estimate_tokens(text)))
        return self._schemas[0]

    def arguments(self, name: str) -> dict[str, Any]:
        """A tool's arguments, each with its JSON schema; none of a tool that there is not."""
        if name not in self._arguments:
            tool = self.tool(name)
            self._arguments[name] = tool.args if tool else {}
        return self._arguments[name]

    def tool(self, name: str) -> BaseTool | None:
        return next((tool for tool in self.tools if tool.name == name), None)


JSON = dict[str, Any]
