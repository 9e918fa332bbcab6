"""What trafilatura leaves out, brought back where it is too much: all that stands in a page's main part.

It is made for articles. Of manuals, definition lists and code it loses up to half; there a page without finesse is better than half a
page: passages are chosen later, and what was not read cannot be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.html import HtmlElement

LEAST_OF_MAIN = 0.8
LEAST_OF_BODY = 0.5
"""Of the words in the main part, those that must have been read: less is a page lost. Where the page does not say what its main part
is, the measure is all but furniture, and less is asked. On seven manuals (benchmarks/extraction.py) the two and `favor_recall` raise
recall from 0.83 to 0.89, and boilerplate from 0.04 to 0.05; 0.7 for the body reads more yet, but articles with comments lie there too."""
LINK_SHARE = 0.7
"""A block with more of its text in links is a menu."""
_FURNITURE = (
    "//nav | //header | //footer | //aside | //form | //script | //style | //noscript | //template"
    ' | //*[@role="navigation" or @role="banner" or @role="contentinfo" or @role="search" or @role="complementary"]'
)
_MENUS = frozenset({"div", "ul", "ol", "dl", "table", "section", "p", "td"})
_WORD = re.compile(r"\w+")


def whole(tree: HtmlElement, read: str) -> str:
    """`read` is what was extracted from `tree`: that, or the whole main part if it is too little of it. The tree is used up."""
    import trafilatura

    for element in tree.xpath(_FURNITURE):
        if element.getparent() is not None:
            element.drop_tree()
    main, declared = _main(tree)
    if not declared:
        _drop_menus(main)
    least = LEAST_OF_MAIN if declared else LEAST_OF_BODY
    if _words(read) >= least * _words(" ".join(main.itertext())):
        return read
    return trafilatura.html2txt(main) or read


def _main(tree: HtmlElement) -> tuple[HtmlElement, bool]:
    """The main part, and whether the page itself says that it is."""
    for path in ("//main", '//*[@role="main"]', "//article"):
        found = tree.xpath(path)
        if len(found) == 1:
            return found[0], True
    return next(iter(tree.xpath("//body")), tree), False


def _drop_menus(main: HtmlElement) -> None:
    chars: dict[HtmlElement, int] = {}
    linked: dict[HtmlElement, int] = {}
    elements = [element for element in main.iter() if isinstance(element.tag, str)]
    for element in reversed(elements):  # what is inside comes first so
        inside = [child for child in element if child in chars]
        chars[element] = len(element.text or "") + sum(chars[child] + len(child.tail or "") for child in inside)
        linked[element] = chars[element] if element.tag == "a" else sum(linked[child] for child in inside)
    for element in elements:
        if element.tag in _MENUS and element is not main and linked[element] > LINK_SHARE * chars[element]:
            element.drop_tree()


def _words(text: str) -> int:
    return len(_WORD.findall(text))
