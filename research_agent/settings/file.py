"""A config file and its `--set` as one mapping, not yet validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from research_agent.settings.faults import ConfigError, not_allowed


class _Twice(Exception):
    """A key that stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """YAML itself would take the last of two equal keys and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    first = lines[key.value]
                    where = f"lines {first} and {line}" if first != line else f"line {line}"
                    raise _Twice(f"{key.value}: given twice, in {where}; once is allowed")
                lines[key.value] = line
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; a YAML file is wanted") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; a YAML file is wanted") from error
    try:
        mapping = yaml.load(raw, _Loader)  # noqa: S506 - a SafeLoader
    except _Twice as error:
        raise ConfigError(f"{path}: {error}") from error
    except yaml.MarkedYAMLError as error:
        at = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: not YAML{at}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {type(error).__name__}; a text in UTF-8 is wanted") from error
    if not isinstance(mapping, dict):
        what = "empty" if mapping is None else f"a {type(mapping).__name__}"
        raise ConfigError(f"{path}: the file is {what}; a mapping is wanted, such as question: What limits ...?")
    return mapping


def set_value(mapping: dict[str, Any], override: str) -> str:
    """Sets one `key.path=value`; the key that is new by it is returned. Folders given here are relative to the working directory."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {not_allowed('key.path=value', override, 'write it like limits.usd=1')}")
    value = _typed(text.strip())
    single: dict[str, Any] = {names[-1]: value}
    for name in reversed(names[:-1]):
        single = {name: single}
    anchor(single, Path.cwd())
    target, new = mapping, len(names)
    for depth, name in enumerate(names[:-1], 1):
        single = single[name]
        inner = target.get(name)
        if inner is None:
            inner, new = {}, min(new, depth)
        if not isinstance(inner, dict):
            at = ".".join(names[:depth])
            raise ConfigError(f"--set {not_allowed(key, value, f'{at} is no mapping, so nothing can be set in it')}")
        target[name] = target = dict(inner)
    target[names[-1]] = single[names[-1]]
    return ".".join(names[:new])


def _typed(text: str) -> Any:
    """YAML, but a text with a colon or a dash in it stays a text: mappings and lists are written {...} and [...]."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    return text if isinstance(value, dict | list) and text[0] not in "{[" else value


def anchor(mapping: dict[str, Any], base: Path) -> None:
    """Makes a relative `search.folder` absolute, and the folder of an earlier run in `memory.also`; an id stays one."""

    def absolute(value: Any) -> Any:
        return str(base.absolute() / Path(value).expanduser()) if isinstance(value, str) and value.strip() else value

    search = mapping.get("search")
    if isinstance(search, dict) and "folder" in search:
        mapping["search"] = {**search, "folder": absolute(search["folder"])}
    memory = mapping.get("memory")
    if isinstance(memory, dict) and isinstance(memory.get("also"), list):
        also = [absolute(name) if isinstance(name, str) and (base / name / "run.json").is_file() else name for name in memory["also"]]
        mapping["memory"] = {**memory, "also": also}
