"""What code makes is kept, and stands in the report; nothing else does."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from reports import draft, written

from research_agent import Agent, Config
from research_agent.assets import keep
from research_agent.assets.keep import Assets, safe
from research_agent.report import Report
from research_agent.sandbox import bubblewrap, plain
from research_agent.testing.host import Call, Reply, Request, ScriptedHost
from research_agent.testing.site import Page, Site
from research_agent.tools.python import python_tool

FACT = "The tide at Saint-Malo rises by twelve metres at the equinox."


def png(width: int = 4, height: int = 3) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x20\x60\xc0" * min(width, 100)) * min(height, 100)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "workspace" / "sub").mkdir(parents=True)
    return tmp_path


def kept(run_folder: Path, files: dict[str, bytes], step: int = 5):
    for name, data in files.items():
        (run_folder / "workspace" / name).write_bytes(data)
    return Assets(run_folder).keep(run_folder / "workspace", files, step=step)


# --- what is kept ---


def test_figures_and_tables_are_copied_and_listed(run_folder: Path) -> None:
    got = kept(run_folder, {"tides.png": png(), "sub/tides.png": png(8, 8), "heights.csv": b"a,b\n1,2\n", "helper.py": b"x = 1"})
    assert [asset.path for asset in got.assets] == ["assets/tides.png", "assets/tides-2.png", "assets/heights.csv"]
    assert got.refused == ()
    listed = Assets(run_folder).listed()
    assert [(asset.name, asset.step, asset.width, asset.is_figure) for asset in listed] == [
        ("tides.png", 5, 4, True),
        ("tides-2.png", 5, 8, True),
        ("heights.csv", 5, 0, False),
    ]
    assert Assets(run_folder).data(listed[0]) == png()


def test_a_file_made_again_replaces_what_it_was(run_folder: Path) -> None:
    kept(run_folder, {"a.png": png(2, 2)})
    kept(run_folder, {"a.png": png(9, 9)}, step=8)
    (asset,) = Assets(run_folder).listed()
    assert (asset.name, asset.width, asset.step) == ("a.png", 9, 8)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.svg", b"<svg onload='alert(1)'/>", "SVG may hold scripts"),
        ("a.html", b"<script>", "page may hold scripts"),
        ("a.png", b"<svg onload='alert(1)'/>", "no PNG picture"),
        ("a.jpg", png(), "no JPG picture"),
        ("a.png", png(100_000, 100_000), "100,000 x 100,000 pixels"),
        ("a.png", png(0, 5), "pixels"),
        ("a.pdf", b"%PDF-1.4", "PNG or JPEG"),
        ("a.csv", b"x" * (keep.MAX_BYTES + 1), "larger than 5 MB"),
    ],
)
def test_what_could_act_or_harm_is_refused_and_said(run_folder: Path, name: str, data: bytes, reason: str) -> None:
    got = kept(run_folder, {name: data})
    assert (got.assets, Assets(run_folder).listed()) == ((), ())
    assert reason in got.refused[0]


def test_links_and_what_is_no_file_are_refused(run_folder: Path) -> None:
    workspace = run_folder / "workspace"
    (run_folder / "secret.csv").write_text("secret")
    (workspace / "link.csv").symlink_to(run_folder / "secret.csv")
    (workspace / "folder").symlink_to(run_folder)
    (workspace / "d.csv").mkdir()
    names = ["link.csv", "folder/secret.csv", "d.csv", "gone.csv"]
    got = Assets(run_folder).keep(workspace, names, step=1)
    assert got.assets == ()
    assert len(got.refused) == len(names)
    assert not (run_folder / "assets").exists() or not list((run_folder / "assets").iterdir())


def test_a_link_that_stands_where_an_asset_goes_is_replaced(run_folder: Path) -> None:
    (run_folder / "assets").mkdir()
    (run_folder / "precious").write_text("mine")
    (run_folder / "assets" / "a.csv").symlink_to(run_folder / "precious")
    kept(run_folder, {"a.csv": b"1"})
    assert (run_folder / "precious").read_text() == "mine"


def test_a_run_keeps_so_many_and_so_much(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "MAX_COUNT", 2)
    got = kept(run_folder, {f"{n}.csv": b"1" for n in range(3)})
    assert len(got.assets) == 2
    assert got.refused == ("2.csv: a run keeps 2 files at most",)
    monkeypatch.setattr(keep, "MAX_TOTAL_BYTES", 10)
    assert "MB at most" in kept(run_folder, {"1.csv": b"1" * 20}).refused[0]


ODD = ["a b.png", "../../x.png", "ü漢.csv", "-rf.csv", "](http:evil).png", "a\n<b>.png", ".png", "x." + "y" * 90, "a" * 300 + ".csv"]


@pytest.mark.parametrize("name", [*ODD, "A.JPEG"])
def test_a_name_is_made_safe(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,60}\.[a-z0-9]{1,10}", safe(name))


def test_a_fork_gets_what_was_made_by_its_step(run_folder: Path, tmp_path: Path) -> None:
    kept(run_folder, {"sub/a.png": png(), "t.csv": b"1"}, step=3)
    kept(run_folder, {"late.csv": b"2"}, step=9)
    other = tmp_path / "fork"
    other.mkdir()
    Assets(run_folder).copied(other, upto=5)
    assert [asset.name for asset in Assets(other).listed()] == ["a.png", "t.csv"]
    assert (other / "workspace" / "sub" / "a.png").read_bytes() == png()


# --- the tool ---

SCRIPT = f"""
import base64
open('tides.png', 'wb').write(base64.b64decode({base64.b64encode(png(40, 30)).decode()!r}))
open('t.csv', 'w').write('a')
open('x.svg', 'w').write('x')
"""


@pytest.mark.parametrize("run", [bubblewrap.run, plain.run])
async def test_the_tool_tells_what_it_kept(run_folder: Path, run) -> None:
    if run is bubblewrap.run and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap (bwrap) is not installed")
    tool = python_tool(run_folder / "workspace", assets=Assets(run_folder), run=run)
    message = await tool.ainvoke(
        {"type": "tool_call", "id": "1", "name": "python", "args": {"code": SCRIPT}}, {"configurable": {"step": 7}}
    )
    assert "Kept for the report: assets/t.csv (1 bytes); assets/tides.png (figure, 40 x 30)" in str(message.content)
    assert "Not kept for the report: x.svg: an SVG may hold scripts" in str(message.content)
    assert {asset.step for asset in Assets(run_folder).listed()} == {7}
    assert "variables are gone after a call" in tool.description


@pytest.mark.skipif(find_spec("matplotlib") is None or find_spec("pandas") is None, reason="the extra compute is not installed")
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap (bwrap) is not installed")
async def test_pandas_and_matplotlib_work_in_the_sandbox(run_folder: Path) -> None:
    code = "import pandas\npandas.DataFrame({'m': [3, 12, 5]}).plot().figure.savefig('m.png')"
    tool = python_tool(run_folder / "workspace", assets=Assets(run_folder))
    message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "python", "args": {"code": code}})
    assert "assets/m.png (figure, 640 x 480)" in str(message.content), message.content
    assert {"pandas", "matplotlib"} <= set(re.findall(r"\w+", tool.description))


# --- the report ---


@pytest.fixture
def report(run_folder: Path):
    kept(run_folder, {"tides.png": png(), "b.png": png(), "t.csv": b"1"})
    assets = Assets(run_folder)

    def report(answer: str, **more) -> Report:
        return written(draft(answer), assets=assets.listed(), data_of=assets.data, **more)

    return report


def test_a_figure_stands_in_both_reports_with_its_caption_and_its_step(report) -> None:
    made = report("Cells lose 40 percent [S100].\n\n![Loss by *cold* [S100]](assets/tides.png)\n\nMore.")
    assert "![Figure 1](assets/tides.png)\nFigure 1 (made at step 5): Loss by *cold* [1]\n" in made.markdown
    assert made.html.count("<img ") == 1
    assert re.search(r'<figure><img src="data:image/png;base64,[^"]+" alt="Figure 1" width="4" height="3">', made.html)
    assert re.search(r"<figcaption>Figure 1 \(made at step 5\): Loss by <em>cold</em><sup.*?</figcaption>", made.html)
    assert "img-src data:;" in made.html
    assert "[b.png](assets/b.png), made at step 5" in made.markdown
    assert "[t.csv](assets/t.csv)" in made.markdown
    assert "tides.png)" not in made.markdown.partition("## Files")[2]


def test_a_report_without_figures_may_show_no_picture_at_all(report) -> None:
    assert "img-src" not in report("Nothing to see [S100].").html


@pytest.mark.parametrize(
    "image",
    [
        "![x](assets/unknown.png)",
        "![x](http://evil.example/p.png)",
        "![x](assets/../run.json)",
        "![x](data:image/png;base64,AAAA)",
        "![x](file:///etc/passwd)",
        "![x](//evil.example/p.png)",
        "![x][ref]\n\n[ref]: http://evil.example/p.png",
        "![x](<http://evil.example/p.png> 'title')",
        "![x](assets/t.csv)",
        "![x](/assets/tides.png)",
        "![x](assets/tides.png/../../x)",
        '<img src="assets/tides.png">',
        "![x\n](http://evil.example/p.png)",
        "![![y](http://evil.example/q.png)](http://evil.example/p.png)",
    ],
)
def test_a_picture_of_anything_else_is_struck_out(report, image: str) -> None:
    made = report(f"As seen [S100].\n\n{image}\n\nThe end [S100].")
    assert "<img" not in made.html.replace("&lt;img", "")
    assert not re.search(r"(?<!\\)!\[[^\]]*\]\(", made.markdown)
    assert "The end" in made.markdown


def test_a_struck_picture_is_told(report) -> None:
    assert "1 picture or file that no code of this run made was removed" in report("A ![x](assets/no.png) b [S100].").markdown


def test_a_figure_is_placed_once_and_referred_to_again(report) -> None:
    made = report("Lithium cells ![the tides](assets/tides.png) lose capacity [S100].\n\n- and ![again](assets/tides.png) there")
    assert made.markdown.count("![Figure 1](assets/tides.png)") == 1
    assert made.markdown.count("(Figure 1)") == 2
    assert "To check" not in made.markdown  # that a source does not name the figure is no news


def test_code_that_shows_how_is_left_as_it_is(report) -> None:
    made = report("So it is written [S100]:\n\n```\n![x](assets/tides.png)\n```")
    assert "```\n![x](assets/tides.png)\n```" in made.markdown
    assert "<img" not in made.html


def test_a_caption_cannot_break_out(report) -> None:
    made = report('![a</figcaption><script>alert(1)</script>](assets/tides.png)\n\n![" onload="x](assets/b.png)')
    assert "<script" not in made.html
    assert 'onload="x' not in made.html


def test_words_are_counted_with_figures(report) -> None:
    text = " ".join(["Cells lose much [S100]."] * 30)
    made = report(f"{text}\n\n![Loss](assets/tides.png)\n\n{text}", max_words=80)
    assert made.words <= 80


def test_private_characters_in_a_draft_place_nothing(report) -> None:
    assert "<img" not in report("A \ue0040\ue005 b [S100].").html


# --- a whole run ---


async def test_a_run_shows_the_figure_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HOST_KEY", "sk-test-" + "s3cr3t" * 5)
    seen: list[Request] = []
    with Site({"/tides": Page(FACT, content_type="text/plain")}) as site:
        url = site.url("/tides")
        steps = [
            Call("scrape", {"url": url}),
            Call("python", {"code": SCRIPT}),
            Call("note", {"claim": "12 m", "quote": FACT, "source": url}),
        ]

        def script(request: Request) -> Reply:
            seen.append(request)
            rules = str(request["messages"][0]["content"])
            if rules.startswith("You plan"):
                return Reply(content=json.dumps({"brief": "", "sub_questions": ["How high?"]}))
            if rules.startswith("You review"):
                return Reply(content=json.dumps({"verdict": "ok", "follow_ups": []}))
            if rules.startswith("You write"):
                text = f"{FACT} [S100]\n\n![Heights](assets/tides.png)\n\n![Not ours](assets/other.png)"
                return Reply(content=json.dumps({"answer": text, "sections": []}))
            return Reply(reasoning="r", calls=[steps.pop(0)]) if steps else Reply(content="Twelve metres.")

        with ScriptedHost(script, key="sk-test-" + "s3cr3t" * 5) as host:
            model = {"provider": "openai", "name": "scripted", "base_url": host.base_url, "api_key_env": "TEST_HOST_KEY"}
            config = Config.from_mapping(
                {
                    "question": "How high?",
                    "model": {**model, "window_tokens": 32_000, "max_output_tokens": 4_000},
                    "search": {"providers": ["searxng"], "searxng_url": site.url()},
                    "scrape": {"allow_hosts": [site.host]},
                    "python": {"sandbox": "none"},
                    "memory": {"embedder": "none"},
                    "cache": str(tmp_path / "cache"),
                    "out": str(tmp_path / "runs"),
                },
                base=tmp_path,
            )
            result = await Agent(config).arun()
    assert result.status == "complete"
    asked = str(next(r for r in seen if str(r["messages"][0]["content"]).startswith("You write"))["messages"][-1]["content"])
    assert "<assets>\nassets/t.csv (file, made at step 2)\nassets/tides.png (figure, made at step 2)\n</assets>" in asked
    markdown = (result.folder / "report.md").read_text("utf-8")
    assert "![Figure 1](assets/tides.png)\nFigure 1 (made at step 2): Heights" in markdown
    assert (result.folder / "assets" / "tides.png").read_bytes() == png(40, 30)
    assert "1 picture or file that no code of this run made was removed" in markdown

    class Sources(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [str(value)[:22] for name, value in attrs if name == "src"]

    page = Sources()
    page.found = []
    page.feed((result.folder / "report.html").read_text("utf-8"))
    assert page.found == ["data:image/png;base64,"]
