"""`run.json`, and with it the version of all that a run's folder holds in files: written whole, kept twice, read back whatever happened.

Version 1 had no number. Version 2 numbers itself, names the servers that hold something of the run, and keeps the record before the last
beside it.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import RunError

RECORD, BEFORE = "run.json", ".run.json.before"
UNFINISHED = "unfinished"
"""How the name of a file ends that is not written whole yet."""
HALF_FORGOTTEN = "half-forgotten"
"""The status of a run whose `forget` began and has not ended: some of it is gone, and the rest is to go."""
VERSION = 2
"""Of the files: run.json, sources.json, findings.json, events.jsonl and the state in the checkpoints."""


def is_kept(folder: Path) -> bool:
    """Whether there is a record, or the one before it."""
    return any((folder / name).is_file() for name in (RECORD, BEFORE))


def read_record(folder: Path) -> dict[str, Any]:
    """The record, or the one before it if it is damaged or gone. Raises RunError."""
    path = folder / RECORD
    try:
        return upgraded(_parsed(path), path)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | ValueError):
            with suppress(OSError, ValueError):
                return upgraded(_parsed(folder / BEFORE), path)
        if isinstance(error, OSError):
            raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
        raise RunError(f"{path}: damaged, and there is no earlier copy of it: {error}") from error


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
