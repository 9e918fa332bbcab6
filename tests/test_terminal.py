from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from research_agent.events import Event
from research_agent.models import catalog
from research_agent.terminal import Terminal, show_record, tables
from research_agent.terminal.drafts import readable
from research_agent.terminal.view import View, frame

PLAN = [
    {"id": "1", "question": "How much is lost?", "status": "open", "answer": ""},
    {"id": "2", "question": "What does heating cost?", "status": "open", "answer": ""},
]
USAGE = {"calls": 2, "input": 9000, "cached": 2000, "output": 500, "reasoning": 100, "usd": 0.25}
HOSTILE = "a\x1b[31mb\x1b]0;title\x07\x1b]8;;http://evil/\x1b\\c\nd\r\x9b2J\u202e [bold red]e[/] :smile: \x00\ud800"


def event(type: str, **fields: Any) -> Event:
    return {"type": type, **fields}


RUN = event("run", id="r1", folder="runs/r1", question="How cold is\ntoo cold?", model="kimi", resumed=False)
EVENTS = [
    RUN,
    event("warning", text="no embedder: recall ranks by words"),
    event("index", done=500, total=1000, path="a.md"),
    event("index", done=1000, total=1000, path="b.md"),
    event("plan", brief="b", plan=PLAN),
    event("sub_question", **PLAN[0]),
    event("thought", text="I should ", role="investigator"),
    event("thought", text="search.", role="investigator"),
    event("turn", role="investigator", reasoning="I should search.", content="", calls=[], usage=USAGE),
    event("call", step=1, name="web_search", args={"query": "cold\ncells"}, sub_question="1"),
    event(
        "result",
        step=1,
        name="web_search",
        ok=True,
        summary="5 results",
        sources=[{"handle": "S100", "title": "Cold", "url": "u"}],
        seconds=0.42,
    ),
    event("call", step=2, name="scrape", args={"url": "http://x/", "page": 2}, sub_question="1"),
    event("result", step=2, name="scrape", ok=False, summary="Error: HTTP 403", sources=[], seconds=1.0),
    event("finding", handle="S100", claim="Cold costs 20 %", quote="q", sub_question="1"),
    event("sub_question", id="1", question="How much is lost?", status="done", answer="20 %"),
    event("compaction", turns=9, before_tokens=27000, after_tokens=9000),
    event("review", verdict="Enough.", follow_ups=["Why?"]),
    event("retry", reason="overloaded", wait_s=1.5, attempt=1),
    event("approval", plan=PLAN),
    event("text", text="An answer", role="writer"),
    event("report", path="runs/r1/report.md", answer="It costs 20 % [1].\n\nMore."),
    event("end", status="incomplete", reason="the limit was reached", steps=2, usd=0.25, tokens=USAGE, seconds=83.2, folder="runs/r1"),
]
PLAIN = """\
run r1 in runs/r1
warning: no embedder: recall ranks by words
index: 1,000 files
plan: 1. How much is lost? 2. What does heating cost?
sub-question 1 open: How much is lost?
investigator: I should search.
step 1: web_search("cold cells")
step 1: web_search ok: 5 results (0.4 s)
step 2: scrape(url="http://x/", page=2)
step 2: scrape failed: HTTP 403 (1.0 s)
finding [S100]: Cold costs 20 %
sub-question 1 done: How much is lost?
compaction: 9 turns archived, 27,000 -> 9,000 tokens
review: Enough.; 1 to follow up
retry 1 in 1.5 s: overloaded
the plan waits for approval
incomplete: 2 steps, 9,500 tokens, $0.25, 1 min 23 s: the limit was reached
report: runs/r1/report.md
answer: It costs 20 % [1]. More.
"""


def told(events: Iterable[Event], *, live: bool = False) -> str:
    file = io.StringIO()
    with Terminal(file=file, live=live, clock=lambda: 100.0) as terminal:
        for one in events:
            terminal(one)
    return file.getvalue()


def drawn(events: Iterable[Event], width: int = 80, height: int = 24, now: float = 160.0, **options: Any) -> list[str]:
    """The frame after these events, as it stands on a screen of that size."""
    times = iter([100.0])
    view = View(lambda: next(times, now))
    for one in events:
        view.update(one)
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(frame(view, width=width, height=height, **options))
    return capture.get().rstrip("\n").split("\n")


