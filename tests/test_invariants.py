"""The invariants of DESIGN.md that the memory and the window keep, as properties: whatever a model does, and however writes come."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from prompts_sent import check_turns

from research_agent.graphs.build import build_research_graph
from research_agent.graphs.ports import Context, Document, Finding, Model, Observation, Prices
from research_agent.memory import Archive, Segment, estimate_tokens
from research_agent.memory.clip import GAP
from research_agent.testing.scripted import ScriptedModel
from research_agent.tools.note import note_tool
from research_agent.tools.recall import recall_tool

WORDS = "lamp river stone copper ferry winter ledger harbour mill bridge salt glass".split()  # noqa: SIM905
few = settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@dataclass(frozen=True)
class Turn:
    """What the model does: its calls, each a tool and how many words it brings; none is the answer to a sub-question."""

    calls: tuple[tuple[str, int], ...]
    thought: int
    """Words."""


def _turns(words: Sequence[int], most_calls: int, thoughts: Sequence[int], **sizes: int) -> st.SearchStrategy[list[Turn]]:
    """Pages, text that is no document, failures and notes of so many words; and recalls."""
    call = st.tuples(st.sampled_from(["scrape", "scrape", "recall", "say", "fail", "note"]), st.sampled_from(words))
    calls = st.lists(call, max_size=most_calls).map(tuple)
    return st.lists(st.builds(Turn, calls=calls, thought=st.sampled_from(thoughts)), **sizes)


turns = _turns([20, 300, 1500, 4000], 3, [0, 20, 200], min_size=5, max_size=40)
wild = _turns([5, 2_000, 12_000], 18, [0, 50, 1_500, 9_000], min_size=3, max_size=8)
"""What no model should do and some have: twenty calls at once, a thought longer than the window, a page of a book."""


class Run:
    """One investigation that acts a script, every prompt looked at as it is sent."""

    def __init__(self, script: Sequence[Turn], window_tokens: int, hit: float, counts: float = 1.0) -> None:
        self.script, self.window_tokens, self.hit, self.counts = script, window_tokens, hit, counts
        self.at = 0
        self.pages: dict[str, str] = {}
        self.thoughts: list[str] = []
        self.prompts: list[list[BaseMessage]] = []
        self.compactions: list[int] = []
        """How many prompts had been sent when each came."""

    async def act(self, folder: Path) -> None:
        self.archive = Archive.open(folder, run="r")
        chat = ScriptedModel(script=self._reply)
        model = Model(
            chat=chat, name="m", window_tokens=self.window_tokens, max_output_tokens=2_000, prices=Prices(miss=0.6, hit=self.hit, output=0)
        )
        roles = dict.fromkeys(("planner", "investigator", "reviewer", "writer"), model)
        tools = (*self._tools(), recall_tool(self.archive))
        self.schema_tokens = estimate_tokens(json.dumps([convert_to_openai_tool(tool) for tool in tools]))
        context = Context(run="r", models=roles, tools=tools, archive=self.archive, loop_guard=False)  # type: ignore[arg-type]
        turns_told = 0  # by the stream's own order: what it tells may be read after the next prompt went out
        given = {"question": "What of lamps?"}
        async for mode, event in build_research_graph().astream(given, context=context, stream_mode=["custom", "values"]):
            if mode == "values":
                self.state = event
            elif event["type"] == "turn" and event["role"] == "investigator":
                turns_told += 1
            elif event["type"] == "compaction":
                self.compactions.append(turns_told)
        await self.archive.close()

    def _reply(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        wanted = kwargs.get("response_format", {}).get("json_schema", {}).get("name")
        if wanted == "plan":
            return AIMessage(json.dumps({"brief": "", "sub_questions": ["Which lamp?", "Which river?", "Which stone?"]}))
        if wanted:
            return AIMessage(json.dumps({"verdict": "", "follow_ups": []} if wanted == "review" else {"answer": "", "sections": []}))
        self.prompts.append(messages)
        self._nothing_is_lost()
        turn = self.script[self.at] if self.at < len(self.script) else Turn((), 0)
        self.at += 1
        thought = f"thought{self.at} " + _text(self.at, turn.thought)
        self.thoughts.append(thought)
        calls = [{"name": name, "args": self._args(name, n, size), "id": f"c{self.at}-{n}"} for n, (name, size) in enumerate(turn.calls)]
        reply = AIMessage("" if calls else "So it is.", additional_kwargs={"reasoning_content": thought}, tool_calls=calls)
        tokens = self.tokens(messages)
        reply.usage_metadata = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
        return reply

    def tokens(self, prompt: list[BaseMessage]) -> int:
        """As this model's host counts them."""
        return int(self.counts * (self.schema_tokens + sum(map(_tokens, prompt))))

    def _args(self, name: str, n: int, size: int) -> dict[str, Any]:
        return {"query": "lamp river"} if name == "recall" else {"what": f"{self.at}-{n}-{size}"}

    def _nothing_is_lost(self) -> None:
        """1: whatever was thought and read is in the ledger, whole, before the next prompt goes out."""
        read = {segment.url: segment.text for segment in self.archive.find(kind="observation")}
        assert {url: read.get(url) for url in self.pages} == self.pages
        assert [segment.text for segment in self.archive.find(kind="reasoning")] == self.thoughts

    def _tools(self) -> list[StructuredTool]:
        async def scrape(what: str) -> tuple[str, Observation]:
            number, n, size = map(int, what.split("-"))
            self.pages[what] = f"zqoutside{number}x{n} " + _text(number * 7 + n, size)
            return "", Observation(documents=(Document(text=self.pages[what], url=what, title=what),))

        async def say(what: str) -> tuple[str, Observation]:
            return _text(1, int(what.split("-")[2])), Observation(summary="said")

        async def fail(what: str) -> tuple[str, Observation]:
            raise ToolException(_text(2, int(what.split("-")[2])))

        async def note(what: str) -> tuple[str, Observation]:
            read = self.archive.find(kind="observation")
            if not read:
                raise ToolException("nothing was read")
            claim = _text(3, min(int(what.split("-")[2]), 300))
            return "Noted.", Observation(finding=Finding(claim=claim, quote=read[0].text[:200], source=read[0].id))

        tools = {"scrape": scrape, "say": say, "fail": fail, "note": note}
        return [
            StructuredTool.from_function(coroutine=tool, name=name, description=name, response_format="content_and_artifact")
            for name, tool in tools.items()
        ]


