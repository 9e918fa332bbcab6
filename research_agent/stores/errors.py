"""What can go wrong with where a run is kept.

RunError         a run that cannot be found, read, opened or gone on with
├── NotAName     what no run can be called: an empty id, say
├── NoRun        none there is called so
├── NoRecord     its run.json is gone or damaged, and so is the one before it
└── StoreError   a database or a server of it
"""

from __future__ import annotations


class RunError(Exception):
    """One line that says what is wrong, and what to do where something can be done."""


class NotAName(RunError):
    pass


class NoRun(RunError):
    pass


class NoRecord(RunError):
    pass


class StoreError(RunError):
    pass
