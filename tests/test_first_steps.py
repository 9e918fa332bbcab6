"""What somebody new gets wrong first, and is told in words that help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

from research_agent.memory import EmbedderUnavailable
from research_agent.memory.embedders import choose

CORPUS = Path(__file__).resolve().parents[1] / "examples" / "corpus"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """In a folder of its own, with a config of a question that the examples answer."""
    monkeypatch.chdir(tmp_path)
    search = {"folder": str(CORPUS)}
    told = {
        "question": "Is it safe when two processes write vectors to one Chroma folder?",
        "search": search,
        "memory": {"embedder": "none"},
    }
    Path("config.yaml").write_text(json.dumps(told))
    return command


def test_an_empty_search_folder_is_told_and_what_looks_elsewhere(command: Command) -> None:
    Path("empty").mkdir()
    done = command("run", "config.yaml", "--set", "search.folder=empty", "--json")
    assert done.code == 1
    assert "there is no document in empty that could be read" in done.err
    again = command("resume", json.loads(done.out)["id"])
    assert "looked through its whole plan and found nothing: `research-agent fork" in again.err
    fork = again.err.split("`")[1].replace("DIR", str(CORPUS)).split()[1:]
    assert command(*fork).code == 0


def test_a_cache_that_cannot_be_written_costs_no_run(command: Command) -> None:
    Path("file").write_text("in the way")
    done = command("run", "config.yaml", "--set", "cache=file/below", "--json")
    assert done.code == 0
    assert "the cache file/below cannot be written (Not a directory)" in done.err
    assert "`--set cache=DIR` names another folder" in done.err


def test_a_folder_a_provider_or_a_handle_that_there_is_not_is_told_as_that(command: Command) -> None:
    assert command("list", "--out", "nowhere").out == "no runs in nowhere: there is no such folder\n"
    id = json.loads(command("run", "config.yaml", "--json").out)["id"]
    assert command("memory", "search", id, "S99999").out == f"S99999: no such handle in {id}\n"
    done = command("resume", id, "--model", "nosuchprov:foo")
    assert (done.code, "'nosuchprov' is no provider with models by name; allowed: extractive, openai:NAME" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["/nope", "./nope", "~/nope", "models/of/mine"])
def test_an_embedder_by_a_path_that_is_not_there_is_one_line_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(EmbedderUnavailable, match=f"^{name}: no such folder$"):
        choose(f"sentence-transformers:{name}")


def test_what_is_installed_is_not_to_be_installed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("research_agent.memory.embedders._in_hub_cache", lambda name: False)
    monkeypatch.setattr("research_agent.memory.embedders._onnx_folder", lambda: tmp_path)
    for there, remedy in ((True, "(set memory.embedder to a"), (False, "(`pip install '.[embeddings]'` and set memory.embedder to a")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, there=there: there or None)
        assert remedy in choose("auto").reason


@pytest.mark.parametrize("of", [[], ["memory"]])
def test_no_command_is_told_of_in_half_a_sentence(of: list[str], command: Command) -> None:
    told = command(*of, "--help").out.partition("Commands:")[2]
    assert told
    assert "..." not in told
