"""The archive: everything an investigation thought and read, and the relevant part of it back."""

from .archive import Archive, Stats
from .clip import Clip, best_passages
from .embedders import Choice, Embedder, choose
from .errors import ArchiveError, ArchiveInUse, EmbedderUnavailable, EmbeddingFailed, IndexFailed, NotArchived
from .segment import Kind, Passage, Segment, Trust, content_hash, handle, parse_handle
from .tokens import estimate_tokens

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveInUse",
    "Choice",
    "Clip",
    "Embedder",
    "EmbedderUnavailable",
    "EmbeddingFailed",
    "IndexFailed",
    "Kind",
    "NotArchived",
    "Passage",
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