def test_without_a_terminal_each_event_is_one_plain_line() -> None:
    assert told(EVENTS) == PLAIN


def test_without_a_terminal_nothing_is_wrapped_or_coloured() -> None:
    lines = told([event("warning", text="long " * 200), event("finding", handle="S1", claim="x\ny" * 300)]).splitlines()
    assert len(lines) == 2
    assert len(lines[0]) > 900
    assert "\x1b" not in "".join(lines)


def test_a_colour_forced_by_the_environment_does_not_reach_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with Terminal(file=file) as terminal:
        for one in EVENTS:
            terminal(one)
    assert "\x1b" not in file.getvalue()


def test_a_narrow_encoding_loses_characters_not_the_run() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    with Terminal(file=file, live=False) as terminal:
        terminal(event("warning", text="東京 – ok"))
    assert raw.getvalue() == b"warning: ?? ? ok\n"


@pytest.mark.parametrize("live", [False, True])
def test_text_of_others_never_commands_the_terminal(live: bool) -> None:
    events = [
        {**RUN, "question": HOSTILE, "model": HOSTILE},
        event("warning", text=HOSTILE),
        event("plan", brief="", plan=[{**PLAN[0], "question": HOSTILE}]),
        event("sub_question", **{**PLAN[0], "question": HOSTILE}),
        event("turn", role="investigator", reasoning=HOSTILE, content="", calls=[], usage=USAGE),
        event("call", step=1, name=HOSTILE, args={"q": HOSTILE}, sub_question="1"),
        event(
            "result", step=1, name=HOSTILE, ok=False, summary=HOSTILE, sources=[{"handle": "S1", "title": HOSTILE, "url": ""}], seconds=1
        ),
        event("finding", handle="S1", claim=HOSTILE, quote="", sub_question="1"),
        event("retry", reason=HOSTILE, wait_s=1, attempt=1),
        event("review", verdict=HOSTILE, follow_ups=[]),
        event("report", path="p", answer=HOSTILE),
        event("end", status="failed", reason=HOSTILE, steps=1, usd=0, tokens=USAGE, seconds=1, folder="f"),
    ]
    text = told(events, live=live) + ("".join(drawn(events)) if live else "")
    ours = re.sub(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|\d*A|\d*[GH])", "", text) if live else text
    assert not re.search("[\x00-\x08\x1b\x80-\x9f\u202e\ud800]", ours)
    assert "title" not in ours
    assert "evil" not in ours
    assert "[bold red]e[/] :smile:" in ours


def test_the_screen_shows_the_run_as_it_stands() -> None:
    screen = drawn([*EVENTS[:11], event("call", step=2, name="scrape", args={"url": "http://x/"}, sub_question="1"), EVENTS[13]])
    text = "\n".join(screen)
    assert screen[0].strip() == "How cold is too cold?"
    assert "▸ 1. How much is lost?" in text
    assert "· 2. What does heating cost?" in text
    assert "  I should search." in text
    assert re.search(r'1 web_search\("cold cells"\)\s+✓ 5 results \(0\.4 s\)', text)
    assert re.search(r'2 scrape\("http://x/"\)\s+…', text)
    assert "[S100] Cold" in text
    assert "[S100] Cold costs 20 %" in text
    assert screen[-1].strip() == "working · 2 steps · 9,500 tokens · $0.25 · 1 min 00 s · kimi"


def elapsed_s(view: View) -> float | None:
    """As the screen shows it."""
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(frame(view, width=120, height=24))
    shown = re.search(r" · (?:(\d+) min )?([\d.]+) s · ", capture.get().splitlines()[-1])
    return 60 * int(shown[1] or 0) + float(shown[2]) if shown else None


