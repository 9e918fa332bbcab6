"""What was, by the commands: one step, the plan, the list, a replay, a fork, a run forgotten."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import Command
from rich.cells import cell_len

from research_agent import Agent, RunError, cli
from research_agent.history.listing import Row, age, rows
from research_agent.history.plan_file import PlanError, read_plan, write_plan
from research_agent.runs import Run, create
from research_agent.terminal.runs import listed

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "The fee is 7 crowns\x1b]0;owned\x07\x1b[2J\x9b31m\u202e, it says here."


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents, a config, and a finished run in `runs`."""
    where = tmp_path_factory.mktemp("kept")
    (where / "docs").mkdir()
    (where / "docs" / "fee.md").write_text(f"# The fee of the ferry\n\n{HOSTILE} The ferry crosses at noon.\n")
    (where / "docs" / "ferry.md").write_text("# The ferry\n\nThe ferry of Quell crosses the lake at noon and carries nine horses.\n")
    (where / "config.yaml").write_text(
        "question: What is the fee of the ferry, and what does the ferry carry?\n"
        f"search: {{folder: docs}}\nmemory: {{embedder: none}}\ncache: {where / 'cache'}\nout: {where / 'runs'}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["research-agent", "run", str(where / "config.yaml"), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 0
    return where


@pytest.fixture
def world(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    shutil.copytree(kept, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def only(world: Path) -> Run:
    [folder] = (world / "runs").iterdir()
    return Run(folder)


def test_a_step_is_shown_as_it_stood(world: Path, command: Command) -> None:
    run = only(world)
    last = run.read()["steps"]
    told = [json.loads(command("show", run.id, "--step", str(n), "--json").out) for n in range(last + 1)]
    assert told[0]["plan"]
    assert told[0]["prompt"][0]["role"] == "system"
    for n, step in enumerate(told[1:], 1):
        assert step["step"] == n
        assert [message["role"] for message in step["prompt"][:2]] == ["system", "user"]
        assert step["call"]["id"] in [call["id"] for call in step["reply"]["tool_calls"]]
        assert step["observation"]["tool_call_id"] == step["call"]["id"]
        assert step["reply"]["reasoning"]
        assert step["cost"]["input"] > 0
    assert told[1]["call"]["name"] == "web_search"
    prompts = {step["turn"]: step["prompt"] for step in told[1:]}
    grown = [prompts[turn] for turn in sorted(prompts)]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(grown))
    text = command("show", run.id, "--step", "1").out
    assert text.startswith(f"step 1 of {last} (investigator, turn 1, extractive)\nsub-question 1: ")
    assert re.search(r"^cost: \$0\.0000; [\d,]+ tokens in", text, re.MULTILINE)
    assert "== prompt 1: system ==" in text
    assert "== call of step 1 == web_search(" in text


def test_hostile_text_in_a_step_commands_no_terminal(world: Path, command: Command) -> None:
    run = only(world)
    texts = [command("show", run.id, "--step", str(n)).out for n in range(run.read()["steps"] + 1)]
    assert any("The fee is 7 crowns" in text for text in texts)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", "".join(texts))


def test_a_step_can_be_shown_without_records_and_beside_a_writer(world: Path, command: Command) -> None:
    run = only(world)
    recorded = json.loads(command("show", run.id, "--step", "2", "--json").out)
    (run.folder / "records.sqlite").unlink()
    with run.lock():
        plain = json.loads(command("show", run.id, "--step", "2", "--json").out)
    assert plain["prompt"] == recorded["prompt"]
    assert plain["observation"] == recorded["observation"]


@pytest.mark.parametrize("args", [("show", "--step", "99"), ("show", "--step", "-1"), ("fork", "--at", "99"), ("fork", "--at", "-1")])
def test_a_bad_step_is_exit_2_and_names_what_is_allowed(world: Path, command: Command, args: tuple[str, ...]) -> None:
    run = only(world)
    done = command(args[0], run.id, *args[1:])
    assert done.code == 2
    assert re.fullmatch(rf"research-agent: (--)?step {args[-1]}: not allowed: 0 to {run.read()['steps']}\n", done.err)
    assert [folder.name for folder in (world / "runs").iterdir()] == [run.id]


def test_a_fork_by_the_command_is_a_run_of_its_own(world: Path, command: Command) -> None:
    parent = only(world)
    Path("plan.md").write_text("My plan:\n\n1. What does the ferry carry?\n2. When does the ferry\n   cross the lake?\n")
    done = command("fork", parent.id, "--at", "1", "--plan", "plan.md", "--json")
    told = json.loads(done.out.splitlines()[-1])
    assert (done.code, told["status"]) == (0, "complete")
    record = Run(Path(told["folder"])).read()
    assert record["parent"]["id"] == parent.id
    assert [item["question"] for item in record["sub_questions"]] == ["What does the ferry carry?", "When does the ferry cross the lake?"]
    assert command("replay", told["id"]).code == 0
    assert command("forget", parent.id, "--yes").code == 0
    assert command("replay", told["id"]).code == 0
    assert "nine horses" in command("report", told["id"]).out


def test_a_fork_says_where_from_and_goes_where_it_is_told_to(world: Path, command: Command) -> None:
    parent = only(world)
    shutil.move(world / "runs", world / "kept")
    folder = world / "kept" / parent.id
    done = command("fork", str(folder), "--at", "1", "--out", "forks")
    [fork] = (world / "forks").iterdir()
    assert done.code == 0
    assert (
        f"run {fork.name} in {fork}, forked from {parent.id} at step 1: its steps and sub-questions are numbered on from there\n"
        in done.out
    )
    assert "resumed" not in done.out
    assert "so far" not in done.out
    steps = [int(step) for step in re.findall(r"^step (\d+): \w+\(", done.out, re.MULTILINE)]
    assert steps == list(range(2, steps[-1] + 1))
    assert f"\ncomplete: {len(steps)} steps, " in done.out
    assert command("fork", str(folder), "--at", "1").code == 0
    assert len(list((world / "kept").iterdir())) == 2  # beside its parent, unless told otherwise
    again = command("resume", fork.name, "--out", "forks")
    assert f"run {fork.name} in {fork}, resumed\n" in again.out
    assert f"so far: {len(steps)} steps" in again.out


def test_a_fork_goes_elsewhere_also_where_its_parent_is_named_by_its_id(world: Path, command: Command) -> None:
    parent = only(world)
    unknown = command("fork", "nobody", "--at", "1", "--out", "forks")
    assert "no run 'nobody' in forks, nor in runs; `research-agent list" in unknown.err
    for name in (parent.id, parent.id[:-1]):
        assert command("fork", name, "--at", "1", "--out", f"for-{name}").code == 0
        [fork] = Path(f"for-{name}").iterdir()
        assert Run(fork).read()["parent"]["id"] == parent.id


def test_a_fork_elsewhere_recalls_from_the_same_earlier_runs(world: Path, command: Command) -> None:
    earlier = only(world)
    assert command("run", "config.yaml", "--out", "runs", "--set", f"memory.also=[{earlier.id}]").code == 0
    [run] = [folder for folder in (world / "runs").iterdir() if folder.name != earlier.id]
    done = command("fork", str(run), "--at", "1", "--out", "forks")
    assert (done.code, done.err) == (0, "")
    [fork] = (world / "forks").iterdir()
    assert Run(fork).read()["config"]["memory"]["also"] == [str(earlier.folder)]


def test_a_replay_says_what_is_the_same_and_ends_with_1_where_something_differs(world: Path, command: Command) -> None:
    run = only(world)
    for path in (world / "docs").iterdir():
        path.unlink()
    done = command("replay", run.id)
    calls = run.read()["model_calls"]
    assert (done.code, done.out) == (0, f"replayed {run.id}: {calls} of {calls} prompts are the same, byte for byte\n")
    told = json.loads(command("replay", run.id, "--json").out)
    assert told == {"id": run.id, "requests": calls, "same": calls, "difference": "", "ends": ""}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("research_agent.graphs.prompts.PLANNER", "You plan otherwise.")
        done = command("replay", run.id)
    assert done.code == 1
    assert re.match(
        rf"research-agent: run \S+ differs: request 1 of {calls} \(planner\): message 1: from character \d+ on it was", done.err
    )
    (run.folder / "records.sqlite").write_bytes(b"not a database, but longer than its header is, so that it is looked at" * 20)
    assert command("replay", run.id).code == 1


def test_a_plan_waits_and_is_answered_with_a_file(world: Path, command: Command) -> None:
    shutil.rmtree(world / "runs")
    done = command("run", "config.yaml", "--out", "runs", "--set", "approve_plan=true")
    assert done.code == 3
    run = only(world)
    hint = f"`research-agent resume {run.id} --answer yes` goes on with it; --answer TEXT says what to change, --plan FILE gives another"
    assert done.err.startswith(f"research-agent: incomplete: the plan waits for approval: {hint} (`research-agent show {run.id} --plan`")
    assert (run.read()["status"], run.status()) == ("incomplete", "waiting")
    [row] = json.loads(command("list", "--status", "waiting", "--json").out)
    assert (row["id"], row["status"]) == (run.id, "waiting")
    assert "waiting" in command("list").out
    assert f"{run.id}  waiting: the plan waits for approval\n{hint}" in command("show", run.id).out
    assert json.loads(command("show", run.id, "--json").out)["status"] == "waiting"
    Path("plan.yaml").write_text(command("show", run.id, "--plan").out + "- How many horses does the ferry carry?\n")
    assert len(read_plan(Path("plan.yaml"))) == len(run.read()["sub_questions"]) + 1
    words = command("resume", run.id, "--answer", "drop the third")
    assert (words.code, run.status()) == (1, "waiting")
    assert f"the extractive planner cannot change a plan by words: `research-agent resume {run.id} --plan FILE` gives another" in words.err
    both = command("resume", run.id, "--plan", "plan.yaml", "--answer", "yes")
    assert (both.code, both.err.count("\n")) == (2, 1)
    done = command("resume", run.id, "--plan", "plan.yaml")
    assert done.code == 0
    assert run.read()["sub_questions"][-1]["question"] == "How many horses does the ferry carry?"
    again = command("resume", run.id, "--plan", "plan.yaml")
    assert again.code == 1
    assert "does not wait for a word on its plan: it is complete, `research-agent fork" in again.err
    assert "nothing is left to do" not in again.err
    assert run.read()["status"] == run.status() == "complete"


async def test_in_python_a_plan_that_waits_is_answered_by_text_too(world: Path) -> None:
    agent = Agent.from_config("config.yaml", out="runs", overrides=["approve_plan=true"])
    waiting = await agent.arun()
    assert waiting.waiting
    for nothing in ("", "  ", {}, {"approve": "yes"}, {"plan": []}, 7):
        with pytest.raises(RunError, match=r"is no answer to a plan; allowed: 'yes', a text that says what to change, \{approve: true\}"):
            await agent.aresume(waiting.id, answer=nothing)  # type: ignore[arg-type]
    assert Run(waiting.folder).status() == "waiting"
    assert (await agent.aresume(waiting.id, answer="yes")).status == "complete"


def test_a_remedy_names_the_folder_of_a_run_that_is_not_looked_for_by_its_id(
    world: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "else where").mkdir()
    run = only(world)
    folder = Path(shutil.move(world / "runs", world / "else where")) / run.id
    told = command("resume", str(folder), "--answer", "yes")
    assert told.code == 1
    assert f"`research-agent fork '{folder}' --at STEP --plan FILE` takes another plan" in told.err
    monkeypatch.chdir(world / "else where")
    assert f"`research-agent fork {run.id} --at STEP --plan FILE` takes another plan" in command("resume", run.id, "--answer", "yes").err


@pytest.mark.parametrize(
    ("name", "text", "plan"),
    [
        ("p.yaml", "- One?\n- Two: or three?\n", ["One?", "Two: or three?"]),
        ("p.json", '["One?", "Two?"]', ["One?", "Two?"]),
        ("p.json", '{"plan": [{"id": "1", "question": "One?", "status": "open"}]}', ["One?"]),
        ("p.yml", "sub_questions: ['One?', 'Two?']", ["One?", "Two?"]),
        ("p.md", "# Plan\n\n- [ ] One `x`: y?\n- Two?\n  and more?\n\nThanks.\n", ["One `x`: y?", "Two? and more?"]),
        ("plan", "1. One?\n2. Two?\n", ["One?", "Two?"]),
    ],
)
def test_a_plan_is_read_from_yaml_json_and_markdown(tmp_path: Path, name: str, text: str, plan: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert read_plan(tmp_path / name) == plan
    items = [{"question": question, "status": "open"} for question in plan]
    (tmp_path / "again.yaml").write_text(write_plan("r", items))
    assert read_plan(tmp_path / "again.yaml") == plan


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is no sub-question in it"),
        ("- One?\n- 7\n", "sub-question 2 is not a text"),
        ("- One?\n- one?\n", "sub-question 2 is the same as sub-question 1"),
        ("- One?\n-\n", "sub-question 2 is not a text"),
        ("{a: 1}", "a list of sub-questions"),
        ("a: [", "not YAML in line"),
        ("\x00", "not YAML"),
        ("- " + "x" * 3000, "3,000 characters"),
        ("\n".join(f"- q{n}" for n in range(60)), "60 sub-questions; at most 50"),
    ],
)
def test_a_bad_plan_is_one_line_that_names_the_file(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PlanError) as told:
        read_plan(tmp_path / "p.yaml")
    assert str(told.value).startswith(f"--plan {tmp_path / 'p.yaml'}: ")
    assert fault in str(told.value)
    assert "\n" not in str(told.value)


def test_runs_are_found_by_words_and_status_and_a_damaged_one_is_shown(world: Path, command: Command) -> None:
    run = only(world)
    other = create(world / "runs", "Where do the cranes of 東京 sleep?")
    other.update(status="failed", reason="none")
    (world / "runs" / "broken").mkdir()
    (world / "runs" / "broken" / "run.json").write_text('{"id": ')
    (world / "runs" / "empty").mkdir()
    (world / "runs" / "empty" / "ledger.sqlite").write_bytes(b"")
    (world / "runs" / "listed").mkdir()
    (world / "runs" / "listed" / "run.json").write_text("[1]")
    ids = [item["id"] for item in json.loads(command("list", "--json").out)]
    assert sorted(ids) == sorted([run.id, other.id, "broken", "empty", "listed"])
    assert [item["id"] for item in json.loads(command("list", "FERRY", "fee", "--json").out)] == [run.id]
    assert [item["id"] for item in json.loads(command("list", "--status", "failed", "--json").out)] == [other.id]
    damaged = json.loads(command("list", "--status", "damaged", "--json").out)
    assert all("run.json" in item["reason"] for item in damaged)
    assert command("list").code == 0
    assert command("list", "zeppelin").out == "no runs in runs that match\n"
    bad = command("list", "--status", "done")
    assert bad.code == 2
    assert "complete, incomplete" in bad.err


def test_the_columns_stand_under_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Short?", "東京の鶴はどこで眠りますか、そして何を食べますか?" * 3, "long " * 60, "a\x1b[2Jb\nc"]
    some = [
        Row(id=f"2026-{n}-x", folder="", status="complete", question=text, created="2026-01-01T00:00:00Z") for n, text in enumerate(texts)
    ]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = list(listed(some))
    assert all(cell_len(line) <= 80 for line in lines)
    assert {line.index("complete") for line in lines[1:]} == {lines[0].index("STATUS")}
    assert {cell_len(line[: line.index("$0.00")]) for line in lines[1:]} == {lines[0].index("COST") - 1}
    assert lines[2].endswith("…")
    assert "\x1b" not in lines[4]


def test_a_thousand_runs_are_listed_at_once(tmp_path: Path) -> None:
    record = json.dumps({"question": "Why?", "status": "complete", "created": "2026-01-01T00:00:00Z", "usd": 1, "x": ["y" * 50] * 100})
    for n in range(1000):
        (tmp_path / f"{n:04}").mkdir()
        (tmp_path / f"{n:04}" / "run.json").write_text(record)
    started = time.process_time()
    found = rows(tmp_path, text="why")
    assert list(listed(found))[-1].startswith("0999")
    assert time.process_time() - started < 1.0
    assert len(found) == 1000


def test_an_id_that_may_mean_several_runs_names_the_newest_of_them_in_one_line(tmp_path: Path, command: Command) -> None:
    made = sorted(create(tmp_path, f"Is it {n}?").id for n in range(7))
    told = command("show", "20", "--out", str(tmp_path))
    assert told.code == 1
    assert told.err.count("\n") == 1
    assert f"7 runs begin with '20' in {tmp_path}: {', '.join(made[:1:-1])} and 2 older" in told.err
    assert made[1] not in told.err
    assert command("show", made[3][:-1], "--out", str(tmp_path)).code == 0


def test_an_age_is_told_in_its_largest_unit() -> None:
    assert age("nonsense") == "?"
    assert age("2999-01-01T00:00:00Z") == "now"
    assert re.fullmatch(r"\d+ d", age("2020-01-01T00:00:00"))


def test_forget_tells_what_it_removed_and_refuses_a_run_that_is_worked_on(world: Path, command: Command) -> None:
    run = only(world)
    with run.lock():
        refused = command("forget", run.id, "--yes")
    assert refused.code == 1
    assert "worked on by another process" in refused.err
    done = command("forget", run.id, "--yes")
    assert done.code == 0
    assert re.fullmatch(rf"forgot {run.id}: removed \d+ files \([\d,]+ kB\) in {re.escape(str(run.folder))}\n", done.out)
    assert list((world / "runs").iterdir()) == []
    assert command("forget", run.id, "--yes").code == 1


def test_a_report_in_a_format_that_was_not_asked_for_is_made_of_what_is_stored(world: Path, command: Command) -> None:
    run = only(world)
    page = run.folder / "report.html"
    written = page.read_text("utf-8")
    page.unlink()
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    made = command("report", run.id, "--format", "html")
    assert made.code == 0
    assert made.out.strip() == written.strip()
    assert {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


def test_a_report_written_anew_is_printed_and_its_writer_is_not_the_runs(world: Path, command: Command) -> None:
    run = only(world)
    before = run.read()
    done = command("report", run.id, "--set", "report.max_words=60", "--set", "report.formats=[md]")
    assert done.code == 0
    assert done.out.strip() == (run.folder / "report.md").read_text("utf-8").strip()
    assert done.out.startswith("# ")
    assert f"run {run.id} in {run.folder}: its report is written again by extractive\n" in done.err
    assert "resumed" not in done.err
    assert len((run.folder / "report.1.md").read_text("utf-8")) > len(done.out)
    assert run.read()["config"] == before["config"]
    page = command("report", run.id, "--format", "html")  # of the new report, though only Markdown was asked for then
    assert (run.folder / "report.html").exists() is False
    assert len(page.out) < len((run.folder / "report.1.html").read_text("utf-8"))
    told = json.loads(command("report", run.id, "--json").out)
    assert (told["status"], told["report"]) == ("complete", str(run.folder / "report.md"))
    assert told["text"].strip() == done.out.strip()


def test_a_writer_that_cannot_be_reached_is_one_line_and_the_report_stays(
    world: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("research_agent.graphs.calls.wait_s", lambda error, attempt: 0.01)
    run = only(world)
    before, report = run.read(), (run.folder / "report.md").read_bytes()
    done = command("report", run.id, "--model", "vllm:any", "--set", "roles.writer.base_url=http://127.0.0.1:1/v1")
    assert (done.code, done.out) == (1, "")
    [line] = [line for line in done.err.splitlines() if "written anew" in line]
    assert line == done.err.splitlines()[-1]
    assert re.fullmatch(
        r"research-agent: the report was not written anew: nothing answers at 127\.0\.0\.1:1, .*base_url; the one there was stays", line
    )
    assert "findings as they were noted" not in done.err
    after = run.read()
    assert [after[name] for name in ("status", "reason", "report", "config")] == [
        before[name] for name in ("status", "reason", "report", "config")
    ]
    assert (run.folder / "report.md").read_bytes() == report
    assert not list(run.folder.glob("report.1.*"))
    assert command("report", run.id).out.strip().encode() == report.strip()


def test_a_forget_that_was_cut_in_the_folder_is_known_and_ended_by_another(
    world: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = only(world)
    (run.folder / "vectors").mkdir(exist_ok=True)

    def fails(path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with monkeypatch.context() as failing:
        failing.setattr("shutil.rmtree", fails)
        cut = command("forget", run.id, "--yes")
    assert cut.code == 1
    assert re.search(rf"is not wholly removed: \S+: Device or resource busy; `research-agent forget \S*{run.id}` ends it", cut.err)
    assert [row.status for row in rows(world / "runs")] == ["half-forgotten"]
    assert f"run {run.id} is half forgotten; gone: a part of its folder; " in command("resume", run.id).err
    assert command("forget", run.id, "--yes").code == 0
    assert list((world / "runs").iterdir()) == []


def test_what_a_kill_leaves_of_a_forgotten_run_goes_as_a_next_one_begins(
    world: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, replace = only(world), os.replace

    def killed(source: Path, target: Path) -> None:
        replace(source, target)
        if source == run.folder:
            raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr("research_agent.stores.forget.os.replace", killed)
        command("forget", run.id, "--yes")
    [left] = (world / "runs").iterdir()
    os.utime(left, (0, 0))
    other = create(world / "runs", "Another question?")
    assert [path.name for path in (world / "runs").iterdir()] == [other.id]


def test_resuming_a_complete_run_says_that_nothing_was_left_to_do(world: Path, command: Command) -> None:
    run = only(world)
    before = run.read()
    done = command("resume", run.id)
    assert done.code == 0
    assert f"run {run.id} is complete: nothing is left to do but its report's files" in done.err
    assert {key: run.read()[key] for key in ("steps", "model_calls", "usd")} == {
        key: before[key] for key in ("steps", "model_calls", "usd")
    }
