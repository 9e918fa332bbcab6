"""How text from outside stands in a prompt: labelled data blocks with a handle. `render` writes them, `parse` reads them back."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from research_agent.memory import estimate_tokens

_UNSEEN = "[\x00-\x08\x0b-\x1f\x7f\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]*"
"""What may stand between the letters of a tag without being seen."""
_SMUGGLED = re.compile("[\U000e0000-\U000e0fff]")
"""Letters that no screen shows and a tokenizer reads."""


_COMMANDS = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]?|\x1b[\\]PX^_][^\x07\x1b]{0,4000}(?:\x07|\x1b\\\\)")
"""To a terminal: colours, movements, titles."""
_JOINERS = "\u200c\u200d"
"""Persian, Hindi and emoji are written with them."""


def tags(names: str, *, end: str = r"\b") -> re.Pattern[str]:
    """The bracket that opens or closes a tag of these names (`a|b`), unseen characters and wide brackets or not."""
    spelled = "|".join(_UNSEEN.join(map(re.escape, name)) for name in names.split("|"))
    return re.compile(rf"[<＜﹤](?={_UNSEEN}(?:[/／]{_UNSEEN}\s*)?(?:{spelled}){end})", re.IGNORECASE)


_TAG = tags("document")
_TEMPLATES = (
    tags(
        "think|thinking|reasoning|tool_call|tool_calls|tool_response|tool_result|function_call|function_calls|function_results|system"
        "|assistant|im_start|im_end|start_of_turn|end_of_turn|bos|eos|s",
        end=_UNSEEN + "[>＞]",
    ),
    re.compile(rf"<(?={_UNSEEN}[|｜])"),
    re.compile(r"<(?=</?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\])"),
)
"""What chat templates mark turns, reasoning and tool calls with: a self-hosted server reads it as that, wherever it stands."""
_BLOCK = re.compile(r"<document (?P<attrs>[^>]*)>\n(?P<text>.*?)\n</document>", re.DOTALL)
_LEAST_TOKENS = 20
"""With less, a document's text says nothing."""
_ATTR = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One data block: what the model sees of a document."""

    handle: str
    text: str
    title: str = ""
    url: str = ""
    run: str = ""
    """The earlier run that read it, where it was not this one."""
    step: int | None = None
    more_tokens: int = 0
    """How much of the document is not shown; `recall(handle)` brings it."""
    trust: str = "untrusted"
    """Whose words these are: `own`, or `untrusted`."""


def render(blocks: Iterable[Shown]) -> str:
    """Blocks as text. Whatever a document's own text does, it cannot end its block: its tags are defused."""
    return "\n".join(_render(block) for block in blocks)


def _render(block: Shown) -> str:
    attrs = {"handle": block.handle, "title": block.title, "url": block.url, "run": block.run}
    if block.step is not None:
        attrs["step"] = str(block.step)
    if block.more_tokens:
        attrs["more_tokens"] = str(block.more_tokens)
    attrs["trust"] = block.trust
    head = " ".join(f'{name}="{html.escape(label(value))}"' for name, value in attrs.items() if value)
    return f"<document {head}>\n{defuse(block.text)}\n</document>"


def label(text: str) -> str:
    """A title or an address on one line, without what cannot be seen: no terminal commands, nothing that turns the line around."""
    text = " ".join(_COMMANDS.sub("", text).split())
    return "".join(char for char in text if char.isprintable() or char in _JOINERS)


def defuse(text: str) -> str:
    """Text that cannot end its block, nor the turn it stands in. Its words stay."""
    text = _SMUGGLED.sub("", text)
    for pattern in (_TAG, *_TEMPLATES):
        text = pattern.sub(apart, text)
    return text


def apart(bracket: re.Match[str]) -> str:
    """A bracket that opens nothing."""
    return f"{bracket.group()} "


def cut(text: str, clip: Callable[[str, int], str], budget_tokens: int) -> str:
    """A tool result within a budget: its documents clipped, each to its share; without their texts, where there is no room for them.

    `clip(text, tokens)` is what of a text is shown in so many tokens.
    """
    blocks = parse(text)
    around = _BLOCK.sub("", text).strip()
    if not blocks:
        return clip(text, budget_tokens)
    bare = render(replace(block, text="", more_tokens=block.more_tokens or 1) for block in blocks)
    left = budget_tokens - estimate_tokens(bare) - 6 * len(blocks)
    if estimate_tokens(around) > left // 4:
        around = clip(around, max(left // 4, 0))
    share = (left - estimate_tokens(around)) // len(blocks)
    if share < _LEAST_TOKENS:
        handles = " ".join(block.handle for block in blocks if block.handle)
        return clip(f"There is no room to show this here; `recall` brings it: {handles or 'search memory for it'}", budget_tokens)
    clipped = [(block, clip(block.text, share)) for block in blocks]
    cuts = [replace(b, text=t, more_tokens=b.more_tokens + max(0, estimate_tokens(b.text) - estimate_tokens(t))) for b, t in clipped]
    return "\n".join(part for part in (around, render(cuts)) if part)


def parse(text: str) -> list[Shown]:
    """The blocks in a tool result, in order."""
    return [_parse(match) for match in _BLOCK.finditer(text)]


def _parse(match: re.Match[str]) -> Shown:
    attrs = {name: html.unescape(value) for name, value in _ATTR.findall(match["attrs"])}
    return Shown(
        handle=attrs.get("handle", ""),
        title=attrs.get("title", ""),
        url=attrs.get("url", ""),
        run=attrs.get("run", ""),
        step=int(attrs["step"]) if "step" in attrs else None,
        more_tokens=int(attrs.get("more_tokens", 0)),
        trust=attrs.get("trust", "untrusted"),
        text=match["text"],
    )
