from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from research_agent.event_log import EventLog, events
from research_agent.redact import MARK, Redactor


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_event_is_a_line_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write({"type": "warning", "text": "one\ntwo"})
    assert read(path)[0]["text"] == "one\ntwo"
    log.write({"type": "result", "step": 3, "ok": True, "sources": [{"handle": "S300"}], "seconds": float("nan"), "at": tmp_path})
    first, second = read(path)
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert (second["step"], second["ok"], second["sources"], second["seconds"]) == (3, True, [{"handle": "S300"}], None)


def test_what_is_only_streamed_is_not_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for kind in ("thought", "text", "index", "end"):
        log.write({"type": kind, "text": "x"})
    assert [event["type"] for event in read(tmp_path / "events.jsonl")] == ["end"]


def test_secrets_are_not_written_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    secret = 'hunt"er2\nhunter2'
    EventLog(path, Redactor([secret])).write(
        {"type": "call", "args": {"q": [f"a {secret} b", {secret: 1}], "h": "Bearer abcdefghijkl0123456789"}}
    )
    event = read(path)[0]
    assert event["args"] == {"q": [f"a {MARK} b", {MARK: 1}], "h": f"Bearer {MARK}"}


def test_odd_characters_neither_break_a_line_nor_the_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    text = "lone \ud800 low \udcff line\u2028para\u2029next\x85nul\x00 東京 🦊"
    log = EventLog(path)
    log.write({"type": "warning", "text": text})
    log.write({"type": "warning", "text": "after"})
    assert [event["text"] for event in read(path)] == [text, "after"]
    assert "東京 🦊".encode() in path.read_bytes()


def test_a_line_cut_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "run"}\n{"type": "ca', encoding="utf-8")
    log = EventLog(path)
    log.write({"type": "run", "resumed": True})
    log.write({"type": "end"})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["type"] for line in (lines[0], lines[2], lines[3])] == ["run", "run", "end"]


def test_a_log_cut_at_any_byte_is_read_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).write({"type": "warning", "text": "first"})
    whole = path.read_bytes()
    EventLog(path).write({"type": "warning", "text": "été 氷"})
    after = path.read_bytes()
    for end in range(len(whole), len(after)):
        path.write_bytes(after[:end])
        EventLog(path).write({"type": "warning", "text": "last"})
        texts = [event["text"] for event in events(path)]
        assert (texts[0], texts[-1]) == ("first", "last")
