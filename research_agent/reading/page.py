"""Bytes of any origin -> text. What they are is decided by the bytes; name and content type only break ties.

Everything that cannot be read is `Unreadable`, whatever the library underneath raised: the parsers meet hostile input here.
"""

from __future__ import annotations

import codecs
import logging
import re
import time
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from research_agent.visible import without_escapes

if TYPE_CHECKING:
    from pypdf import PdfReader

    from research_agent.reading.html_text import Extracted

Kind = Literal["markdown", "html", "pdf", "text"]

MAX_BYTES = 50 * 2**20
MAX_PDF_PAGES = 5_000
PDF_TIMEOUT_S = 60.0
MAX_TITLE_CHARS = 200
MAX_LINE_CHARS = 400


class Unreadable(Exception):
    """One short reason: `encrypted PDF`, `no text`, `binary`."""


@dataclass(frozen=True, slots=True)
class Page:
    text: str
    """NFC, lines end in `\\n`, no control characters: what is archived and quoted from."""
    title: str
    """Never empty."""
    kind: Kind
    author: str = ""
    published: str = ""
    """A day, where an HTML page declares it."""
    language: str = ""


def read(data: bytes, *, name: str = "", content_type: str = "", charset: str = "") -> Page:
    """Raises Unreadable, and nothing else. `name` is a file's name or a URL's last part; `charset` what a server declared."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES // 2**20} MB")
    hint = f"{name.lower()} {content_type.lower()}"
    if is_pdf(data, hint):
        text, title = _pdf(data)
        kind: Kind = "pdf"
    else:
        source = without_escapes(_decode(data, charset, hint))  # before a parser drops their first character only
        kind = _kind(source, hint)
        if kind == "html":
            found = _html(source)
            return _page(found.text, found.title, kind, name, author=found.author, published=found.published, language=found.language)
        text, title = _broken_up(source), _heading(source, kind)
    return _page(text, title, kind, name)


def _page(text: str, title: str, kind: Kind, name: str, **declared: str) -> Page:
    text = _clean(text)
    if not text:
        raise Unreadable("no text")
    return Page(text, _title(title, name, text), kind, **{key: _clean(value) for key, value in declared.items()})


# --- what it is ---

_HTML_DOCUMENT = re.compile(r"(?>(?:\s+|<\?xml[^>]*>|<!--.*?-->)*)<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_HTML_FRAGMENT = re.compile(r"<(?:p|div|h[1-6]|table|ul|ol|article|section|main|title|meta|span|a)[\s>]", re.IGNORECASE)
_MARKDOWN_NAME = re.compile(r"\.(?:md|mkd|mdx|markdown)\b|text/(?:x-)?markdown")
_HTML_NAME = re.compile(r"\.x?html?\b|text/html|application/xhtml")
_ATX = re.compile(r"#{1,6}[ \t]+(?P<title>\S.*?)[ \t#]*$")


def is_pdf(data: bytes, hint: str = "") -> bool:
    """Readers accept a PDF's header anywhere in the first kilobyte; we do where the name says so too."""
    head = data[:1024]
    return head.lstrip().startswith(b"%PDF-") or (b"%PDF-" in head and "pdf" in hint)


def _kind(text: str, hint: str) -> Kind:
    head = text[:4096]
    if _HTML_DOCUMENT.match(head):
        return "html"
    if _MARKDOWN_NAME.search(hint):  # Markdown may well start with a <div>
        return "markdown"
    if (_HTML_NAME.search(hint) and _HTML_FRAGMENT.search(text)) or _HTML_FRAGMENT.match(head.lstrip()):
        return "html"
    first = head.lstrip().partition("\n")[0][:MAX_LINE_CHARS]
    return "markdown" if _ATX.match(first) or _front_matter(head) else "text"


# --- characters ---

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_CHARSET = re.compile(rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff\ufeff\u00ad\ud800-\udfff"
    r"\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"  # nothing to see, but read by a model
)
_SNIFF_BYTES = 65_536
_LATIN = frozenset({"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"})


