"""A run's memory as one file: JSON Lines, a head, a segment a line with its hash, and a foot that says the file is whole.

Texts are as the ledger holds them, redacted. Vectors are not in it: they are made anew where it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from .errors import ArchiveError
from .segment import Segment
from .segment import check as check_segment

FORMAT, VERSION = "research-agent-memory", 1
_TYPES = {field.name: int if field.name in ("step", "ordinal", "tokens") else str for field in fields(Segment)}


class Damaged(ArchiveError):
    """A file that is no whole export. Nothing of it is taken."""


def write(path: Path, run: str, segments: Iterable[Segment], about: Mapping[str, str]) -> int:
    """Replaces the file, whole or not at all. Returns how many segments are in it."""
    partial, whole, count = path.with_name(f".{path.name}.partial"), hashlib.sha256(), 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(_line({"format": FORMAT, "version": VERSION, "run": run, "about": dict(about)}))
            for segment in segments:
                line = _line({"segment": asdict(segment), "hash": _hash(asdict(segment))})
                whole.update(line.encode())
                file.write(line)
                count += 1
            file.write(_line({"end": count, "hash": whole.hexdigest()}))
        partial.replace(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def head(path: Path) -> dict[str, Any]:
    """What an export says of itself. Raises Damaged."""
    _, first = next(_lines(path), (0, None))
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise Damaged(f"{path} is not an exported memory")
    if first.get("version") != VERSION:
        raise Damaged(f"{path} has version {first.get('version')!r}; this version of research-agent reads {VERSION}")
    if not isinstance(first.get("run"), str) or not isinstance(first.get("about"), dict):
        raise Damaged(f"{path}, line 1: not the head of an exported memory")
    return first


def check(path: Path) -> int:
    """How many segments there are. Raises Damaged for a file that was cut, changed or is another kind of file."""
    head(path)
    whole, count, end = hashlib.sha256(), 0, None
    for number, item in _lines(path):
        if number == 1:
            continue
        if end is not None or not isinstance(item, dict):
            raise Damaged(f"{path}, line {number}: nothing may stand there")
        if "end" in item:
            end = item
        else:
            _segment(path, number, item)
            whole.update(_line(item).encode())
            count += 1
    if end is None:
        raise Damaged(f"{path} was cut off after {count} segments")
    if (end["end"], end.get("hash")) != (count, whole.hexdigest()):
        raise Damaged(f"{path} was changed: its foot tells of {end['end']} segments, with another hash than these {count}")
    return count


def read(path: Path, run: str, redact: Callable[[str], str]) -> Iterator[Segment]:
    """The segments as those of `run`: what refers to another of them still does."""
    ids: dict[str, str] = {}
    for number, item in _lines(path):
        if isinstance(item, dict) and "segment" in item:
            old = _segment(path, number, item)
            changes: dict[str, Any] = {name: redact(getattr(old, name)) for name in ("text", "title", "url", "quote")}
            changes |= {name: ids.get(getattr(old, name), getattr(old, name)) for name in ("source", "supersedes")}
            new = replace(old, run=run, **changes)
            ids[old.id] = new.id
            yield new


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield number, json.loads(line)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path}, line {number + isinstance(error, UnicodeDecodeError)}: not a line of an exported memory") from error


def _segment(path: Path, number: int, item: dict[str, Any]) -> Segment:
    given = item.get("segment")
    if not isinstance(given, dict) or item.get("hash") != _hash(given):
        raise Damaged(f"{path}, line {number}: the segment is not the one that was exported")
    if set(given) != set(_TYPES) or any(not isinstance(given[name], kind) for name, kind in _TYPES.items()):
        raise Damaged(f"{path}, line {number}: not a segment")
    segment = Segment(**given)
    try:
        check_segment(segment, segment.run)
        _ = segment.id  # half a character has no hash
    except ValueError as error:
        raise Damaged(f"{path}, line {number}: {error}") from error
    return segment


def _hash(segment: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(segment, sort_keys=True).encode()).hexdigest()


def _line(item: Mapping[str, Any]) -> str:
    return json.dumps(item) + "\n"  # ASCII: a lone surrogate survives it
