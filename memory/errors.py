"""What can go wrong with an archive.

ArchiveError
├── NotArchived          a reference to nothing in the ledger
├── ArchiveInUse         another process has the folder open
└── EmbedderUnavailable  a named embedder cannot be loaded
"""

from __future__ import annotations


class ArchiveError(Exception):
    """One line that says what is wrong, and what to do where something can be done."""


class NotArchived(ArchiveError, LookupError):
    pass


class ArchiveInUse(ArchiveError):
    pass


class EmbedderUnavailable(ArchiveError):
    pass
