"""The pages that a run fetched lie in a cache outside its folder: they go with it, and their bytes do."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chain import KEY, Chain, mapping
from command_line import Command

from research_agent.testing.host import ScriptedHost
from research_agent.testing.site import Page, Site

TEXT = re.compile(rb"painted on its door in green letters")
KEPT = {"cache-control": "max-age=86400"}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Stations whose pages may be kept, and a robots.txt; `config.yaml` investigates them."""
    monkeypatch.setenv("TEST_HOST_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    with Site() as site:
        chain = Chain(site)
        for path, page in list(site.pages.items()):
            assert isinstance(page, Page)
            site.pages[path] = Page(page.body, page.content_type, headers=KEPT)
        site.pages["/robots.txt"] = Page("User-agent: *\nAllow: /\n", "text/plain", headers=KEPT)
        with ScriptedHost(chain.script, key=KEY) as host:
            settings = {**mapping(tmp_path, site, host), "scrape": {"allow_hosts": [site.host]}, "cache": "cache"}
            (tmp_path / "config.yaml").write_text(json.dumps(settings))
            yield site


def run(command: Command, tmp_path: Path) -> str:
    before = {folder.name for folder in (tmp_path / "runs").glob("*")}
    assert command("run", "config.yaml").code == 0
    [made] = {folder.name for folder in (tmp_path / "runs").glob("*")} - before
    return made


def bytes_of(cache: Path) -> bytes:
    return b"".join(path.read_bytes() for path in cache.iterdir() if path.is_file())


def test_a_forgotten_run_leaves_no_page_in_the_cache(web: Site, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    id = run(command, tmp_path)
    cache = tmp_path / "cache"
    assert TEXT.search(bytes_of(cache))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = command("forget", "-y", str(tmp_path / "runs" / id))
    assert done.code == 0
    assert re.search(rf"removed 5 fetched pages from the cache {re.escape(str(cache))}/http-2.sqlite; \d+ files", done.out)
    assert not TEXT.search(bytes_of(cache))
    assert web.host.encode() not in bytes_of(cache)
    assert list((tmp_path / "runs").iterdir()) == []


def test_pages_that_another_run_put_there_stay(web: Site, tmp_path: Path, command: Command) -> None:
    first = run(command, tmp_path)
    fetched = len(web.visits)
    second = run(command, tmp_path)
    assert not [visit for visit in web.visits[fetched:] if visit.path.startswith("/page")]
    assert "from the cache" not in command("forget", "-y", second).out
    assert TEXT.search(bytes_of(tmp_path / "cache"))
    assert "5 fetched pages from the cache" in command("forget", "-y", first).out


def test_a_cache_that_cannot_be_looked_through_is_told_and_holds_nobody_up(web: Site, tmp_path: Path, command: Command) -> None:
    id = run(command, tmp_path)
    file = tmp_path / "cache" / "http-2.sqlite"
    for path in file.parent.glob("http-2.sqlite*"):
        path.unlink()
    file.write_bytes(b"this is no database, but longer than a header is" * 50)
    done = command("forget", "-y", id)
    assert done.code == 0
    assert re.search(r"their bytes may still stand in it \(file is not a database\): once no run works with it, delete it", done.out)
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_list_of_pages_names_no_address(web: Site, tmp_path: Path, command: Command) -> None:
    id = run(command, tmp_path)
    assert web.host not in (tmp_path / "runs" / id / "cached.jsonl").read_text("utf-8")
    with closing(sqlite3.connect(tmp_path / "cache" / "http-2.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (5,)