def _tokens(message: BaseMessage) -> int:
    calls = json.dumps(getattr(message, "tool_calls", None) or "")
    return estimate_tokens(f"{message.content}{message.additional_kwargs.get('reasoning_content', '')}{calls}")


def _text(seed: int, words: int) -> str:
    rng = random.Random(seed)
    drawn = [rng.choice(WORDS) + ("." if n % 11 == 10 else "") for n in range(words)]
    return " ".join(drawn)


def acted(script: Sequence[Turn], window_tokens: int, hit: float, counts: float = 1.0) -> Run:
    run = Run(script, window_tokens, hit, counts)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run.act(Path(folder)))
    return run


def keeps_the_invariants(run: Run) -> None:
    for number, (before, after) in enumerate(pairwise(run.prompts), 1):  # 2: append-only between compactions
        assert after[: len(before)] == before or number in run.compactions
    for prompt in run.prompts:
        assert run.tokens(prompt) + min(2_000, run.window_tokens // 3) <= run.window_tokens  # 3: never over the window
        check_turns(prompt)  # 4: whole turns, each call directly before its result
        for message in prompt:  # 6: text from outside stands in tool results and data blocks only
            text = str(message.content)
            if isinstance(message, HumanMessage):
                text = re.sub(r"<(document|finding) [^>]*>\n.*?\n</\1>", "", text, flags=re.DOTALL)
            assert isinstance(message, ToolMessage) or "zqoutside" not in text


SMALL_THEN_LARGE = [
    Turn(calls=(("note", 1500),), thought=200),
    Turn(calls=(("note", 4000),), thought=20),
    Turn(calls=(), thought=0),
    Turn(calls=(("say", 4000), ("say", 4000), ("say", 20)), thought=20),
]
"""A few words teach a meter little of their tokenizer, and then comes most of a window at once."""


@few
@given(script=turns, window_tokens=st.sampled_from([12_000, 20_000, 262_144]), hit=st.sampled_from([0.0, 0.15, 0.6]))
@example(script=SMALL_THEN_LARGE, window_tokens=12_000, hit=0.6)
def test_every_prompt_of_any_investigation_keeps_the_invariants(script: list[Turn], window_tokens: int, hit: float) -> None:
    run = acted(script, window_tokens, hit)
    keeps_the_invariants(run)


class FreeThoughts(Run):
    """Its host counts a token for three bytes, and none for a thought: what stays in a prompt is dearer than what leaves it."""

    def tokens(self, prompt: list[BaseMessage]) -> int:
        said = [f"{message.content}{json.dumps(getattr(message, 'tool_calls', None) or '')}" for message in prompt]
        return int(4 / 3 * self.schema_tokens + sum(5 + len(text.encode()) / 3 for text in said))


def test_a_prompt_whose_dear_texts_stay_is_compacted_until_it_fits() -> None:
    kinds = {"n": "note", "s": "scrape", "r": "recall"}
    told = "s4000 s4000 s4000 800/s1500 800/n1500 3000/n300 n4000 3000/s1500 200/n4000 r300 s300 3000/s4000 800"
    turns = [turn.split() for turn in told.split("/")]
    script = [Turn(tuple((kinds[call[0]], int(call[1:])) for call in calls), int(thought)) for *calls, thought in turns]
    run = FreeThoughts(script, 16_000, 0.15)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run.act(Path(folder)))
    assert not run.state["stopped"]
    keeps_the_invariants(run)


