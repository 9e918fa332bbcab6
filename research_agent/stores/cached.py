"""What a run has put into the cache of fetched pages, which lies outside its folder: by this list `forget` finds it there.

A line names a cache and the hash of a key: a key is an address, and a secret may stand in one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from research_agent.memory import content_hash

from .lines import Lines

NAME = "cached.jsonl"


class CachedList:
    """Of one run and one cache. Only the process that works on the run writes it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._lines, self._cache = Lines(folder / NAME), str(cache.absolute())
        self._known: set[str] | None = None
        self._folder = folder

    def add(self, key: str) -> None:
        """To be called before it is kept: what a killed process kept is listed."""
        if self._known is None:
            self._known = listed(self._folder).get(Path(self._cache), set())
        if (hashed := content_hash(key)) not in self._known:
            self._known.add(hashed)
            self._lines.append((json.dumps({"cache": self._cache, "key": hashed}, ensure_ascii=False) + "\n").encode())


def listed(folder: Path) -> dict[Path, set[str]]:
    """Hashes of keys, by cache. A line that was cut is left out: nothing was kept under it."""
    found: dict[Path, set[str]] = defaultdict(set)
    path = folder / NAME
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            found[Path(told["cache"])].add(told["key"])
    return dict(found)
