"""The house: arrows run research_agent -> graphs -> memory, the faces are what they are said to be, and importing does nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import research_agent

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"memory": "research_agent.memory", "graphs": "research_agent.graphs", "research_agent": "research_agent"}
ALLOWED = {
    "memory": {"memory"},
    "graphs": {"graphs", "memory"},
    "research_agent": {"research_agent", "graphs", "memory"},
}


def room(module: str) -> str | None:
    """Which of the three folders a module of ours is in."""
    if module == "research_agent" or module.startswith("research_agent."):
        second = module.split(".")[1] if "." in module else ""
        return second if second in ("memory", "graphs") else "research_agent"
    return None


def sources(folder: str) -> list[Path]:
    links = (ROOT / "research_agent" / "graphs", ROOT / "research_agent" / "memory")
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if not any(path.is_relative_to(link) for link in links)]


def imports(path: Path, folder: str) -> list[str]:
    package = [*FOLDERS.get(folder, folder).split("."), *path.relative_to(ROOT / folder).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.append(".".join([*base, *([node.module] if node.module else [])]))
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_arrows_run_one_way(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(folder)
        for module in imports(path, folder)
        if (where := room(module)) and where not in ALLOWED[folder]
    ]
    assert sources(folder)
    assert not wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_imports_a_bare_memory_or_graphs(folder: str) -> None:
    bare = [str(path) for path in sources(folder) for module in imports(path, folder) if module.split(".")[0] in ("memory", "graphs")]
    assert not bare


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_config_reads_the_environment(folder: str) -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and path.name != "config.py"
    ]
    assert not readers


def test_the_face_is_what_it_says() -> None:
    assert research_agent.__all__ == ["Agent", "Config", "ConfigError", "Result", "RunError", "__version__", "build_research_graph"]
    assert all(getattr(research_agent, name) is not None for name in research_agent.__all__)


def test_a_command_is_a_line_and_its_function_says_what_it_does() -> None:
    from research_agent import cli
    from research_agent.commands.options import RUNS
    from research_agent.memory import remedy

    functions = [*cli.COMMANDS.values(), *cli.MEMORY_COMMANDS.values()]
    assert all(function.__doc__ and function.__module__.startswith("research_agent.commands.") for function in functions)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(re.search(rf"`{name}\b", readme) for name in [*cli.COMMANDS, *(f"memory {name}" for name in cli.MEMORY_COMMANDS)])
    assert RUNS == remedy.RUNS  # a remedy names an id only where a command looks for it


def test_a_setting_is_a_field_that_says_what_is_allowed() -> None:
    from research_agent import config
    from research_agent.settings import shapes as parts

    shapes = [shape for shape in vars(parts).values() if isinstance(shape, type) and issubclass(shape, parts.Part)]
    fields = {(shape.__name__, name): field for shape in [*shapes, config.Config] for name, field in shape.model_fields.items()}
    assert [place for place, field in fields.items() if not field.description] == []


def test_importing_does_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, research_agent, research_agent.cli\n"
        "heavy = {'langgraph', 'langchain_core', 'chromadb', 'trafilatura', 'pydantic', 'openai', 'httpx', 'numpy', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_a_run_starts_without_what_it_does_not_need_yet() -> None:
    """Half of what a start takes is imports: each of these would be waited for at every resume."""
    code = (
        "import sys, research_agent.commands.working, research_agent.models.chat, research_agent.tools.registry\n"
        "late = {'openai', 'langchain_openai', 'anthropic', 'chromadb', 'numpy', 'trafilatura', 'pypdf', 'ddgs', 'research_agent.report'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_application_may_own_the_names_memory_and_graphs(tmp_path: Path) -> None:
    (tmp_path / "memory.py").write_text("MINE = True\n")
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "__init__.py").write_text("MINE = True\n")
    code = (
        "import memory, graphs, pickle\n"
        "from research_agent.memory import Segment\n"
        "from research_agent.graphs.ports import Prices\n"
        "assert memory.MINE and graphs.MINE\n"
        "segment = Segment(run='r', step=1, kind='call', text='t', trust='own')\n"
        "assert pickle.loads(pickle.dumps(segment)) == segment and Segment.__module__ == 'research_agent.memory.segment'\n"
        "assert pickle.loads(pickle.dumps(Prices(miss=1.0))) == Prices(miss=1.0)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_what_tests_share_stands_in_no_test() -> None:
    tests = (ROOT / "tests").glob("test_*.py")
    assert [path.name for path in tests if any(module.startswith("test_") for module in imports(path, "tests"))] == []
