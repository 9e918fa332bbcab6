"""What can go wrong with an archive.

ArchiveError
├── NotArchived          a reference to nothing in the ledger
├── ArchiveInUse         another process has the folder open
├── ReadOnly             a write to what was opened for reading
├── EmbedderUnavailable  a named embedder cannot be had
├── EmbedderChanged      the vectors are another embedder's
├── EmbeddingFailed      an embedder that is there does not work
└── IndexFailed          the vector index cannot be read or written
    └── IndexDamaged     and is to be made anew
"""

from __future__ import annotations


class ArchiveError(Exception):
    """One line that says what is wrong, and what to do where something can be done."""


class NotArchived(ArchiveError, LookupError):
    pass


class ArchiveInUse(ArchiveError):
    pass


class ReadOnly(ArchiveError):
    pass


class EmbedderChanged(ArchiveError):
    def __init__(self, message: str, *, had: str, has: str) -> None:
        super().__init__(message)
        self.had, self.has = had, has
        """Their identities."""


class EmbedderUnavailable(ArchiveError):
    pass


class EmbeddingFailed(ArchiveError):
    pass


class IndexFailed(ArchiveError):
    pass


class IndexDamaged(IndexFailed):
    pass