@settings(few, max_examples=6)
@given(script=wild, window_tokens=st.sampled_from([5_000, 8_000, 16_000]), counts=st.sampled_from([0.7, 1.0, 1.4]))
def test_no_turn_is_too_large_for_any_window(script: list[Turn], window_tokens: int, counts: float) -> None:
    run = acted(script, window_tokens, 0.15, counts)
    keeps_the_invariants(run)
    assert run.state["stopped"] in ("", "no evidence was found")
    assert [item["status"] for item in run.state["plan"]] == ["done"] * 3


@few
@given(script=turns)
def test_the_four_newest_turns_stand_whole_in_every_prompt(script: list[Turn]) -> None:
    run = acted(script, 262_144, 0.15)
    first_seen: dict[str, str] = {}
    for number, prompt in enumerate(run.prompts):
        said = [m.additional_kwargs["reasoning_content"] for m in prompt if isinstance(m, AIMessage)]
        assert said[-4:] == run.thoughts[max(0, number - 4) : number]
        for message in prompt:
            if isinstance(message, ToolMessage):
                assert first_seen.setdefault(message.tool_call_id, str(message.content)) == str(message.content)


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join)
segments = st.lists(
    st.builds(
        Segment,
        run=st.just("r"),
        step=st.integers(1, 6),
        kind=st.sampled_from(["observation", "reasoning"]),
        ordinal=st.integers(0, 2),
        text=words,
        trust=st.just("untrusted"),
    ),
    min_size=1,
    max_size=25,
)