def _decode(data: bytes, charset: str, hint: str) -> str:
    for mark, codec in _BOMS:
        if data.startswith(mark):
            return _textual(data[len(mark) :].decode(codec, "replace"), hint)
    declared = charset or _declared(data)
    if charset.lower() in _LATIN and (own := _declared(data)) and _strictly(data, own) is not None:
        declared = own  # servers say Latin-1 of whatever they hold; a page knows better
    if declared.lower().startswith(("iso-2022", "hz", "utf-7")):  # these look like ASCII
        text = _strictly(data, declared)
        if text is not None:
            return _textual(text, hint)
    if b"\0" in data[:_SNIFF_BYTES]:
        if re.fullmatch(r"utf-?(?:16|32)-?[bl]e", charset, re.IGNORECASE) and (text := _strictly(data, charset)) is not None:
            return _textual(text, hint)  # where there are no Latin letters, nothing else tells
        if data.count(0) * 50 > len(data):
            return _textual(data.decode(_utf16(data, hint), "replace"), hint)
        data = data.replace(b"\0", b"")  # a few, as browsers do
    # Text that is valid UTF-8 is UTF-8, whatever it was declared as.
    text = _strictly(data, "utf-8") or _nearly_utf8(data)
    if text is None and declared:
        text = _strictly(data, declared)
    return _textual(data.decode(_guess(data), "replace") if text is None else text, hint)


def _declared(data: bytes) -> str:
    found = _META_CHARSET.search(data[:4096])
    return found[1].decode("ascii", "replace") if found else ""


def _strictly(data: bytes, codec: str) -> str | None:
    # Browsers read Latin-1 and ASCII as their superset, cp1252.
    codec = "cp1252" if codec.lower() in _LATIN else codec
    try:
        text = data.decode(codec)
    except (LookupError, ValueError):
        return None
    return text if isinstance(text, str) else None


