"""The folder search: what is found and shown, what is skipped and named, what changes, and what stays out of reach."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from documents import ARTICLE, encrypted, pdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from research_agent.reading import page as reading
from research_agent.reading.page import Unreadable
from research_agent.search import readers
from research_agent.search.folder import FolderSearch, NotInFolder
from research_agent.search.passages import split, tokens
from research_agent.search.provider import SearchFailed

LONG = "\n\n".join(f"## Part {number}\n\n" + f"Sentence of part {number} about rivers and their banks. " * 12 for number in range(20))


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


@pytest.fixture
def folder_search(docs, tmp_path):
    made = []

    def make(**options):
        made.append(FolderSearch(docs, tmp_path / "cache", **options))
        return made[-1]

    yield make
    for search in made:
        search.close()


def settle(*folders):
    """Makes files old enough for their time to be trusted."""
    for folder in folders:
        for path in folder.rglob("*"):
            os.utime(path, (time.time() - 100,) * 2)


async def found(search, query, limit=5):
    return [Path(document.url).name for document in await search.search(query, limit=limit)]


def index_file(tmp_path):
    return next((tmp_path / "cache").glob("folder-*.sqlite"))


# --- finding ---


async def test_all_four_formats_are_found_with_their_titles(docs, folder_search):
    (docs / "a.md").write_text("# Neap tides\n\nWeak tides come at the quarters of the moon.")
    (docs / "b.html").write_text(ARTICLE)
    (docs / "sub dir").mkdir()
    (docs / "sub dir" / "c.pdf").write_bytes(pdf("Seiches are standing waves in lakes.", title="On Seiches"))
    (docs / "d").write_text("Tsunamis are raised by earthquakes.")
    search = folder_search()
    assert await search.refresh() == []
    for query, title, end in [
        ("weak tides at quarters", "Neap tides", "docs/a.md"),
        ("Bay of Fundy range", "Tides & Moons", "docs/b.html"),
        ("a standing wave", "On Seiches", "docs/sub dir/c.pdf"),
        ("earthquake", "d", "docs/d"),
    ]:
        best = (await search.search(query, limit=3))[0]
        assert (best.title, best.url.endswith(end)) == (title, True)
        assert best.retrieved_at.endswith("+00:00")


async def test_a_short_file_comes_whole_and_a_long_one_as_its_best_passages(docs, folder_search):
    (docs / "short.md").write_text("# Short\n\nOne paragraph of owls.\n\nAnother of bats.")
    (docs / "long.md").write_text(f"# Long\n\n{LONG}\n\nThe zebra crosses here.\n\n{LONG}\n\nOnce more a zebra.")
    search = folder_search()
    short, long = await search.search("owls or zebra", limit=5)
    assert short.text == "# Short\n\nOne paragraph of owls.\n\nAnother of bats."
    first, second = long.text.split("\n[...]\n")
    assert "The zebra crosses here." in first
    assert "Once more a zebra." in second
    assert tokens(long.text) < 500
    whole = await search.open(long.url)
    assert whole.text == (docs / "long.md").read_text()
    assert (whole.title, whole.url) == ("Long", long.url)


async def test_a_long_file_does_not_crowd_out_the_others(docs, folder_search):
    (docs / "long.txt").write_text(("zebra " * 150 + "\n\n") * 200)
    for number in range(3):
        (docs / f"{number}.txt").write_text(f"A text {number} that says zebra once. " + "Other words stand here. " * 60)
    assert sorted(await found(folder_search(), "zebra", limit=4)) == ["0.txt", "1.txt", "2.txt", "long.txt"]


async def test_a_file_named_in_the_query_comes_first_and_words_are_stemmed_and_accents_folded(docs, folder_search):
    (docs / "a.md").write_text("# Lilu (mythology)\n\nA masculine spirit.")
    (docs / "b.md").write_text("# Spirits\n\nMasculine spirits and masculine demons, such as Lilu, are masculine.")
    (docs / "c.md").write_text("# Cafés\n\nThey were running.")
    search = folder_search()
    assert (await found(search, "Is Lilu a masculine spirit?"))[0] == "a.md"
    assert await found(search, "who runs the cafe") == ["c.md"]


async def test_a_quoted_phrase_is_wanted_as_it_stands_and_a_phrase_nobody_wrote_does_not_hide_its_words(docs, folder_search):
    (docs / "a.md").write_text("The moon is red tonight; red, red moon.")
    (docs / "b.md").write_text("Under a blue sky rose the red moon of harvest, " + "and the long evening went on over the fields. " * 10)
    search = folder_search()
    assert (await found(search, '"the red moon"'))[0] == "b.md"
    assert set(await found(search, '"moon red the harvest"')) == {"a.md", "b.md"}


async def test_chinese_and_lone_letters_are_found(docs, folder_search):
    (docs / "zh.md").write_text("潮汐是由月球和太阳的引力引起的海水周期性涨落现象。")
    (docs / "c.md").write_text("Lemons hold vitamin C.")
    (docs / "d.md").write_text("The sun gives vitamin D.")
    search = folder_search()
    assert await found(search, "月球的引力") == ["zh.md"]
    assert (await found(search, "vitamin D"))[0] == "d.md"
    assert (await found(search, "vitamin C"))[0] == "c.md"


async def test_a_query_of_stop_words_only_still_finds_and_one_without_words_finds_nothing(docs, folder_search):
    (docs / "who.md").write_text("The Who are on tour.")
    (docs / "x.md").write_text("Something else entirely.")
    search = folder_search()
    assert await found(search, "The Who") == ["who.md"]
    assert await found(search, "?!\N{SNOWMAN} --") == []


HOSTILE = [
    '"', '""', "'", "a OR", "NEAR(a b, 2)", "title:x", "NOT", "AND AND", "* ^ + - ( ) { }", "a*", "^a", "{title text}: a", "a\0b", "\udcff",
    '"unbalanced words', 'x" OR "y', "'; DROP TABLE files; --", "%s %d", "\\", "“curly” „low“", "a" * 100_000, "a " * 100_000, "\n\t", "",
]  # fmt: skip


async def test_no_query_is_ever_syntax(docs, folder_search):
    (docs / "a.md").write_text("Words are here: title, or, not, and near.")
    search = folder_search()
    for query in HOSTILE:
        assert len(await search.search(query, limit=3)) <= 1
    assert await found(search, "words") == ["a.md"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(['"', "a", " ", "OR", "NEAR(", ")", "*", ":", "月", "-", "é", "\0", "title", "^"]), max_size=12).map("".join)
)
def test_any_query_is_answered(docs, folder_search, query):
    (docs / "a.md").write_text("a title or 月")
    assert len(asyncio.run(folder_search().search(query, limit=3))) <= 1


# --- what is skipped ---


async def test_what_cannot_be_read_is_named_with_its_reason_and_the_rest_is_found(docs, folder_search, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr("research_agent.search.index.MAX_BYTES", 1_000_000)
    (docs / "good.md").write_text("A good file.")
    (docs / "empty.txt").write_text("")
    (docs / "binary.txt").write_bytes(bytes(range(256)) * 10)
    (docs / "secret.pdf").write_bytes(encrypted())
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing")
    (docs / "enormous.txt").write_bytes(b"x" * 1_000_001)
    (docs / "outside.md").symlink_to("/etc/hostname")
    (docs / "dangling.md").symlink_to("nowhere")
    (docs / "ring").symlink_to("ring")
    (docs / "again.md").symlink_to("good.md")
    (docs / "loop").symlink_to(".")
    os.mkfifo(docs / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(docs / "socket"))
    for junk in (".git", "node_modules", ".hidden"):
        (docs / junk).mkdir()
        (docs / junk / "x.md").write_text("good junk")
    (docs / ".env").write_text("GOOD_KEY=1")
    search = folder_search()
    skipped = dict(await search.refresh())
    broken = skipped.pop("docs/broken.pdf")
    assert broken.startswith("not a PDF: ")
    assert skipped == {
        "docs/empty.txt": "no text",
        "docs/binary.txt": "binary",
        "docs/secret.pdf": "encrypted PDF",
        "docs/enormous.txt": "larger than 0 MB",
        "docs/outside.md": "a link out of the folder",
        "docs/dangling.md": "a broken link",
        "docs/ring": "a broken link",
        "docs/pipe": "not a regular file",
        "docs/socket": "not a regular file",
    }
    assert await found(search, "good junk key") == ["good.md"]
    assert dict(await search.refresh()) == {**skipped, "docs/broken.pdf": broken}, "each refresh names them again"


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
async def test_odd_names_are_found_shown_safely_and_opened_as_they_were_shown(docs, folder_search):
    names = [
        b"new\nline.md",
        b"caf\xe9.md",
        b" lead and trail .md",
        b"n" * 252 + b".md",
        b"100%25.md",
        "名前 ☃.md".encode(),
        b"quo\"te'.md",
        b"-rf",
    ]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(docs) + b"/" + name)).write_text(f"The zebra number {number}.")
    search = folder_search()
    assert await search.refresh() == []
    documents = await search.search("zebra", limit=20)
    assert len(documents) == len(names)
    for document in documents:
        document.url.encode("utf-8")
        assert document.url.isprintable()
        assert document.title.strip()
        assert await search.open(document.url) == document
    assert {Path(document.url).name for document in documents} >= {"new%0Aline.md", "caf%E9.md", "100%25.md", "名前 ☃.md"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_files_without_permission_are_named(docs, folder_search):
    (docs / "mine.md").write_text("x")
    (docs / "closed").mkdir()
    (docs / "mine.md").chmod(0)
    (docs / "closed").chmod(0)
    skipped = await folder_search().refresh()
    (docs / "closed").chmod(0o700)
    assert [(Path(path).name, why) for path, why in skipped] == [("closed", "permission denied"), ("mine.md", "permission denied")]


async def test_files_that_cannot_be_opened_are_named_and_tried_again(docs, folder_search, monkeypatch):
    (docs / "a.md").write_text("An owl.")
    (docs / "b.md").write_text("A bat.")
    settle(docs)
    real = os.open

    def failing(path, *args, **kwargs):
        if str(path).endswith("a.md"):
            raise PermissionError(13, "Permission denied", str(path))
        if str(path).endswith("b.md"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *args, **kwargs)

    search = folder_search()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        reasons = [why for _, why in await search.refresh()]
    assert reasons == ["permission denied", "vanished while it was being read"]
    assert await search.refresh() == []
    assert sorted(await found(search, "owl bat")) == ["a.md", "b.md"]


async def test_a_file_that_hangs_its_reader_costs_only_itself(docs, folder_search, monkeypatch):
    (docs / "a.pdf").write_bytes(pdf("An owl."))
    (docs / "b.md").write_text("A bat.")
    monkeypatch.setattr(readers, "TIMEOUT_S", 0.001)
    search = folder_search()
    assert [why for _, why in await search.refresh()] == ["takes more than 0 s to read"]
    assert await found(search, "owl bat") == ["b.md"]


async def test_a_file_that_kills_its_reader_costs_only_itself(docs, folder_search, monkeypatch):
    (docs / "a.html").write_text(ARTICLE)
    (docs / "b.md").write_text("A bat.")
    monkeypatch.setattr(readers, "_START", "import os, sys; sys.stdin.buffer.read(20); os.kill(os.getpid(), 11)")
    search = folder_search()
    assert [why for _, why in await search.refresh()] == ["crashed the reader"]
    assert await found(search, "bat") == ["b.md"]


async def test_folders_that_are_excluded_and_the_cache_itself_are_not_searched(docs, tmp_path):
    (docs / "runs").mkdir()
    (docs / "runs" / "report.md").write_text("An owl, as I reported.")
    (docs / "a.md").write_text("An owl.")
    search = FolderSearch(docs, docs / "cache", exclude=[docs / "runs"])
    assert await search.refresh() == []
    assert await search.refresh() == []
    assert await found(search, "owl") == ["a.md"]
    with pytest.raises(NotInFolder):
        await search.open("runs/report.md")
    search.close()


async def test_a_missing_folder_is_an_error_and_not_an_empty_one(tmp_path):
    search = FolderSearch(tmp_path / "nowhere", tmp_path / "cache")
    with pytest.raises(SearchFailed, match="nowhere: "):
        await search.search("x", limit=1)


async def test_a_cache_that_cannot_be_written_is_an_error_in_one_line(docs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for cache, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "below", "Not a directory")):
        search = FolderSearch(docs, cache)
        with pytest.raises(SearchFailed) as told:
            await search.refresh()
        assert str(told.value) == f"the cache {cache} cannot be written ({why}): set cache to a folder that can be"


# --- what changes ---


async def refreshed(search):
    """The names of the files that a refresh read."""
    read = []
    await search.refresh(lambda done, total, path: read.append((done, total, path)))
    return read


async def test_only_what_changed_is_read_again_and_what_is_gone_leaves(docs, folder_search):
    for name in ("a", "b", "c"):
        (docs / f"{name}.md").write_text(f"The {name}{name} owl.")
    settle(docs)
    search = folder_search()
    await search.refresh()
    time.sleep(0.01)
    # ctime cannot be set: within two seconds of a change, content decides
    (docs / "a.md").write_text("A changed zebra.")
    (docs / "b.md").unlink()
    (docs / "d.md").write_text("The new bat.")
    await search.refresh()
    assert await found(search, "zebra") == ["a.md"]
    assert sorted(await found(search, "owl aa bb")) == ["c.md"]
    assert await found(search, "bat") == ["d.md"]


async def test_a_refresh_with_nothing_changed_reads_no_file(docs, folder_search, monkeypatch):
    (docs / "a.md").write_text("An owl.")
    (docs / "b.bin").write_bytes(bytes(1000))
    monkeypatch.setattr("research_agent.search.index._RACY_NS", 0)
    search = folder_search()
    time.sleep(0.05)  # the kernel's clock for files is coarse
    first = await refreshed(search)
    assert first[-1][:2] == (2, 2)
    assert await refreshed(search) == []
    again = folder_search()
    assert await refreshed(again) == []
    assert await found(again, "owl") == ["a.md"]


async def test_a_change_that_keeps_size_and_time_is_seen(docs, folder_search):
    (docs / "a.md").write_text("An owl.")
    os.utime(docs / "a.md", (1e9, 1e9))
    search = folder_search()
    await search.refresh()
    (docs / "a.md").write_text("A bat!!")
    os.utime(docs / "a.md", (1e9, 1e9))
    await search.refresh()
    assert await found(search, "bat") == ["a.md"]
    assert await found(search, "owl") == []


async def test_a_bad_file_that_is_mended_is_read_and_a_good_one_that_breaks_is_named(docs, folder_search):
    (docs / "a.md").write_bytes(bytes(100))
    (docs / "b.md").write_text("A bat.")
    search = folder_search()
    assert [Path(path).name for path, _ in await search.refresh()] == ["a.md"]
    (docs / "a.md").write_text("An owl.")
    (docs / "b.md").write_bytes(bytes(100))
    assert [Path(path).name for path, _ in await search.refresh()] == ["b.md"]
    assert await found(search, "owl bat") == ["a.md"]


async def test_progress_counts_up_to_the_end_on_the_event_loop(docs, folder_search):
    for number in range(40):
        (docs / f"{number}.md").write_text(f"Text {number}.")
    loop = asyncio.get_running_loop()
    told = []
    await folder_search().refresh(
        lambda done, total, path: told.append((done, total, Path(path).suffix, asyncio.get_running_loop() is loop))
    )
    assert told[-1] == (40, 40, ".md", True)
    assert [done for done, *_ in told] == sorted({done for done, *_ in told})


@pytest.mark.parametrize("damage", ["garbage", "middle", "empty", "old schema"])
async def test_a_damaged_or_outdated_index_is_built_anew(docs, folder_search, tmp_path, damage):
    for number in range(60):
        (docs / f"{number}.md").write_text(f"Owl number {number}. " + LONG[:3000])
    search = folder_search()
    await search.refresh()
    search.close()
    file = index_file(tmp_path)
    match damage:
        case "garbage":
            file.write_bytes(b"this is no database" * 100)
        case "middle":
            with file.open("r+b") as out:
                out.seek(file.stat().st_size // 3)
                out.write(b"\xff" * (file.stat().st_size // 3))
        case "empty":
            file.write_bytes(b"")
        case "old schema":
            with sqlite3.connect(file) as db:
                db.execute("DROP TABLE files")
                db.execute("PRAGMA user_version = 0")
            db.close()
    again = folder_search()
    assert await again.refresh() == []
    assert len(await again.search("owl", limit=100)) == 60


async def test_a_search_in_an_index_that_broke_meanwhile_fails_in_one_line_and_opening_goes_on(docs, folder_search, tmp_path):
    (docs / "a.md").write_text("An owl.")
    search = folder_search()
    await search.refresh()
    search.close()
    index_file(tmp_path).write_bytes(b"garbage" * 1000)
    with pytest.raises(SearchFailed, match="damaged"):
        await search.search("owl", limit=1)
    assert (await search.open("a.md")).text == "An owl."


async def test_a_refresh_that_is_cancelled_ends_soon_and_keeps_what_it_read(docs, folder_search, monkeypatch):
    for number in range(600):
        (docs / f"{number}.md").write_text(f"Owl number {number}.")
    search = folder_search()
    started = asyncio.Event()
    task = asyncio.create_task(search.refresh(lambda done, total, path: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    read = await refreshed(search)
    assert read[-1][0] == read[-1][1]
    assert len(await search.search("owl", limit=5000)) == 600


ONE_OF_SEVERAL = """
import os, sys
from pathlib import Path
from research_agent.search.index import FolderIndex

