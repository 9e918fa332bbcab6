"""HTML -> what a person would read of it: Markdown, and what the page declares of itself. What is hidden from eyes is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from research_agent.reading.main_text import whole

if TYPE_CHECKING:
    from lxml.html import HtmlElement


@dataclass(frozen=True, slots=True)
class Extracted:
    text: str
    title: str = ""
    author: str = ""
    published: str = ""
    """As declared, to the day; never guessed from the text."""
    language: str = ""


def extract(source: str) -> Extracted | None:
    """None if there is no page in it at all. Raises whatever lxml and trafilatura raise on malformed pages."""
    import trafilatura

    tree = trafilatura.load_html(source)
    if tree is None:  # it takes no bare fragments
        tree = trafilatura.load_html(f"<html><body>{source}</body></html>")
    if tree is None:
        return None
    title, declared = _title(tree), _declared(tree)
    drop_hidden(tree)
    text = trafilatura.extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_tables=True,
        include_comments=False,
        include_links=False,
        favor_recall=True,
    )
    # Pages that are no article (an index, a form, a line or two): everything a reader would see.
    text = text or trafilatura.html2txt(tree) or ""
    return Extracted(whole(tree, text), title, *declared)


def _title(tree: HtmlElement) -> str:
    for path in ("//head/title", "//title", "//h1", '//meta[@property="og:title"]/@content'):
        for found in tree.xpath(path):
            text = found if isinstance(found, str) else found.text_content()
            if text.strip():
                return str(text)
    return ""


# --- what it declares of itself ---

_DATES = frozenset(
    {
        *("article:published_time", "og:published_time", "date", "dc.date", "dc.date.issued", "dcterms.created", "dcterms.issued"),
        *("citation_publication_date", "citation_date", "pubdate", "publish-date", "datepublished"),
    }
)
_AUTHORS = frozenset({"author", "article:author", "citation_author", "dc.creator", "dcterms.creator"})
_DAY = re.compile(r"(\d{4})[-/](\d{2})(?:[-/](\d{2}))?")
_LD_DATE = re.compile(r'"datePublished"\s*:\s*"([^"]{4,40})"')
_LD_AUTHOR = re.compile(r'"author"\s*:\s*\[?\s*\{[^{}]{0,400}?"name"\s*:\s*"([^"]{1,100})"')
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


def _declared(tree: HtmlElement) -> tuple[str, str, str]:
    """(author, date, language)."""
    dates, authors = list[str](), list[str]()
    for meta in tree.iter("meta"):
        name = (meta.get("property") or meta.get("name") or meta.get("itemprop") or "").strip().lower()
        content = " ".join((meta.get("content") or "").split())
        if name in _DATES:
            dates.append(content)
        elif name in _AUTHORS and content and "://" not in content:
            authors.append(content[:100])
    for script in tree.xpath('//script[@type="application/ld+json"]'):
        told = script.text_content()[:200_000]
        dates += _LD_DATE.findall(told)
        authors += [] if authors else _LD_AUTHOR.findall(told)[:5]
    day = next((found for date in dates if (found := _DAY.match(date))), None)
    published = "-".join(part for part in day.groups() if part) if day else ""
    language = (tree.get("lang") or tree.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip()
    return ", ".join(dict.fromkeys(authors)), published, language if _LANGUAGE.fullmatch(language) else ""


# --- what is hidden ---

_END = r"\s*(?:;|!|$)"
_HIDING = re.compile(
    rf"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    rf"|(?<![\w-])font-size\s*:\s*0?(?:\.0*)?[01]?(?:px|pt|r?em|%)?{_END}"
    rf"|text-indent\s*:\s*-\d{{3,}}|(?<![\w-])(?:left|top|right|margin-left|margin-top)\s*:\s*-\d{{4,}}|clip\s*:\s*rect\(\s*[01](?:px)?[\s,]",
    re.IGNORECASE,
)
_TRANSPARENT = re.compile(rf"(?<![\w-])opacity\s*:\s*0?(?:\.0+)?{_END}", re.IGNORECASE)
_FLAT = re.compile(rf"(?<![\w-])(?:max-)?(?:height|width)\s*:\s*0(?:px)?{_END}", re.IGNORECASE)
_MOVING = re.compile(r"transform|transition|animation|translate", re.IGNORECASE)
"""A page that fades its content in is no page that hides it."""
_COLOR = re.compile(r"(?<![\w-])color\s*:\s*([^;!]+)", re.IGNORECASE)
_BACKGROUND = re.compile(r"(?<![\w-])background(?:-color)?\s*:\s*([^;!]+)", re.IGNORECASE)
_BRACE = re.compile(r"([{}])")
_SIMPLE = re.compile(r"[.#][\w-]+")
_NAMED = {"#fff": "white", "#ffffff": "white", "rgb(255,255,255)": "white", "#000": "black", "#000000": "black", "rgb(0,0,0)": "black"}
_STYLES_CHARS = 100_000
MOST_HIDDEN = 0.8
"""A page that hides more of its text than this is one that its scripts show: then nothing is left out."""


def drop_hidden(tree: HtmlElement) -> None:
    """Removes what a reader cannot see, as far as the page itself says so: attributes, inline styles, and plain rules for a class or id."""
    styles = "\n".join(style.text_content() for style in tree.iter("style"))[:_STYLES_CHARS]
    names = frozenset(_hiding_names(styles))
    plain = not tree.xpath('//link[contains(@rel, "stylesheet")]') and "background" not in styles
    hidden = [element for element in tree.iter() if isinstance(element.tag, str) and _is_hidden(element, names, plain)]
    if not hidden:
        return
    inside = set(hidden)
    outer = [element for element in hidden if not any(above in inside for above in element.iterancestors())]
    total = len("".join(tree.itertext()))
    if sum(len("".join(element.itertext())) for element in outer) > MOST_HIDDEN * total:
        return
    for element in outer:
        element.drop_tree()


def _hiding_names(styles: str) -> Iterator[str]:
    for selectors, declarations in _rules(re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)):
        if _hides(declarations):
            yield from (name for selector in selectors.split(",") if _SIMPLE.fullmatch(name := selector.strip()))


def _rules(styles: str) -> Iterator[tuple[str, str]]:
    """The rules that hold everywhere: not those inside `@media` and the like. A walk from brace to brace: no style sheet takes long."""
    depth, selectors, declarations = 0, "", ""
    for piece in _BRACE.split(styles):
        if piece == "{":
            depth += 1
        elif piece == "}":
            if depth == 1 and not selectors.startswith("@"):
                yield selectors, declarations
            depth = max(0, depth - 1)
        elif depth == 0:
            selectors, declarations = piece.rpartition(";")[2].strip(), ""
        elif depth == 1:
            declarations += piece


def _hides(style: str) -> bool:
    if _HIDING.search(style):
        return True
    if _TRANSPARENT.search(style) and not _MOVING.search(style):
        return True
    return bool(_FLAT.search(style)) and "hidden" in style


def _is_hidden(element: HtmlElement, names: frozenset[str], plain: bool) -> bool:
    if element.tag in ("html", "head", "body", "meta", "link", "title", "style", "script"):
        return False
    if element.tag == "template" or element.get("hidden") is not None:
        return True
    if names and (f"#{element.get('id')}" in names or any(f".{name}" in names for name in (element.get("class") or "").split())):
        return True
    style = element.get("style") or ""
    return bool(style or element.tag == "font") and (_hides(style) or _drowns(element, style, plain))


def _drowns(element: HtmlElement, style: str, plain: bool) -> bool:
    """Text in the colour of what it stands on, where that is known."""
    said = _COLOR.search(style)
    color = _named(said[1] if said else element.get("color") or "")
    if color in ("", "inherit"):
        return False
    if color == "transparent":
        return True
    for under in (element, *element.iterancestors()):
        ground = _BACKGROUND.search(under.get("style") or "")
        if ground or under.get("bgcolor"):
            return color == _named(ground[1] if ground else under.get("bgcolor") or "")
    return plain and color == "white"


def _named(color: str) -> str:
    color = color.lower().replace(" ", "")
    return _NAMED.get(color, color)
