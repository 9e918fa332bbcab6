"""Fails unless each archive named holds every module of ours exactly once. Usage: python3 .ci/one_copy.py DIST..."""

import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {folder: sorted((ROOT / folder).rglob("*.py")) for folder in ("memory", "graphs", "research_agent")}


def modules(archive: str) -> list[str]:
    """The modules in an archive, named as they install."""
    if archive.endswith(".whl"):
        names = zipfile.ZipFile(archive).namelist()
    else:
        with tarfile.open(archive) as tar:
            names = [member.name.partition("/")[2] for member in tar if member.isfile()]
    ours = [name for name in names if name.endswith(".py") and name.split("/")[0] in SOURCES]
    return [name if name.startswith("research_agent/") else f"research_agent/{name}" for name in ours]


def expected() -> set[str]:
    own = {path.relative_to(ROOT).as_posix() for folder in SOURCES for path in SOURCES[folder] if "__pycache__" not in path.parts}
    return {name if name.startswith("research_agent/") else f"research_agent/{name}" for name in own}


for archive in sys.argv[1:]:
    found = Counter(modules(archive))
    doubled, missing = [name for name, count in found.items() if count > 1], sorted(expected() - set(found))
    if doubled or missing:
        sys.exit(f"{archive}: doubled {doubled}, missing {missing}")
    print(f"{Path(archive).name}: {len(found)} modules, each once")
