"""Killed at any moment, and resumed: nothing that was finished is repeated, paid for twice or lost, and the model is told the same."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from research_agent.history.replay import replay
from research_agent.runs import Run
from research_agent.sandbox.bubblewrap import available
from research_agent.testing.crash import audit
from research_agent.testing.crash.rig import Life, Rig, until
from research_agent.testing.crash.seams import SEAMS
from research_agent.testing.crash.world import LOOKED, World
from research_agent.testing.embedder import HashingEmbedder

WITH_VECTORS = ("vectors.before", "vectors.after", "vectors.marked.before", "vectors.marked.after")


@dataclass(frozen=True)
class Scene:
    world: World
    rig: Rig
    unkilled: Life
    asked: list[str]
    fetched: dict[str, int]

    @property
    def lines(self) -> int:
        return sum(path.endswith("0") for path in self.fetched if not path.startswith("/search"))

    def life(self, folder: Path, *, embedder: bool = False, **changes: Any) -> Life:
        return Life(self.rig, self.world, self.world.config(folder, **changes), embedder)


WORLDS: dict[int, dict[str, Any]] = {26: {"lines": "A", "follow_up": "B", "stations": 5, "words": 700}, 68: {}}
"""By the steps of a run in them. The pages of the shorter one are so long that it is compacted, too."""


@pytest.fixture(scope="module", params=[26, pytest.param(68, marks=pytest.mark.slow)])
def scene(request: pytest.FixtureRequest, rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    yield from staged(rig, World(**WORLDS[request.param]), tmp_path_factory.mktemp("unkilled"))


@pytest.fixture(scope="module")
def short(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """11 steps, for what does not need more."""
    yield from staged(rig, World(lines="A", follow_up="", stations=4), tmp_path_factory.mktemp("unkilled"))


def staged(rig: Rig, world: World, folder: Path) -> Iterator[Scene]:
    with world:
        unkilled = Life(rig, world, world.config(folder))
        assert unkilled.whole().status == 0
        assert record(unkilled)["steps"] == world.steps
        yield Scene(world, rig, unkilled, unkilled.asked, unkilled.fetched)


def record(life: Life) -> dict[str, Any]:
    assert life.folder
    found: dict[str, Any] = json.loads((life.folder / "run.json").read_text("utf-8"))
    return found


def same_as_unkilled(scene: Scene, life: Life) -> None:
    assert life.folder
    assert scene.unkilled.folder
    assert record(life)["status"] == "complete"
    assert audit.faults(life.folder) == []
    assert audit.differences(life.folder, scene.unkilled.folder) == []
    assert list(dict.fromkeys(life.asked)) == scene.asked  # byte for byte: prompt, tools and settings
    replayed = asyncio.run(replay(Run(life.folder)))
    assert (replayed.difference, replayed.requests, replayed.recorded) == ("", len(scene.asked), len(scene.asked))


def test_a_run_killed_at_every_seam_ends_as_the_unkilled_one(scene: Scene, tmp_path: Path) -> None:
    life = scene.life(tmp_path)
    missed = [seam for seam in SEAMS if seam not in WITH_VECTORS and not seam.startswith("reopened") and not life.killed_at(seam)]
    assert missed == []
    assert life.whole().status == 0
    same_as_unkilled(scene, life)
    assert life.repeated_at == []  # no request to the model was under way at a seam
    assert len(life.asked) == len(scene.asked) == record(life)["model_calls"]
    assert record(life)["usd"] == pytest.approx(life.billed_usd, abs=1e-6)
    again = Counter(life.fetched) - Counter(scene.fetched)
    assert set(again) <= {"/A0", "/A1", "/A2"}  # those in flight when a tool was killed at its return
    lines = (life.folder / "workspace" / LOOKED).read_text("utf-8").splitlines() if life.folder else []
    assert len(lines) == len(set(lines)) == scene.lines  # what code has done, it has done once


def test_a_run_killed_at_random_ends_as_the_unkilled_one(scene: Scene, tmp_path: Path) -> None:
    life, chance = scene.life(tmp_path), random.Random()
    while life.killed_randomly(chance, requests=(0, 1) if scene.world.steps > 60 else (0, 1, 1)):
        assert life.kills < 200
    assert life.kills >= (50 if scene.world.steps > 60 else 8)
    same_as_unkilled(scene, life)
    repeated = len(life.asked) - len(scene.asked)
    assert repeated <= life.kills
    spent = record(life)
    assert len(life.asked) <= spent["model_calls"] <= len(scene.asked) + life.kills
    roles = spent["roles"]
    assert sum(role["calls"] for role in roles.values()) == spent["model_calls"]
    assert sum(role["usd"] for role in roles.values()) == pytest.approx(spent["usd"], abs=1e-4)
    cut = sum("was cut and is made again" in text for text in every_warning(life))
    assert spent["model_calls"] == len(scene.asked) + cut  # each that may have been billed twice is counted, and said
    assert max(life.fetched.values()) <= 1 + life.kills
    assert sum((Counter(life.fetched) - Counter(scene.fetched)).values()) <= 3 * life.kills  # three at once, in flight


def every_warning(life: Life) -> list[str]:
    assert life.folder
    lines = (life.folder / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event["text"] for event in events if event["type"] == "warning"]


def test_with_an_embedder_no_vector_is_lost_or_double(short: Scene, tmp_path: Path) -> None:
    life = short.life(tmp_path, embedder=True)
    for seam in (*WITH_VECTORS, "ledger.add.after"):
        assert life.killed_at(seam)
    assert life.whole().status == 0
    assert life.folder
    assert audit.faults(life.folder, embedder=HashingEmbedder()) == []
    assert life.repeated_at == []


def test_killed_while_it_resumes_and_twice_within_a_second(short: Scene, tmp_path: Path) -> None:
    life = short.life(tmp_path)
    assert life.killed_at("note.after", 2)
    before, began = len(life.asked), time.monotonic()
    for delay_s in (0.0, 0.05, 0.1, 0.15):
        child = life.session()
        time.sleep(delay_s)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert time.monotonic() - began < 5
    assert len(life.asked) - before <= 4
    assert life.whole().status == 0
    same_as_unkilled(short, life)


def test_no_code_outlives_the_process_that_ran_it(rig: Rig, tmp_path: Path) -> None:
    if reason := available():
        pytest.skip(reason)
    for sandbox, group in (("bubblewrap", False), ("bubblewrap", True), ("none", False)):
        folder = tmp_path / f"{sandbox}-{group}"
        world = World(lines="A", follow_up="", stations=1)
        world.code = f"import time\nopen('{LOOKED}', 'w').write('on')\ntime.sleep(60)"
        with world:
            life = Life(rig, world, world.config(folder, python={"sandbox": sandbox}))
            child = life.session()
            until(lambda life=life: life.folder is not None and (life.folder / "workspace" / LOOKED).exists())
            code = below(child.pid)
            assert code
            child.kill(group=group)
            child.wait()
            until(lambda code=code: not any(alive(pid) for pid in code), 10)


def below(pid: int) -> list[int]:
    """All processes below one."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*children, *(under for child in children for under in below(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_asked_for_finishes_the_step_and_the_run_goes_on_later(short: Scene, tmp_path: Path, number: signal.Signals) -> None:
    life = short.life(tmp_path)
    child = life.session()
    until(lambda: len(life.asked) >= 5)
    child.kill(number)
    assert child.wait() == 130
    assert child.said().strip().splitlines()[-1].startswith("research-agent: incomplete: stopped; ")
    stopped = record(life)
    assert stopped["status"] == "incomplete"
    assert stopped["report"] == "report.md"
    assert len(life.asked) == stopped["model_calls"]
    assert life.whole().status == 0
    same_as_unkilled(short, life)
    assert len(life.asked) == len(short.asked)
