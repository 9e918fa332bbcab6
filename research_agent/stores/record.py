"""`run.json`, and with it the version of all that a run's folder holds in files: written whole, kept twice, read back whatever happened.

Version 1 had no number. Version 2 numbers itself, names the servers that hold something of the run, and keeps the record before the last
beside it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from research_agent.memory.remedy import name_of

from .errors import NoRecord, RunError

RECORD, BEFORE = "run.json", ".run.json.before"
UNFINISHED = "unfinished"
"""How the name of a file ends that is not written whole yet."""
HALF_FORGOTTEN = "half-forgotten"
"""The status of a run whose `forget` began and has not ended: some of it is gone, and the rest is to go."""
PARTS = ("checkpoints.sqlite", "ledger.sqlite", "events.jsonl")
_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]+-[0-9a-f]{4}")
VERSION = 2
"""Of the files: run.json, sources.json, findings.json, events.jsonl and the state in the checkpoints."""


def is_left_of_one(folder: Path) -> bool:
    """Whether it bears the name of a run, and holds a part of one: nobody else's folder does. Raises PermissionError."""
    return _ID.fullmatch(folder.name) is not None and any((folder / name).is_file() for name in PARTS)


def has_record(folder: Path) -> bool:
    """Or the one before it, which stands for it. Raises PermissionError."""
    return (folder / RECORD).is_file() or (folder / BEFORE).is_file()


def read_record(folder: Path) -> dict[str, Any]:
    """The record, or the one before it if it is damaged or gone. Raises RunError, and NoRecord where there is none to be read."""
    path = folder / RECORD
    try:
        record = _parsed(path)
    except (FileNotFoundError, ValueError) as error:
        with suppress(OSError, ValueError):
            return upgraded(_parsed(folder / BEFORE), path)
        how = "gone" if isinstance(error, FileNotFoundError) else "damaged"
        told = f"{path}: {how}, and there is no earlier copy of it{'' if how == 'gone' else f': {error}'}"
        remedy = f"`research-agent forget {name_of(folder)}` removes what there is of the run"
        raise NoRecord(
            f"{told}; {remedy if is_left_of_one(folder) else 'nothing else says that this is a run: remove it yourself'}"
        ) from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    return upgraded(record, path)


def _parsed(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text("utf-8"))
    if not isinstance(record, dict) or not isinstance(record.get("question"), str):
        raise ValueError("not a run's record")
    return record


def upgraded(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """As this version writes it. Raises RunError for a newer one."""
    version = record.get("version", 1)
    if not isinstance(version, int) or version > VERSION:
        raise RunError(f"{path}: version {version}, written by a newer research-agent; this one reads up to {VERSION}: update it")
    return {**record, "version": VERSION}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    path = folder / RECORD
    with suppress(OSError, ValueError):  # the first one, or a damaged one: there is none to keep
        _parsed(path)
        kept = folder / f"{BEFORE}.{UNFINISHED}"
        kept.unlink(missing_ok=True)
        os.link(path, kept)
        os.replace(kept, folder / BEFORE)
    replace(path, json.dumps({**record, "version": VERSION}, ensure_ascii=False, indent=2) + "\n")


def replace(path: Path, text: str) -> Path:
    """A file replaced whole or not at all, whatever happens meanwhile."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".{UNFINISHED}")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return path


def _sync(folder: Path) -> None:
    """The new name is on disk too."""
    with suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
