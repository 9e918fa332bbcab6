"""limits.usd is never passed, whatever the prices, with every answer as long and as dear as it may be; and the report is still written."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_runs import config, said, scripted

from research_agent import Agent, Result, cli
from research_agent.graphs.budget import Purse, output_limit
from research_agent.graphs.counting import Meter, parts_of
from research_agent.graphs.ports import Model, ModelCallError, Prices
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.rules import Dialect
from research_agent.testing.scripted import ScriptedModel

PRICES = {
    "kimi": {"miss": 0.6, "hit": 0.15, "output": 2.5},
    "turbo": {"miss": 1.15, "hit": 0.15, "output": 8.0},
    "claude": {"miss": 3.0, "hit": 0.3, "output": 15.0},
    "input only": {"miss": 5.0, "hit": 5.0, "output": 0.0},
    "output only": {"miss": 0.0, "hit": 0.0, "output": 30.0},
    "dear": {"miss": 60.0, "hit": 30.0, "output": 180.0},
}


class Spendthrift:
    """Uses every token of output that it is allowed, finds nothing in its cache, and never comes to an end by itself."""

    def __init__(self, prices: dict[str, float], chars_per_token: float) -> None:
        self._prices, self._chars = prices, chars_per_token
        self.usd = 0.0
        self.wrote = False
        self._work = scripted(self._investigate)

    def _investigate(self, messages: list[dict[str, Any]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        if results == 1:
            return Reply(calls=[Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})])
        return Reply(reasoning="More.", calls=[Call("web_search", {"query": f"Vulpa moons {results}"})])

    def __call__(self, request: Request) -> Reply:
        sent = json.dumps([request.get("tools"), request["messages"], request.get("response_format")], ensure_ascii=False)
        prompt, output = math.ceil(len(sent) / self._chars), request["max_tokens"]
        self.usd += (prompt * self._prices["miss"] + output * self._prices["output"]) / 1e6
        self.wrote = self.wrote or said(request["messages"]).startswith("You write")
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        reply = self._work(request)
        return Reply(content=reply.content, reasoning=reply.reasoning, calls=reply.calls, usage=usage)


@pytest.mark.parametrize("chars_per_token", [4.5, 2.8])
@pytest.mark.parametrize("name", PRICES)
async def test_a_spendthrift_host_never_gets_more_than_the_limit_and_the_report_is_written(
    tmp_path: Path, name: str, chars_per_token: float
) -> None:
    prices = PRICES[name]
    limit = round(12 * (7_000 * prices["miss"] + 4_000 * prices["output"]) / 1e6, 4)  # a dozen calls
    host_side = Spendthrift(prices, chars_per_token)
    with ScriptedHost(host_side) as host:
        given = config(tmp_path, host, limits={"usd": limit, "steps": 200})
        model = {**given.public()["model"], "prices": prices}
        result = await Agent(config(tmp_path, host, model=model, limits={"usd": limit, "steps": 200})).arun()
    record = json.loads((result.folder / "run.json").read_text())
    assert host_side.usd <= limit
    assert record["usd"] == pytest.approx(host_side.usd, rel=1e-4)
    assert host_side.usd > 0.4 * limit  # it is not kept by doing nothing
    assert f"${limit:g} was reached" in result.reason
    assert host_side.wrote
    assert result.report is not None
    assert "Nine" in result.report.read_text()


@pytest.mark.parametrize("limit", [0.02, 0.05])
async def test_a_small_limit_pays_for_some_steps_and_the_report(tmp_path: Path, limit: float) -> None:
    """Half of it is kept back for the report at most, and no answer before it takes more than a quarter of what is left."""
    answers = iter([Reply(calls=[Call("web_search", {"query": "Vulpa moons"})])])
    note = Reply(calls=[Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})])

    def investigate(messages: list[dict[str, Any]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        return next(answers, note if results == 1 else Reply(calls=[Call("web_search", {"query": f"Vulpa {results}"})]))

    billed = []

    def script(request: Request) -> Reply:
        prompt = len(json.dumps([request.get("tools"), request["messages"], request.get("response_format")])) // 4
        output = min(request["max_tokens"], 200)
        billed.append((prompt * 0.6 + output * 2.5) / 1e6)
        reply = scripted(investigate)(request)
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        return Reply(content=reply.content, calls=reply.calls, usage=usage)

    with ScriptedHost(script) as host:
        result = await Agent(config(tmp_path, host, limits={"usd": limit, "steps": 200})).arun()
    assert sum(billed) <= limit
    assert result.status == "incomplete"
    assert f"${limit:g} was reached" in result.reason
    assert result.report is not None
    assert "nine" in result.report.read_text().lower()


async def test_a_limit_that_pays_for_nothing_asks_nothing(tmp_path: Path) -> None:
    with ScriptedHost([]) as host:
        result = await Agent(config(tmp_path, host, limits={"usd": 0.0001})).arun()
        assert host.requests == []
    assert result.status == "failed"
    assert "limits.usd" in result.reason


@pytest.mark.parametrize("calls", [0, 2.2])
@pytest.mark.parametrize("name", PRICES)
async def test_a_limit_that_is_too_small_names_one_that_pays_for_three_steps_and_the_report(
    tmp_path: Path, name: str, calls: float
) -> None:
    """It is refused at the plan, or stops at the first step; with what it names even a spendthrift host comes to a report."""
    prices = PRICES[name]

    async def run(usd: float) -> tuple[Result, Spendthrift]:
        script = Spendthrift(prices, 4.5)
        with ScriptedHost(script) as host:
            model = {**config(tmp_path, host).public()["model"], "prices": prices}
            return await Agent(config(tmp_path, host, model=model, limits={"usd": usd})).arun(), script

    first, _ = await run(round(calls * (1_000 * prices["miss"] + 2_000 * prices["output"]) / 1e6 + 1e-6, 6))
    told = re.search(r"[(;] ?limits\.usd=([\d.]+) pays for 3 more steps and the report, at worst\)", first.reason)
    assert told, first.reason
    assert "\n" not in first.reason
    enough = float(told[1])
    result, script = await run(enough)
    assert script.usd <= enough
    assert script.wrote
    assert json.loads((result.folder / "run.json").read_text())["steps"] >= 3
    assert result.report is not None
    assert f"${enough:g} was reached" in result.reason


def test_a_limit_that_is_too_small_ends_with_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note = Call("note", {"claim": "Vulpa has nine moons.", "quote": "Vulpa has nine moons", "source": "S100"})
    work = scripted(
        lambda messages: Reply(calls=[note if any(m["role"] == "tool" for m in messages) else Call("web_search", {"query": "moons"})])
    )
    usage = {"prompt_tokens": 2_000, "completion_tokens": 2_000, "total_tokens": 4_000}

    def script(request: Request) -> Reply:
        reply = work(request)
        return Reply(content=reply.content, calls=reply.calls, usage=usage)

    with ScriptedHost(script) as host:
        given = config(tmp_path, host, limits={"usd": 0.037}).public()
        (tmp_path / "config.yaml").write_text(json.dumps(given))
        monkeypatch.setattr(sys, "argv", ["research-agent", "run", str(tmp_path / "config.yaml")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 3
    last = capsys.readouterr().err.splitlines()[-1]
    told = re.search(r"the limit of \$0.037 was reached \(\$0.019 spent, .*; limits\.usd=([\d.]+) pays for", last)
    assert told, last
    assert float(told[1]) > 0.037
    assert last.endswith(f" --set limits.usd={told[1]}` goes on")


async def test_prompt_and_output_together_never_pass_the_window(tmp_path: Path) -> None:
    """The output is half the window here: as the prompt grows, less of it is asked for."""
    text = "Vulpa has nine moons, and each of them has a name, an orbit and a story of its own. " * 60
    asked: list[tuple[int, int]] = []

    def investigate(messages: list[dict[str, Any]]) -> Reply:
        results = sum(message["role"] == "tool" for message in messages)
        return Reply(content="Nine.") if len(asked) > 12 else Reply(calls=[Call("web_search", {"query": f"Vulpa moons orbit {results}"})])

    def script(request: Request) -> Reply:
        asked.append((len(json.dumps([request.get("tools"), request["messages"]], ensure_ascii=False)) // 4, request["max_tokens"]))
        return scripted(investigate)(request)

    with ScriptedHost(script, dialect=Dialect(window_tokens=16_000)) as host:
        given = config(tmp_path, host).public()["model"]
        (tmp_path / "docs" / "long.md").write_text(text)
        model = {**given, "window_tokens": 16_000, "max_output_tokens": 8_000}
        result = await Agent(config(tmp_path, host, model=model)).arun()
        refusals = host.refusals
    assert refusals == []
    assert result.status != "failed" or "no evidence" in result.reason
    assert all(prompt + output <= 16_000 for prompt, output in asked)
    assert max(output for _, output in asked) == 8_000
    assert min(output for _, output in asked) < 8_000


PRICE = st.floats(0, 500, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(
    miss=PRICE,
    hit=PRICE,
    write=st.none() | PRICE,
    output=PRICE,
    left=st.floats(-1, 20),
    prompt=st.integers(0, 300_000),
    most=st.integers(1, 65_536),
    share=st.floats(0, 1),
)
def test_no_answer_that_is_allowed_can_cost_more_than_is_left(
    miss: float, hit: float, write: float | None, output: float, left: float, prompt: int, most: int, share: float
) -> None:
    prices = Prices(miss, hit, output, write)
    model = Model(ScriptedModel(script=lambda *_: None), "m", 1_000_000, most, prices)  # type: ignore[arg-type,return-value]
    try:
        allowed = output_limit(model, prompt, Purse(left, factor=1.0))
    except ModelCallError:
        return
    tokens = most if allowed is None else allowed
    assert tokens <= most
    cached, written = int(prompt * share), int(prompt * (1 - share))
    dearest = cached * hit + written * (miss if write is None else write) + tokens * output
    assert dearest / 1e6 <= max(left, 0) * (1 + 1e-9) + 1e-9


COUNTED = {
    "letters in fours": lambda text: math.ceil(len(re.findall(r"[A-Za-z]{1,4}|\d|[^\sA-Za-z\d]", text)) * 1.02),
    "bytes": lambda text: math.ceil(len(text.encode()) / 3),
    "words": lambda text: round(len(text.split()) * 1.6),
}
TEXTS = (
    "The lake was measured twice a day, in the morning and late at night, by whoever was there. ",
    "def area(radius: float) -> float:\n    return math.pi * radius ** 2\n",
    '{"id": 17, "name": "station", "depth": 37.25, "tags": ["a", "b"]}, ',
    "湖水每天测量两次，早上一次，深夜一次。",
    "| A-3 | 371 | 12.204 | checked twice |\n",
    "https://www.example.org/archive/2026/report-final?utm_source=mail&id=4f9a2c#section-3\n",
)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(COUNTED)), keeps_thoughts=st.booleans())
def test_the_estimate_is_within_three_percent_after_ten_calls(data: st.DataObject, name: str, keeps_thoughts: bool) -> None:
    """Of a conversation of mixed texts that grows by up to a tenth a call, whatever the tokenizer and whether thoughts are counted."""
    count, parts, tokens, turns = COUNTED[name], {}, {}, []
    learned = None
    rules = TEXTS[0] * 60
    for call in range(14):
        meter = Meter(learned, lambda turn: parts[turn["ref"]], lambda: parts_of([rules]))
        reported = count(rules) + sum(tokens.values())
        if call > 10:
            assert meter.tokens(turns) == pytest.approx(reported, rel=0.03)
        turns, learned = meter.reported(turns, reported), meter.learned
        assert meter.tokens(turns) == pytest.approx(reported, abs=len(turns) + 1)  # what was counted is known
        text = "".join(TEXTS[n] * 8 for n in (call % 6, data.draw(st.integers(0, 5))))
        thought = "I look further for the source that has it. " * data.draw(st.integers(0, 10))
        parts[str(call)] = parts_of([text], thought)
        tokens[str(call)] = count(text) + (count(thought) if keeps_thoughts else 0) + 5
        turns.append({"ref": str(call)})


def test_a_report_that_cannot_be_of_this_prompt_teaches_nothing() -> None:
    parts = {"1": parts_of([TEXTS[0] * 20]), "2": parts_of([TEXTS[1] * 5])}
    meter = Meter(None, lambda turn: parts[turn["ref"]], lambda: parts_of(["Rules."]))
    turns = meter.reported([{"ref": "1"}], 420)  # type: ignore[typeddict-item]
    before = meter.learned["weights"]
    assert meter.reported([*turns, {"ref": "2"}], 100_000) == [*turns, {"ref": "2"}]  # type: ignore[comparison-overlap]
    smaller = meter.reported([*turns, {"ref": "2"}], 200)  # the thoughts of a closed sub-question are no longer counted
    assert meter.tokens(smaller) == pytest.approx(200, abs=3)
    assert meter.learned["weights"] == before
