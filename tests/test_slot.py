"""The file of the model call in flight: the newest text that is whole counts, whatever a kill has left after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from research_agent.stores import slot as slots
from research_agent.stores.slot import Slot


def test_the_newest_whole_text_counts_also_after_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "call.json"
    slot = Slot(path)
    assert slot.read() == ""
    slot.write('{"task": "a"}')
    slot.write('{"task": "b", "said": "a\\nline"}')
    assert json.loads(Slot(path).read())["task"] == "b"
    with path.open("ab") as file:
        file.write(b'{"task": "c", "calls": [')
    after = Slot(path)
    assert json.loads(after.read())["task"] == "b"
    after.write('{"task": "d"}')
    assert json.loads(Slot(path).read()) == {"task": "d"}
    after.clear()
    assert Slot(path).read() == ""
    after.write('{"task": "e"}')
    assert json.loads(Slot(path).read()) == {"task": "e"}


def test_its_file_stays_small_and_what_an_earlier_version_left_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_MOST_BYTES", 1_000)
    path = tmp_path / "call.json"
    path.write_text('{"task": "one text, no line end"}', "utf-8")
    slot = Slot(path)
    assert json.loads(slot.read())["task"].startswith("one text")
    for n in range(50):
        slot.write(json.dumps({"task": str(n), "said": "x" * 100}))
        assert json.loads(Slot(path).read())["task"] == str(n)
        assert path.stat().st_size <= 1_000
    slot.write(json.dumps({"task": "long", "said": "x" * 5_000}))
    assert json.loads(Slot(path).read())["task"] == "long"
    assert [file.name for file in tmp_path.iterdir()] == ["call.json"]
