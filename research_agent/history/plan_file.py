"""A plan in a file, written or edited by a person: sub-questions as YAML, JSON or a Markdown list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from research_agent.visible import visible

MAX_SUB_QUESTIONS = 50
MAX_CHARS = 2_000
_ALLOWED = "a list of sub-questions: YAML (- Which ...?), JSON, or a Markdown list"
_ITEM = re.compile(r"\s{0,3}(?:[-*+]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?(.*)")
_MORE = re.compile(r"\s+\S")


class PlanError(Exception):
    """A file that holds no plan: one line, what and where."""


def read_plan(path: Path) -> list[str]:
    """The sub-questions, in their order. Raises PlanError."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise PlanError(f"--plan {path}: no such file; {_ALLOWED}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise PlanError(f"--plan {path}: cannot be read: {why}; {_ALLOWED}") from error
    questions = _markdown(text) if path.suffix.lower() in (".md", ".markdown", ".txt") else _yaml(path, text)
    if not questions:
        raise PlanError(f"--plan {path}: there is no sub-question in it; {_ALLOWED}")
    if len(questions) > MAX_SUB_QUESTIONS:
        raise PlanError(f"--plan {path}: {len(questions)} sub-questions; at most {MAX_SUB_QUESTIONS} are allowed")
    return _checked(path, questions)


def _checked(path: Path, questions: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    for number, text in enumerate(questions, 1):
        if not text:
            raise PlanError(f"--plan {path}: sub-question {number} is empty; each is a text")
        if len(text) > MAX_CHARS:
            raise PlanError(f"--plan {path}: sub-question {number} has {len(text):,} characters; at most {MAX_CHARS:,} are allowed")
        if first := seen.get(text.lower()):
            raise PlanError(f"--plan {path}: sub-question {number} is the same as sub-question {first}; each is asked once")
        seen[text.lower()] = number
    return list(questions)


def _yaml(path: Path, text: str) -> list[str]:
    """YAML holds JSON; what is neither may be a Markdown list, whose texts need no quoting."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if listed := _markdown(text):
            return listed
        mark = getattr(error, "problem_mark", None)
        at = f" in line {mark.line + 1}" if mark else ""
        raise PlanError(f"--plan {path}: not YAML{at}; {_ALLOWED}") from error
    if isinstance(found, str) and (listed := _markdown(text)):
        return listed
    if isinstance(found, Mapping):
        found = next((found[key] for key in ("plan", "sub_questions") if key in found), found)
    if found is None:
        return []
    if not isinstance(found, list):
        raise PlanError(f"--plan {path}: the file is a {type(found).__name__}; {_ALLOWED}")
    return [_text(path, number, item) for number, item in enumerate(found, 1)]


def _text(path: Path, number: int, item: Any) -> str:
    """A sub-question as a text, as `{question: ...}`, or as YAML reads one with a colon in it: `Which: this or that?`."""
    if isinstance(item, Mapping) and isinstance(item.get("question"), str):
        item = item["question"]
    elif isinstance(item, Mapping) and len(item) == 1 and all(isinstance(part, str) for pair in item.items() for part in pair):
        item = ": ".join(*item.items())
    if not isinstance(item, str):
        shown = type(item).__name__ if item is not None else "empty"
        raise PlanError(f"--plan {path}: sub-question {number} is not a text ({shown}); {_ALLOWED}")
    return " ".join(visible(item).split())


def _markdown(text: str) -> list[str]:
    """The items of a list; an indented line goes on with its item, whatever else is there is a remark."""
    items: list[str] = []
    inside = False
    for line in text.splitlines():
        if match := _ITEM.fullmatch(line):
            items.append(match[1])
            inside = True
        elif inside and _MORE.match(line):
            items[-1] += f" {line.strip()}"
        else:
            inside = False
    return [" ".join(visible(item).split()) for item in items]


def write_plan(run: str, plan: Sequence[Mapping[str, Any]]) -> str:
    """A plan as YAML that `read_plan` reads. `run`: what a command finds it by."""
    lines = [f"# The plan of {run}. Edit it, then: research-agent resume {run} --plan FILE"]
    lines += ["# (of a run that does not wait for its plan: research-agent fork ... --at STEP --plan FILE)"]
    for item in plan:
        text = yaml.safe_dump(str(item["question"]), allow_unicode=True, width=10**9).removesuffix("...\n").strip()
        lines.append(f"- {text}" + ("" if item["status"] == "open" else f"  # {item['status']}"))
    return "\n".join(lines) + "\n"