docs, cache = map(Path, sys.argv[1:])
for number in range(8):
    whole = docs / f".{os.getpid()}"  # others read it meanwhile
    whole.write_text(f"Process owl {number}.")
    whole.replace(docs / f"{os.getpid()}.md")
    index = FolderIndex(docs.resolve(), cache)
    skipped = index.refresh(lambda done, total, path: None)
    assert not skipped, skipped
    assert len(index.search("owl", limit=100)) > 40
    index.close()
"""


def test_several_runs_share_one_index(docs, tmp_path):
    for number in range(40):
        (docs / f"n{number}.md").write_text(f"Owl {number}.")
    command = [sys.executable, "-c", ONE_OF_SEVERAL, str(docs), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
    with sqlite3.connect(index_file(tmp_path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    db.close()


# --- what stays out of reach ---


async def test_a_path_is_shown_whole_and_opened_in_any_spelling(docs, tmp_path, monkeypatch):
    (docs / "sub").mkdir()
    (docs / "sub" / "a.md").write_text("An owl.")
    for working, near in [(tmp_path, "docs/sub/a.md"), (docs, "sub/a.md"), (docs / "sub", "a.md")]:
        monkeypatch.chdir(working)
        search = FolderSearch(docs, tmp_path / "cache")
        (document,) = await search.search("owl", limit=1)
        assert document.url == f"{docs}/sub/a.md"
        for url in (document.url, near, "sub/a.md", "./sub/../sub/a.md"):
            assert (await search.open(url)).url == document.url
        search.close()


@pytest.mark.parametrize(
    "url",
    [
        "../secret.md",
        "sub/../../secret.md",
        "%2e%2e/secret.md",
        "..%2fsecret.md",
        "out.md",
        "outdir/secret.md",
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "file:///etc/passwd",
        "https://example.org/",
        ".env",
        ".git/config",
        "sub",
        ".",
        "",
        "missing.md",
        "a\0b",
        "x" * 5000,
        "\udcff",
    ],
)
async def test_nothing_outside_of_the_folder_or_hidden_in_it_is_opened(docs, folder_search, tmp_path, url):
    (tmp_path / "secret.md").write_text("secret")
    (docs / "sub").mkdir()
    (docs / ".git").mkdir()
    (docs / ".git" / "config").write_text("secret")
    (docs / ".env").write_text("secret")
    (docs / "out.md").symlink_to(tmp_path / "secret.md")
    (docs / "outdir").symlink_to(tmp_path)
    search = folder_search()
    await search.refresh()
    with pytest.raises(NotInFolder) as raised:
        await search.open(url)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


async def test_a_file_is_opened_as_it_is_now_and_an_unreadable_one_says_why(docs, folder_search):
    (docs / "a.md").write_text("# A\n\nAn owl.")
    (docs / "b.pdf").write_bytes(encrypted())
    search = folder_search()
    assert (await search.open("a.md")).text == "# A\n\nAn owl."
    await search.refresh()
    (docs / "a.md").write_text("# A\n\nA bat, since.")
    assert (await search.open("a.md")).text == "# A\n\nA bat, since."
    with pytest.raises(Unreadable, match="encrypted PDF"):
        await search.open("b.pdf")


# --- passages ---


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab .!?\n#|é月"), max_size=4000), st.integers(1, 60))
def test_passages_join_to_the_text_and_none_is_long(text, target):
    passages = split(text, target)
    assert "".join(passages) == text
    assert all(tokens(passage) <= 1.5 * target + 8 for passage in passages)


def test_passages_end_where_sentences_do_and_headings_open_them():
    passages = split(LONG)
    assert all(passage.rstrip().endswith(".") for passage in passages)
    assert all(passage.startswith("## Part") for passage in passages)
