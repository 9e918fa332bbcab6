"""The archive: everything an investigation thought and read, and the relevant part of it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .archive import Archive, Changed, Stats
from .clip import Clip, best_passages
from .embedders import Choice, Embedder, choose
from .errors import ArchiveError, ArchiveInUse, EmbedderChanged, EmbedderUnavailable, EmbeddingFailed, IndexFailed, NotArchived, ReadOnly
from .segment import Kind, Passage, Segment, Trust, content_hash, handle, parse_handle
from .tokens import estimate_tokens

if TYPE_CHECKING:
    from .store import ChromaStore as ChromaStore

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveInUse",
    "Changed",
    "Choice",
    "ChromaStore",
    "Clip",
    "Embedder",
    "EmbedderChanged",
    "EmbedderUnavailable",
    "EmbeddingFailed",
    "IndexFailed",
    "Kind",
    "NotArchived",
    "Passage",
    "ReadOnly",
    "Segment",
    "Stats",
    "Trust",
    "best_passages",
    "choose",
    "content_hash",
    "estimate_tokens",
    "handle",
    "parse_handle",
]


def __getattr__(name: str) -> Any:
    if name != "ChromaStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import ChromaStore  # langgraph takes a second

    return ChromaStore
