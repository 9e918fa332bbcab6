"""What a plain user meets, for root, who wants to know whether it holds for others too: the sandbox and its escapes, or all of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import research_agent
import research_agent.sandbox
from research_agent.testing import escapes

UID = 12345
AS_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")


def interpreter() -> str | None:
    """A Python of 3.11 or later that this user can start; None if there is none (a home folder is closed to others)."""
    return next((python for python in (sys.executable, "/usr/bin/python3") if _starts([*AS_USER, python])), None)


def _starts(command: Sequence[str]) -> bool:
    code = "import sys; raise SystemExit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([*command, "-c", code], capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def command() -> list[str] | None:
    """A Python that has all of ours, as a plain user starts it; None where none can. Whoever is one already starts his own."""
    if os.geteuid() != 0:
        return [sys.executable]
    ours = str(Path(str(research_agent.__file__)).parents[1])
    path = os.pathsep.join([ours, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    code = f"import sys, research_agent.agent, pydantic_core; raise SystemExit(sys.version_info[:2] != {sys.version_info[:2]})"
    for python in (sys.executable, "/usr/bin/python3"):
        found = [*AS_USER, "env", f"PYTHONPATH={path}", "HOME=/tmp", python]
        with suppress(OSError):
            if subprocess.run([*found, "-c", code], capture_output=True, check=False).returncode == 0:  # noqa: S603
                return found
    return None


def copied(home: Path) -> Path:
    """For PYTHONPATH; all of it is that user's."""
    for module in (research_agent.sandbox, escapes):
        source = Path(str(module.__file__)).parent
        shutil.copytree(source, home / "research_agent" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (home / "research_agent" / "__init__.py").touch()
    for path in (home, *home.rglob("*")):
        os.chown(path, UID, UID)
    return home