def test_the_time_on_the_screen_is_the_runs_and_never_goes_back() -> None:
    """Neither loading is in it nor what a person's word on the plan was waited for; what earlier sessions took is."""
    now = 100.0
    view = View(lambda: now)
    seen: list[float | None] = []
    so_far = event("so_far", step=12, steps=2, usd=0.25, tokens=USAGE, seconds=42.0)
    for at, one in [
        (100.0, event("start", question="Q", model="m")),
        (104.0, RUN),
        (109.0, event("warning", text="stopping after this step")),
        (200.0, {**RUN, "resumed": True}),
        (201.0, so_far),
        (203.0, event("warning", text="going on")),
    ]:
        now = at
        view.update(one)
        seen.append(elapsed_s(view))
    assert seen == [None, 0.0, 5.0, None, 42.0, 44.0]
    assert view.counts() == "2 steps, 9,500 tokens, $0.25, 44 s"


def test_what_is_waited_for_is_the_calls_that_run_a_pause_or_the_model() -> None:
    view, seen = View(lambda: 0.0), []
    result = event("result", ok=True, name="scrape", summary="", seconds=0.1, sources=[])
    for one in [
        RUN,
        event("retry", attempt=1, wait_s=5, reason="busy"),
        event("thought", text="So ", role="investigator"),
        *(event("call", step=step, name="scrape", args={"url": f"http://x/{step}"}, sub_question="1") for step in (1, 2)),
        *({**result, "step": step} for step in (1, 2)),
    ]:
        view.update(one)
        seen.append(view.waits_for)
    calls = ['scrape("http://x/1")', 'scrape("http://x/1") and 1 more', 'scrape("http://x/2")']
    assert seen == ["an answer of kimi", "a pause of 5 s: busy", "an answer of kimi", *calls, "an answer of kimi"]


def test_the_plan_ticks_off() -> None:
    text = "\n".join(drawn(EVENTS[:15]))
    assert "✓ 1. How much is lost?" in text
    assert "\n".join(drawn(EVENTS[:15], ascii_only=True)).isascii()


def test_the_thought_streams_and_starts_anew_after_a_turn() -> None:
    thoughts = [event("thought", text=text, role="investigator") for text in ("first ", "thought ", "word " * 200, "last words")]
    text = "\n".join(drawn([RUN, *thoughts]))
    assert "last words" in text
    assert "first" not in text
    again = [*EVENTS[:9], event("thought", text="Now for prices.", role="investigator")]
    assert "Now for prices." in "\n".join(drawn(again))
    assert "I should search" not in "\n".join(drawn(again))


def test_a_thought_that_broke_off_is_not_the_beginning_of_the_next() -> None:
    broken = event("thought", text="Half a tho", role="investigator")
    retry = event("retry", reason="the stream stopped", wait_s=1.0, attempt=1)
    said = "\n".join(drawn([broken, retry, event("thought", text="I should search.", role="investigator")]))
    assert "I should search." in said
    assert "Half a tho" not in said


def test_indexing_is_a_bar() -> None:
    text = "\n".join(drawn([RUN, event("index", done=500, total=1000, path="a.md")]))
    assert re.search(r"reading the folder\s+━+.*500/1,000 a\.md", text)
    assert "reading the folder" not in "\n".join(drawn(EVENTS[:4]))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 10), (40, 8), (200, 60), (20, 3)])
def test_the_screen_never_outgrows_its_window(width: int, height: int) -> None:
    plan = [{**PLAN[0], "id": str(n), "question": f"{n} " + "long " * 60} for n in range(30)]
    many = [event("call", step=n, name="scrape", args={"url": "u" * 300}, sub_question="1") for n in range(50)]
    found = [event("finding", handle=f"S{n}", claim="c " * 200, quote="", sub_question="1") for n in range(50)]
    events = [
        RUN,
        event("plan", brief="", plan=plan),
        event("sub_question", **plan[20]),
        *many,
        *found,
        event("index", done=1, total=9, path="p" * 300),
    ]
    screen = drawn(
        [*events, *(event("warning", text="w " * 99) for _ in range(9)), event("thought", text="t " * 999, role="planner")], width, height
    )
    assert len(screen) <= height
    assert all(len(row) <= width for row in screen)
    if height >= 10:
        assert "▸ 20." in "\n".join(screen)


def test_on_a_terminal_the_end_gives_status_answer_and_path() -> None:
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", told(EVENTS, live=True))
    end = text[text.rindex("incomplete") :]
    assert end.startswith("incomplete: 2 steps, 9,500 tokens, $0.25, 1 min 23 s: the limit was")
    assert "It costs 20 % [1]." in end
    assert end.rstrip().endswith("report: runs/r1/report.md")


