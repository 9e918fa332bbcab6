"""The report as one HTML file: no script, nothing loaded from anywhere, citations that lead to their sources."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable, Mapping
from importlib.resources import files

from research_agent.report.citations import ANCHOR, numbered
from research_agent.report.inert import clean

_PAGE = """\
<!doctype html>
<html lang="">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main dir="auto">
{body}</main>
</body>
</html>
"""


def render(markdown: str, title: str, number_of: Mapping[int, int], show: Callable[[str], str] = lambda body: body) -> str:
    """Markdown with its citations still as tokens, as a page that needs nothing beside it. `show`: puts the figures into its body."""
    from markdown_it import MarkdownIt

    body = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
    body = re.sub(r"(?<![ \t])[ \t]+(?=\ue000)", "", body)  # a raised number stands close to its word
    body = numbered(body, number_of, lambda n: f'<sup class="cite"><a href="#source-{n}" title="Source {n}">{n}</a></sup>')
    body = ANCHOR.sub(r'<span class="anchor" id="source-\1"></span>', body)
    body = body.replace('<a href="http', '<a rel="noopener noreferrer nofollow" href="http')
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    body = show(body)
    images = " img-src data:;" if "<img " in body else ""
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none';{images} style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _PAGE.format(policy=policy, title=html.escape(" ".join(clean(title).split())), style=style, body=body)
