"""Text that others wrote, as Markdown that does nothing: no links, no images, no HTML, no headings. Its words stay as they are."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from research_agent.visible import visible

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_MARKS = re.compile("[\ue000-\ue005]")
_ANCHOR_MARKS = re.compile("[\ue002\ue003]")
_URL = re.compile(r"(?i)(?:\b(?:https?|ftp)://|(?<![\w.])www\.)[^\s`<>\ue000]*[^\s`<>\ue000.,;:!?'\"()\[\]*_]")
_CODE = re.compile(r"(?<![`\\])(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")
_HEADING = re.compile(r"^((?:[ \t]*(?:>|[-*+][ \t]|\d+[.)][ \t]))*[ \t]*)#{1,6}[ \t]+(.*?)[ \t#]*$")
_UNDERLINE = re.compile(r"^[ \t>]*(?:=+|-+)[ \t]*$")
_FENCE_END = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*$")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_ALLOWED_IN_LINE = {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "code_inline"}
_REFUSED_IN_BLOCK = {"link_open", "image", "html_inline", "html_block", "heading_open"}


def clean(text: str) -> str:
    """Without what cannot be seen but acts, and without what we mark citations with."""
    return _MARKS.sub("", visible(text))


@lru_cache(maxsize=4096)
def line(text: str, *, in_link: bool = False) -> str:
    """Plain text on one line. Its words can still be found in the result unless they hold Markdown's own characters."""
    return _line(" ".join(clean(text).split()), in_link=in_link)


def _line(text: str, *, in_link: bool = False) -> str:
    parts, at = [], 0
    for url in _URL.finditer(text):
        parts += [_plain(text[at : url.start()], in_link=in_link), f"`{url.group()}`"]
        at = url.end()
    made = "".join([*parts, _plain(text[at:], in_link=in_link)])
    made = re.sub(r"^([#>+=~|*-]|\d+(?=[.)]))", lambda m: m[1] + "\\" if m[1].isdigit() else "\\" + m[1], made)
    return made if _is_inert(made, line=True) else _strict(text)


@lru_cache(maxsize=1024)
def block(text: str) -> str:
    """A writer's Markdown: emphasis, lists, tables and code stay; headings become bold. Citation tokens stay."""
    text = _ANCHOR_MARKS.sub("", visible(text)).strip("\n")
    made: list[str] = []
    lines = text.split("\n")
    fences = [token for token in _parser().parse(text) if token.type == "fence" and token.level == 0 and token.map]
    in_fence = {number for token in fences for number in range(*(token.map or (0, 0)))}
    for number, content in enumerate(lines):
        made.append(content if number in in_fence else _gentle(content))
    for token in fences:
        first, end = token.map or (0, 0)
        if end >= len(lines) and (end - first < 2 or not _FENCE_END.match(lines[-1])):
            made.append(token.markup)  # left open, it would swallow the rest of the report
    result = "\n".join(made)
    return result if _is_inert(result, line=False) else "\n\n".join(_line(" ".join(part.split())) for part in lines if part.strip())


def _plain(text: str, *, in_link: bool) -> str:
    text = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", text)
    text = re.sub(r"&(?=#?\w{1,32};)", "&amp;", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = re.sub(r"(`|(?<!\s)\*|\*(?!\s))", r"\\\1", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    text = text.replace("~~", r"\~\~")
    return re.sub(r"([\[\]])", r"\\\1", text) if in_link else _brackets(text)


def _brackets(text: str) -> str:
    """Brackets that a reader or a parser could take for a link, an image or one of our citations."""
    text = re.sub(r"\[(\s*(?:S?\d+[\s,;]*)+)\]", r"\\[\1\\]", text)
    text = re.sub(r"!\[", r"!\\[", text)
    return re.sub(r"(?<!\\)\](?=[(\[:])", r"\\]", text)


def _gentle(content: str) -> str:
    if _UNDERLINE.match(content):
        return ""
    if heading := _HEADING.match(content):
        content = f"{heading[1]}**{heading[2].replace('*', '')}**" if heading[2] else ""
    parts, at = [], 0
    for code in _CODE.finditer(content):
        parts += [_prose(content[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*parts, _prose(content[at:])])


def _prose(text: str) -> str:
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return _brackets(_URL.sub(lambda url: f"`{url.group()}`", text))


def _strict(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\1", text).replace("\\<", "&lt;").replace("\\&", "&amp;")


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable("table")


def _is_inert(markdown: str, *, line: bool) -> bool:
    """Whether a parser that allows everything finds nothing in it that acts."""
    env: dict[str, object] = {}
    tokens = _parser().parse(markdown, env)
    types = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    return not env.get("references") and (types <= _ALLOWED_IN_LINE if line else not types & _REFUSED_IN_BLOCK)