def _nearly_utf8(data: bytes) -> str | None:
    """UTF-8 cut in the middle of a character, or with a few foreign bytes."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for char in text if char > "\x7f") - bad
    return text if good >= 10 * bad else None


def _utf16(data: bytes, hint: str) -> str:
    """UTF-16 without a mark: nearly all NULs stand on one side of the pairs."""
    head = data[: _SNIFF_BYTES & ~1]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < len(head) // 8 or min(even, odd) * 20 > max(even, odd):
        raise Unreadable(_binary(hint))
    return "utf-16-be" if even > odd else "utf-16-le"


def _guess(data: bytes) -> str:
    head = data[:_SNIFF_BYTES]
    runs = re.findall(rb"[\x80-\xff]+", head)
    # Lone high bytes are the accents of a western language, which detectors take for anything but cp1252.
    if sum(len(run) == 1 for run in runs) * 2 > len(runs):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(head).best()
    return best.encoding if best else "cp1252"


def _textual(text: str, hint: str) -> str:
    """Refuses what decodes but is no text."""
    head = text[:_SNIFF_BYTES]
    odd = sum(1 for char in head if char < " " and char not in "\t\n\r\f\x1b") + head.count("\ufffd")
    if odd * 50 > len(head):
        raise Unreadable(_binary(hint))
    return text


def _binary(hint: str) -> str:
    return "not a PDF: binary" if "pdf" in hint else "binary"


def _clean(text: str) -> str:
    text = (
        without_escapes(text)
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\f", "\n\n")
        .replace("\u2028", "\n")
        .replace("\u2029", "\n\n")
    )
    return unicodedata.normalize("NFC", _CONTROL.sub("", text)).strip()


# --- titles ---


def _front_matter(text: str) -> str:
    found = re.match(r"---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    return found[1] if found and ":" in found[1] else ""


def _heading(text: str, kind: Kind) -> str:
    head = text[:20_000].lstrip()
    if kind == "markdown":
        named = re.search(r"^title:[ \t]*(\S.*)$", _front_matter(head), re.MULTILINE | re.IGNORECASE)
        if named:
            return named[1].strip().strip("\"'")
    lines = [line.strip()[:MAX_LINE_CHARS] for line in head.splitlines()[:200]]
    if kind == "markdown":
        fenced = False
        for line, below in pairwise([*lines, ""]):
            fenced ^= line.startswith(("```", "~~~"))
            atx = _ATX.match(line)
            if atx and not fenced:
                return _plain(atx["title"])
            if line and re.fullmatch(r"=+|-{4,}", below) and not re.match(r"[-=>|*]", line):
                return _plain(line)
        return ""
    # Plain text: a short first line that stands alone and does not read like a sentence.
    alone = len(lines) > 1 and (not lines[1] or re.fullmatch(r"[=\-~*]{3,}", lines[1]))
    return lines[0] if alone and len(lines[0]) <= 100 and not lines[0].endswith((".", ",", ";", ":")) else ""


def _plain(inline: str) -> str:
    """A heading without its Markdown."""
    inline = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", inline)
    return re.sub(r"[*`]|(?<!\w)_|_(?!\w)|<[^>]+>", "", inline)


def _title(found: str, name: str, text: str) -> str:
    stem = PurePosixPath(name.rstrip("/")).stem if name.strip("/. ") else ""
    for candidate in (found, stem, text):
        title = " ".join(_clean(candidate[:1000]).split())[:MAX_TITLE_CHARS].strip()
        if title:
            return title
    return "untitled"


# --- HTML ---


def _html(source: str) -> Extracted:
    _quiet("trafilatura")
    _quiet("htmldate")
    from research_agent.reading.html_text import extract

    try:
        extracted = extract(source)
    except Exception as error:  # lxml and trafilatura raise many things on malformed pages
        raise Unreadable(f"malformed HTML: {_line(error)}") from error
    if extracted is None:
        raise Unreadable("no text")
    return extracted


# --- JSON ---

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{,]|[^"\[{,]+', re.DOTALL)  # a string may stay open, and must not be tried twice
_LONG_LINE = 2_000


def _broken_up(source: str) -> str:
    """JSON without line breaks, with some: a line a member. What the values say stays as it is, to the letter."""
    head = source[:4096].lstrip()
    if not head.startswith(("{", "[")) or "\n" in source[:_LONG_LINE] or len(source) < _LONG_LINE:
        return source
    return "".join(token + "\n" if token in ("{", "[", ",") else token for token in _JSON_TOKEN.findall(source))


# --- PDF ---

_LIGATURES = {ord(char): plain for char, plain in zip("ﬀﬁﬂﬃﬄ", ("ff", "fi", "fl", "ffi", "ffl"), strict=True)}


def _pdf(data: bytes) -> tuple[str, str]:
    _quiet("pypdf")
    import io

    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        reader = PdfReader(io.BytesIO(data))
        pages = _pdf_pages(reader)
        title = _pdf_title(reader, pages)
    except Unreadable:
        raise
    except (FileNotDecryptedError, DependencyError) as error:
        raise Unreadable("encrypted PDF") from error
    except Exception as error:  # pypdf raises KeyError, TypeError, RecursionError and more on malformed files
        raise Unreadable(f"not a PDF: {_line(error)}") from error
    text = "\n\n".join(page for page in pages if page)
    if not text.strip():
        raise Unreadable("no text (a scanned PDF?)")
    return text, title


def _pdf_pages(reader: PdfReader) -> list[str]:
    deadline = time.monotonic() + PDF_TIMEOUT_S
    if len(reader.pages) > MAX_PDF_PAGES:
        raise Unreadable(f"a PDF of more than {MAX_PDF_PAGES} pages")
    pages: list[str] = []
    failures: list[Exception] = []
    for page in reader.pages:
        if time.monotonic() > deadline:
            raise Unreadable(f"a PDF that takes more than {PDF_TIMEOUT_S:.0f} s")
        try:
            pages.append(_unwrap(page.extract_text().translate(_LIGATURES)))
        except Exception as error:  # noqa: BLE001 -- one broken page must not cost the others
            failures.append(error)
            pages.append("")
    if failures and len(failures) == len(pages):
        raise failures[0]
    return pages


def _pdf_title(reader: PdfReader, pages: list[str]) -> str:
    title = (reader.metadata.title or "") if reader.metadata else ""
    title = re.sub(r"^Microsoft \w+ - |\.(?:docx?|pdf|tex|indd|pptx?)$", "", title.strip())
    if title and title.lower() not in {"untitled", "title", "document", "document1"}:
        return title
    first = next((line for page in pages for line in page.splitlines() if line.strip()), "")
    return first if len(first.split()) > 1 and len(first) <= 120 else ""


def _unwrap(page: str) -> str:
    """A page's visual lines -> paragraphs: a full line goes on in the next one."""
    lines = [line.strip() for line in page.splitlines()]
    lengths = sorted(len(line) for line in lines if line)
    full = 0.75 * lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0
    out = ""
    for line, below in pairwise([*lines, ""]):
        if len(line) < full or not below:
            out += line + "\n"
        elif re.search(r"[a-z]-$", line) and below[0].islower():
            out += line[:-1]
        else:
            out += line + " "
    return out.strip()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _quiet(logger: str) -> None:
    """Parsers complain on stderr about each malformed file; what matters of it is in Unreadable. An application's own level stays."""
    log = logging.getLogger(logger)
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
