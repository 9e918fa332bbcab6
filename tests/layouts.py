"""Vectors as another version would have left them: for tests of what this one makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research_agent.memory import vectors


def relabel(where: Path | str, **changes: Any) -> None:
    """The metadata of every collection in a folder, or on a server, changed. A value of None is taken out."""
    client = vectors._local(str(where)) if isinstance(where, Path) else vectors._server(where)
    for collection in client.list_collections():
        metadata = {**(collection.metadata or {}), **changes}
        collection.modify(metadata={key: value for key, value in metadata.items() if value is not None})
    vectors._close(client)