def test_a_failed_run_names_its_reason_and_no_report() -> None:
    end = event("end", status="failed", reason="nothing was read", steps=0, usd=0, tokens={}, seconds=1, folder="f")
    assert told([RUN, end]).splitlines()[1:] == ["failed: 0 steps, 0 tokens, $0.00, 1.0 s: nothing was read"]


@pytest.mark.parametrize(
    ("replies", "answer"),
    [
        ("\n", {"approve": True}),
        ("Yes\n", {"approve": True}),
        ("add prices\n", {"feedback": "add prices"}),
        ("no\n\nfewer\n", {"feedback": "fewer"}),
    ],
)
def test_a_waiting_plan_is_approved_or_changed(replies: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(replies))
    file = io.StringIO()
    with Terminal(file=file, live=True) as terminal:
        terminal(RUN)
        terminal(event("approval", plan=PLAN))
        assert terminal.approval() == answer
    assert "2. What does heating cost?" in file.getvalue()


def test_nobody_there_approves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with Terminal(file=io.StringIO(), live=True) as terminal:
        assert not terminal.interactive
        with pytest.raises(EOFError):
            terminal.approval()


def test_a_record_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    counted = {"steps": 2, "usd": 0.25, "tokens": USAGE, "seconds": 83.2}
    failures = [{"step": 2, "what": "scrape", "reason": "HTTP 403"}]
    record = {
        "id": "r1",
        "question": "Why?",
        "status": "incomplete",
        "reason": "stopped",
        "folder": "runs/r1",
        "report": "report.md",
        **counted,
    }
    show_record({**record, "sub_questions": PLAN, "warnings": ["w"], "failures": failures})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Why?", "r1  incomplete: stopped", "2 steps, 9,500 tokens, $0.25, 1 min 23 s"]
    assert lines[-4:] == ["warning: w", "failed: step 2, scrape: HTTP 403", "folder: runs/r1", "report: runs/r1/report.md"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_catalog_is_a_line_a_model_under_its_provider(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = tables.models()
    _, _, comet = out.partition("cometapi: https://api.cometapi.com/v1, COMETAPI_API_KEY")
    assert re.match(r"\n +MODEL .*\n +kimi-k2-thinking +262,144 +1\.10 +1\.10 +4\.40  reasoning_content", comet)
    assert re.search(r"gpt-5 +400,000 +1\.25 +0\.125 +10\.00  encrypted items", out)
    assert "kimi-k2.7-code" in out
    assert "llamacpp: http://127.0.0.1:8080/v1, no key" in out
    assert out.count("tried against:") >= len(rows_providers())
    assert max(map(len, out.splitlines())) <= columns


def rows_providers() -> set[str]:
    return {row.provider for row in catalog.rows()}


def test_the_documentation_has_the_catalogs_rows() -> None:
    told = (Path(__file__).parents[1] / "docs" / "models.md").read_text("utf-8")
    assert told == tables.models_markdown(), "run: research-agent models --markdown > docs/models.md"
    assert all(f"| {row.provider} | `{row.name}` |" in told for row in catalog.rows())


def test_the_readme_holds_the_table_of_what_was_tried() -> None:
    told = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert tables.models_markdown(brief=True) in told, "run: research-agent models --verified"


def test_a_structured_answer_is_shown_as_text_while_it_is_written() -> None:
    draft = json.dumps({"answer": 'Nine "moons" [S1].\nAll known.', "sections": [{"sub_question": "1", "text": "a, b: c {x}"}]})
    view = View(clock=lambda: 0.0)
    seen = set()
    for at in range(0, len(draft), 3):
        view.update({"type": "text", "text": draft[at : at + 3], "role": "writer"})
        seen.add(view.said)
        assert not any(mark in view.said for mark in ('{"', '":', "sub_question", "sections"))
    assert view.said == 'Nine "moons" [S1].\nAll known.\n1\na, b: c {x}'
    assert any(text.startswith('Nine "mo') and "[S1]" not in text for text in seen)  # as it comes
    view.update({"type": "turn", "role": "writer", "reasoning": "I wrote it.", "content": ""})
    assert view.said == "I wrote it."
    assert readable("no JSON {at all") == "no JSON {at all"
