"""Figures in a draft: `![caption](assets/x.png)` becomes a token that survives every later step; a picture of anything else is struck out.

No picture comes from elsewhere: what is shown is a file that the run's own code made, by its name in `assets/`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from research_agent.assets.keep import Asset
from research_agent.report.citations import TOKEN
from research_agent.report.inert import line
from research_agent.report.sentences import fences

FIGURE = re.compile("\ue004([0-9]+)\ue005")
"""Where a figure stands: two private characters around its place in the gallery."""

_IMAGE = re.compile(
    r"!\\?\[(?P<caption>(?:[^\[\]\n]|\[[^\[\]\n]{0,80}\]){0,400})\]"
    r"(?:\(\s*<?(?P<target>[^()<>\s]{0,500})>?(?:\s+[\"'(][^\n]{0,200}?[\"')])?\s*\)|\[[^\[\]\n]{0,100}\])"
)
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]\n]{1,200})\]\(\s*<?(?P<target>(?:\./)?assets/[A-Za-z0-9._-]{1,100})>?\s*\)")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_HEAD = re.compile("\ue004[0-9]+\ue005\\s*Figure [0-9]+(?: \\(made at step [0-9]+\\))?:?\\s*")
_REFERENCE = re.compile(r" ?\(Figure [0-9]+\)")
_HTML = re.compile("<p>\\s*\ue004([0-9]+)\ue005(.*?)</p>", re.DOTALL)


@dataclass
class Gallery:
    """The run's assets, those of its figures that a draft places, and the pictures it places in vain."""

    assets: Sequence[Asset]
    placed: list[Asset] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)

    def place(self, text: str) -> str:
        """The text with a paragraph for each figure, after the one that names it. One placed before is referred to."""
        return "".join(piece if fenced else self._prose(piece) for piece, fenced in fences(text))

    def _prose(self, text: str) -> str:
        return "\n\n".join(map(self._paragraph, _PARAGRAPHS.split(text)))

    def _paragraph(self, text: str) -> str:
        figures: list[str] = []

        def image(match: re.Match[str]) -> str:
            asset = self._named(match["target"] or "")
            if asset is None or not asset.is_figure:
                self.struck.append((match["target"] or match["caption"])[:100])
                return match["caption"].strip()
            if asset in self.placed:
                return f"(Figure {self.placed.index(asset) + 1})"
            self.placed.append(asset)
            figures.append(self._figure(asset, " ".join(match["caption"].split())))
            return f"(Figure {len(self.placed)})"

        def link(match: re.Match[str]) -> str:
            asset = self._named(match["target"])
            if asset is None:
                self.struck.append(match["target"][:100])
                return match["text"]
            return f"{match['text']} (`{asset.path}`)"

        made = _LINK.sub(link, _IMAGE.sub(image, text))
        if not figures:
            return made
        said = [] if not _IMAGE.sub("", text).strip() else [made.strip("\n")]
        return "\n\n".join([*said, *figures]) + "\n" * text.endswith("\n")

    def _figure(self, asset: Asset, caption: str) -> str:
        number = len(self.placed)
        made = f" (made at step {asset.step})" if asset.step else ""
        return f"\ue004{number - 1}\ue005\nFigure {number}{made}{f': {caption}' if caption else ''}"

    def _named(self, target: str) -> Asset | None:
        path = target.removeprefix("./")
        return next((asset for asset in self.assets if path in (asset.path, asset.made_as)), None)

    def files(self, text: str) -> list[str]:
        """The assets that stand nowhere in the text, as lines of Markdown of our own."""
        shown = {self.placed[int(number)].name for number in FIGURE.findall(text)}
        rest = [asset for asset in self.assets if asset.name not in shown]
        return [f"[{line(asset.name, in_link=True)}]({asset.path}){f', made at step {asset.step}' if asset.step else ''}" for asset in rest]

    def markdown(self, text: str) -> str:
        """Tokens as images that lie beside the report."""
        return FIGURE.sub(lambda match: f"![Figure {int(match[1]) + 1}]({self.placed[int(match[1])].path})", text)

    def html(self, body: str, data_of: Callable[[Asset], bytes]) -> str:
        """Tokens as images that the page itself holds. Raises OSError."""

        def figure(match: re.Match[str]) -> str:
            asset = self.placed[int(match[1])]
            packed = base64.b64encode(data_of(asset)).decode("ascii")
            size = f'width="{asset.width}" height="{asset.height}"'
            image = f'<img src="data:{asset.media_type};base64,{packed}" alt="Figure {int(match[1]) + 1}" {size}>'
            return f"<figure>{image}<figcaption>{match[2].strip()}</figcaption></figure>"

        return FIGURE.sub("", _HTML.sub(figure, body))


def judged(sentence: str) -> str:
    """A sentence without the words for figures that we put into it; empty if it is a caption that cites nothing."""
    caption = _HEAD.sub("", sentence)
    return "" if caption != sentence and not TOKEN.search(caption) else _REFERENCE.sub("", caption)
