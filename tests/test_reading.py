"""Bytes -> text: formats by content, encodings, and every way a file can be unreadable."""

from __future__ import annotations

import contextlib
import time
import zlib

import pytest
from documents import ARTICLE, encrypted, pdf
from hypothesis import given, settings
from hypothesis import strategies as st

from research_agent.reading import page as reading
from research_agent.reading.page import Unreadable, read


def test_html_becomes_markdown_with_headings_tables_and_lists_and_without_scripts():
    page = read(ARTICLE.encode(), name="x")
    assert (page.kind, page.title) == ("html", "Tides & Moons")
    assert "## Ranges" in page.text
    assert "| Bay of Fundy | 16 m |" in page.text
    assert "- neap tides are weak" in page.text
    assert "hidden" not in page.text


@pytest.mark.parametrize("html", ["<html><body><p>Short.</p></body></html>", "<p>Short.", "<html><body><form>Short.</form></body></html>"])
def test_a_page_that_is_no_article_still_gives_its_text(html):
    assert "Short." in read(html.encode(), name="page.html").text


@pytest.mark.parametrize("name", ["paper.pdf", "paper.html", "paper", "download.php"])
def test_a_pdf_is_known_by_its_content_whatever_its_name(name):
    page = read(pdf("The tide turns at six.", "A second page of it.", title="On Tides"), name=name, content_type="text/html")
    assert (page.kind, page.title) == ("pdf", "On Tides")
    assert page.text == "The tide turns at six.\n\nA second page of it."


def test_wrapped_lines_of_a_pdf_become_sentences_again():
    lines = (
        "The moon raises the tides of the sea, and the sea slows the turn-\ning of the earth by a little in each century that passes\nby."
    )
    assert read(pdf(lines)).text == lines.replace("turn-\n", "turn").replace("\n", " ")


def test_html_that_is_named_pdf_is_read_as_html():
    assert read(ARTICLE.encode(), name="a.pdf", content_type="application/pdf").kind == "html"


def test_markdown_that_starts_with_html_stays_markdown():
    page = read(b'<div align="center"><img src="x.png"></div>\n\n# The *Real* [Title](http://x)\n\nText.', name="README.md")
    assert (page.kind, page.title) == ("markdown", "The Real Title")


@pytest.mark.parametrize(
    ("text", "name", "kind", "title"),
    [
        ("---\ntitle: 'From the front'\nauthor: Jo\n---\n# Heading\n", "a.md", "markdown", "From the front"),
        ("```sh\n# a comment\n```\n\n## Heading ##\n", "a.md", "markdown", "Heading"),
        ("Underlined\n==========\n\nText.", "a.md", "markdown", "Underlined"),
        ("Only text here.", "my notes.md", "markdown", "my notes"),
        ("# Heading\n\nText.", "a.txt", "markdown", "Heading"),
        ("A Short Line\n\nThe text follows after it.", "a.txt", "text", "A Short Line"),
        ("The text starts at once, and goes on.\nIt does.", "dir.v2/log.2024.txt", "text", "log.2024"),
        ("The text starts at once.", "", "text", "The text starts at once."),
        ("text", ".", "text", "text"),
    ],
)
def test_titles(text, name, kind, title):
    page = read(text.encode(), name=name)
    assert (page.kind, page.title) == (kind, title)


RUSSIAN = "Широка страна моя родная, много в ней лесов, полей и рек. Я другой такой страны не знаю, где так вольно дышит человек."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた。"


@pytest.mark.parametrize(
    ("text", "codec", "charset"),
    [
        ("naïve café", "utf-8", ""),
        ("naïve café", "utf-8-sig", ""),
        ("naïve café", "utf-8", "iso-8859-1"),  # declared wrongly
        ("naïve café", "utf-16", ""),
        ("naïve café is longer", "utf-16-le", ""),
        ("naïve café is longer", "utf-16-be", ""),
        ("naïve café", "utf-32", ""),
        ("“naïve” café – costs 3 € a cup", "cp1252", ""),
        ("“naïve” café", "cp1252", "iso-8859-1"),
        ("naïve café", "cp1252", "no-such-charset"),
        ("naïve café", "cp1252", "base64"),  # a codec, but not of text
        (RUSSIAN, "cp1251", ""),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (JAPANESE, "shift_jis", ""),
        (JAPANESE, "euc-jp", "euc-jp"),
        (JAPANESE, "iso-2022-jp", "iso-2022-jp"),
    ],
)
def test_encodings(text, codec, charset):
    assert read(text.encode(codec), charset=charset).text == text


