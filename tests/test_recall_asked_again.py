"""What a run itself asked and thought is in its memory too: a recall is for what answers, not for what asked the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from research_agent.memory import Archive, Passage, Segment
from research_agent.memory.segment import Kind
from research_agent.tools.recall import recall_tool

ANSWER = "The Kaldera geyser erupts every 76 minutes or so, a little later after dry summers."
QUESTION = "What is the interval between outbursts at Kaldera?"
OTHERS = ("lamp oil", "barley", "mending nets", "a toll bridge", "two clocks", "rye bread", "the old mill", "copper roofs")


def _of(step: int, text: str, kind: Kind = "observation") -> Segment:
    return Segment(run="r", step=step, kind=kind, text=text, trust="own")


async def _remembering(folder: Path, *more: Segment) -> Archive:
    archive = Archive.open(folder, run="r")
    pages = [_of(n, f"Report {n} is about {OTHERS[n % len(OTHERS)]} and the people who paid for it.") for n in range(2, 60)]
    await archive.archive([_of(1, ANSWER), *pages, *more])
    return archive


def _texts(found: list[Passage]) -> list[str]:
    return [passage.segment.text for passage in found]


@pytest.mark.parametrize(
    "said",
    [
        "Earlier I saw something on this, please find it again: {}",
        "I remember that I have read of it already, and I need to look it up again. {}",
    ],
)
async def test_what_one_says_of_looking_for_it_does_not_count_as_what_is_looked_for(tmp_path: Path, said: str) -> None:
    others = [f"Who paid for {other}?" for other in OTHERS]
    asked = [_of(60 + n, said.format(other), "reasoning") for n, other in enumerate(others)]
    archive = await _remembering(tmp_path, *asked)
    assert _texts(await archive.recall(said.format(QUESTION), budget_tokens=60)) == [ANSWER]
    await archive.close()


async def test_a_thought_that_asked_the_same_does_not_keep_a_weak_answer_out(tmp_path: Path) -> None:
    question = "Which interval separates outbursts, bursts, spouts or fountains of hot steam and water near Kaldera?"
    archive = await _remembering(tmp_path, _of(61, question, "reasoning"))
    assert ANSWER in _texts(await archive.recall(question, budget_tokens=500))
    await archive.close()


async def test_a_topic_brings_what_was_told_not_what_was_asked_for(tmp_path: Path) -> None:
    call = _of(61, f'recall {{"query": "{QUESTION}"}}', "call")
    archive = await _remembering(tmp_path, call)
    recall = recall_tool(archive)
    [told, asked] = [str(await recall.ainvoke({"query": QUESTION, **kind})) for kind in ({}, {"kind": "call"})]
    assert (ANSWER in told, call.text in told) == (True, False)
    assert '"query": ' in asked
    await archive.close()