@few
@given(written=segments, batches=st.integers(1, 6), seed=st.integers(0, 99))
def test_doubled_and_reordered_writes_leave_the_same_memory(written: list[Segment], batches: int, seed: int) -> None:
    first = {segment.id: segment for segment in reversed(written)}  # the first of an id stays
    again = list(first.values())
    random.Random(seed).shuffle(again)

    async def memory(*writes: Sequence[Segment], reopen: bool) -> list[tuple[int, str, int, str]]:
        with tempfile.TemporaryDirectory() as folder:
            archive = Archive.open(Path(folder), run="r")
            for write in writes:
                await archive.archive(write)
                if reopen:
                    await archive.close(flush=False)
                    archive = Archive.open(Path(folder), run="r")
            found = sorted((s.step, s.kind, s.ordinal, s.text) for s in archive.segments())
            for passage in await archive.recall("lamp river stone", budget_tokens=400):
                assert all(part in passage.segment.text for part in passage.text.split(GAP))
            await archive.close()
            return found

    expected = asyncio.run(memory(again, reopen=False))
    size = -(-len(written) // batches)
    doubled = [written[start : start + size] for start in range(0, len(written), size)]
    assert asyncio.run(memory(*doubled, again, *doubled, reopen=True)) == expected


@few
@given(text=st.lists(st.sampled_from(WORDS), min_size=20, max_size=80), start=st.integers(0, 12), foreign=st.integers(0, 5))
def test_only_words_that_stand_in_a_source_become_a_finding(text: list[str], start: int, foreign: int) -> None:
    quote = text[start : start + 6]
    invented = [*quote[:foreign], "zeppelin", *quote[foreign:]]

    async def noted(words: list[str]) -> Observation:
        call = {"type": "tool_call", "id": "1", "name": "note", "args": {"claim": "x", "quote": " ".join(words), "source": "S100"}}
        tool = note_tool(archive).model_copy(update={"handle_tool_error": False})
        return (await tool.ainvoke(call)).artifact

    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(Path(folder), run="r")
        page = Segment(run="r", step=1, kind="observation", text=" ".join(text), trust="untrusted")
        asyncio.run(archive.archive([page]))
        finding = asyncio.run(noted(quote)).finding
        assert finding is not None
        assert (finding.source, finding.quote in page.text) == (page.id, True)
        try:
            asyncio.run(noted(invented))
        except ToolException:
            refused = True
        else:
            refused = False
        asyncio.run(archive.close())
    assert refused


_WRITER = """
import asyncio, sys
from pathlib import Path
from research_agent.memory import Archive, Segment
from research_agent.testing.embedder import HashingEmbedder

async def main():
    archive = Archive.open(Path(sys.argv[1]), run="r", embedder=HashingEmbedder())
    for step in range(1, 10_000):
        base = {"run": "r", "step": step, "trust": "own"}
        pair = [Segment(**base, kind=kind, text=f"{kind} {step} of the lamp " * 40) for kind in ("call", "observation")]
        await archive.archive(pair)
        print(step, flush=True)

asyncio.run(main())
"""


def test_a_killed_writer_loses_nothing_it_was_told_is_archived(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        last = 0
        until = time.monotonic() + 3
        while last < 15 and (line := writer.stdout.readline()) and time.monotonic() < until:
            last = int(line)
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])

    async def reopened() -> tuple[list[Segment], int, int, int]:
        from research_agent.testing.embedder import HashingEmbedder

        archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder())
        await archive.archive([replace(segment) for segment in archive.segments()][:4])
        await archive.flush()
        stats, found = archive.stats(), list(archive.segments())
        recalled = await archive.recall(f"observation {last}", budget_tokens=400)
        await archive.close()
        return found, stats.chunks, stats.indexed, len(recalled)

    found, chunks, indexed, recalled = asyncio.run(reopened())
    steps = [segment.step for segment in found]
    assert last >= 1
    assert set(range(1, last + 1)) <= set(steps)
    assert all(steps.count(step) == 2 for step in set(steps))  # a write is whole, or it is not there
    assert chunks == indexed
    assert recalled