def test_the_charset_a_page_declares_in_its_head():
    html = f'<html><head><meta charset="koi8-r"><title>{RUSSIAN[:20]}</title></head><body><p>{RUSSIAN}</p></body></html>'
    assert RUSSIAN in read(html.encode("koi8-r")).text


def test_utf8_that_is_cut_inside_a_character_keeps_the_rest():
    assert read(("é" * 50 + "end é").encode()[:-1]).text == "é" * 50 + "end \ufffd"


def test_control_characters_and_line_ends_are_cleaned():
    assert read(b"one\r\ntwo\rthree\x07 \x1b[0m four" + b"." * 200).text.startswith("one\ntwo\nthree  four")


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.txt", "no text"),
        (b" \n\t\xef\xbb\xbf", "a.txt", "no text"),
        (b"\xef\xbb\xbf", "a.txt", "no text"),
        (b"<html><head><title>T</title></head><body><script>x</script></body></html>", "a.html", "no text"),
        (pdf(""), "a.pdf", "no text (a scanned PDF?)"),
        (encrypted(), "a.pdf", "encrypted PDF"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "a.pdf", "not a PDF: "),
        (pdf("text")[:120], "a.pdf", "not a PDF: "),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200), "a.png", "binary"),
        (zlib.compress(bytes(range(256)) * 50), "a.txt", "binary"),
        (b"\x7fELF\x02\x01\x01\0" + bytes(range(1, 256)) * 5, "a", "binary"),
        (bytes(range(1, 32)) * 50, "a.pdf", "not a PDF: binary"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_short_line(data, name, reason):
    with pytest.raises(Unreadable) as raised:
        read(data, name=name)
    assert str(raised.value).startswith(reason)
    assert len(str(raised.value)) < 160
    assert "\n" not in str(raised.value)


def test_too_large_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 2**20)
    with pytest.raises(Unreadable, match="larger than 1 MB"):
        read(b"x" * (2**20 + 1))


def test_a_pdf_whose_time_is_up_is_given_up(monkeypatch):
    monkeypatch.setattr(reading, "PDF_TIMEOUT_S", -1.0)
    with pytest.raises(Unreadable, match="takes more than"):
        read(pdf("text"))


def test_deeply_nested_html_does_not_escape():
    with contextlib.suppress(Unreadable):
        assert read(b"<html><body>" + b"<div>" * 20_000 + b"text").text


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=200).map(lambda junk: b"<html><body><p>" + junk),
        st.tuples(st.integers(0, 600), st.binary(max_size=8)).map(lambda cut: pdf("text")[: cut[0]] + cut[1] + pdf("text")[cut[0] :]),
    ),
    st.sampled_from(["", "a.md", "a.html", "a.pdf", "a"]),
)
def test_any_bytes_give_a_clean_page_or_a_reason(data, name):
    with contextlib.suppress(Unreadable):
        page = read(data, name=name)
        assert page.title.strip()
        assert page.text.strip()
        page.text.encode("utf-8")  # no lone surrogates: SQLite and JSON take it
        assert "\0" not in page.text + page.title


HOSTILE_STYLES = ["@a " * 40_000, "@media{" * 15_000, "a," * 50_000 + "{display:none}", ".a{display:none}" * 6_000, "x{color:" * 12_000]


@pytest.mark.parametrize("styles", HOSTILE_STYLES)
def test_no_style_sheet_takes_long(styles: str) -> None:
    started = time.monotonic()
    page = read(f"<html><head><style>{styles}</style></head><body><p>The tide rises by twelve metres.</p></body></html>".encode())
    assert "twelve metres" in page.text
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("source", ['{"a":["' + '\\"' * 100_000, '{"a":[' + '"' * 200_001, '{"a": "' + "x" * 9_000 + "\\"])
def test_json_that_is_none_loses_nothing_and_takes_no_time(source: str) -> None:
    started = time.monotonic()
    assert read(source.encode(), name="x.json").text.replace("\n", "") == source
    assert time.monotonic() - started < 3


def test_json_on_one_line_gets_a_line_a_member_and_keeps_its_values() -> None:
    source = '{"rows": [' + ", ".join('{"metres": 12.10, "name": "a, {b} [c]"}' for _ in range(100)) + "]}"
    text = read(source.encode(), name="x.json").text
    assert text.splitlines().count('"metres": 12.10,') == 100
    assert '"a, {b} [c]"' in text
