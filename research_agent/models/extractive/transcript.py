"""What a conversation holds so far, read from its messages alone: its sub-question, its searches, the passages shown, the notes kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from research_agent.graphs.observation import Shown, parse
from research_agent.memory.wrapping import unwrapped

from .prose import one_line, pieces

PASSAGE_WORDS = 300
"""Longer texts are taken piece by piece."""

_BLOCK = r"<{0}(?P<attrs>[^>]*)>\n(?P<body>.*?)\n</{0}>"
_QUESTION = re.compile(_BLOCK.format("question"), re.DOTALL)
_SUB_QUESTION = re.compile(_BLOCK.format("sub_question"), re.DOTALL)
_PLAN = re.compile(_BLOCK.format("plan"), re.DOTALL)
_FINDING = re.compile(r"<finding (?P<attrs>[^>]*)>\nclaim: (?P<claim>.*?)\nquote: (?P<quote>.*?)\n</finding>", re.DOTALL)
_DOCUMENT = re.compile(r"<document [^>]*>\n.*?\n</document>", re.DOTALL)
_ATTR = re.compile(r'([a-z_]+)="([^"]*)"')
_PLANNED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
_MAX_WORDS = re.compile(r"<max_words>\s*(\d+)\s*</max_words>")
_FEEDBACK = re.compile(r"^The person who asked says of your earlier plan: (?P<body>.*)\Z", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r'^"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Search:
    """A search made, and what it brought."""

    query: str
    results: tuple[tuple[str, ...], ...]
    """The passages of each document, best document first."""

    @property
    def name(self) -> str:
        """The proper name it looked for, in quotation marks at the front of the query; empty for a search by plain words."""
        found = _NAMED.match(self.query)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, as it was shown: what is close together in it is about the same thing."""

    key: str
    handle: str
    title: str
    url: str
    text: str
    """Its lines joined that only its width has broken."""
    source: str
    """The same, character for character, as the document has it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A note kept, as the prompts show it."""

    handle: str
    sub_question: str
    claim: str
    quote: str
    """On one line, as are those that are `noted` or `tried`."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One conversation, read."""

    question: str
    plan: tuple[tuple[str, str], ...]
    sub_question: tuple[str, str]
    """Id and text of the open one."""
    searches: tuple[Search, ...]
    passages: dict[str, Passage]
    """By key, in the order they were shown."""
    unread: dict[str, str]
    """Title by address, of documents of which only a part was shown."""
    feedback: str
    """What a person said of the last plan; empty if nothing."""
    noted: frozenset[str]
    """Quotes already noted on any sub-question."""
    tried: frozenset[str]
    """Those noted on the open one, and those refused."""
    findings: tuple[Finding, ...]
    """Those that a memory block or a writer's prompt shows."""
    kept: tuple[Finding, ...]
    """Notes made since the open sub-question was given, and not refused."""
    turns: int
    """Of the model since the open sub-question was given."""
    earlier: bool
    """Whether there are earlier runs to recall from."""
    compacted: bool
    """Whether turns on the open sub-question have left the conversation."""
    max_words: int | None
    digest: str


def read(messages: Sequence[BaseMessage]) -> Transcript:
    """Everything the extractive model knows."""
    question, plan, current = "", "", ("", "")
    calls: dict[str, tuple[str, dict[str, object]]] = {}
    searches: list[Search] = []
    passages: dict[str, Passage] = {}
    partly: dict[str, str] = {}
    whole: set[str] = set()
    noted: set[str] = set()
    tried: set[str] = set()
    accepted: set[str] = set()
    feedback = ""
    findings: list[Finding] = []
    kept: list[Finding] = []
    turns, compacted, earlier, max_words = 0, False, False, None
    digest = hashlib.sha256()
    for message in messages:
        text = str(message.text)
        digest.update(f"{message.type}\x1f{text}\x1e".encode("utf-8", "surrogatepass"))
        if isinstance(message, HumanMessage):
            documents = parse(text)
            text = _DOCUMENT.sub("", text)  # what stands in a document is nobody's question, plan or finding
            question = _last(_QUESTION, text) or question
            plan = _last(_PLAN, text) or plan
            if said := _FEEDBACK.search(_QUESTION.sub("", text)):
                feedback = said["body"].strip()
            for found in _SUB_QUESTION.finditer(text):
                current, turns, kept, compacted = (_attrs(found).get("id", ""), found["body"].strip()), 0, [], False
                tried -= accepted
            earlier = earlier or "<earlier_runs>" in text
            if "<memory>" in text:
                compacted, turns = True, 0
            findings += map(_finding, _FINDING.finditer(text))
            for shown in documents:
                _take(passages, shown)
            limit = _MAX_WORDS.search(text)
            max_words = int(limit[1]) if limit else max_words
        elif isinstance(message, AIMessage):
            turns += 1
            for call in message.tool_calls:
                calls[call["id"] or ""] = (call["name"], call["args"])
                if call["name"] == "note":
                    noted.add(one_line(str(call["args"].get("quote", ""))))
        elif isinstance(message, ToolMessage):
            name, args = calls.get(message.tool_call_id, ("", {}))
            if name == "note":
                quote = one_line(str(args.get("quote", "")))
                tried.add(quote)
                if message.status != "error":
                    accepted.add(quote)
                    kept.append(Finding(str(args.get("source", "")), current[0], str(args.get("claim", "")), quote))
            if name in ("web_search", "recall", "scrape"):
                documents = parse(text)
                results = tuple(_take(passages, shown) for shown in documents)
                partly |= {shown.url: shown.title for shown in documents if shown.url and shown.more_tokens}
                if name == "scrape":
                    whole.add(str(args.get("url", "")))
                else:
                    searches.append(Search(str(args.get("query", "")), results))
    return Transcript(
        question=question.strip(),
        plan=tuple((id, text.strip()) for id, text in _PLANNED.findall(plan)),
        sub_question=current,
        searches=tuple(searches),
        passages=passages,
        unread={url: title for url, title in partly.items() if url not in whole},
        feedback=feedback,
        tried=frozenset(tried | {finding.quote for finding in findings if finding.sub_question == current[0]}),
        noted=frozenset(noted | {finding.quote for finding in findings}),
        findings=tuple(findings),
        kept=tuple(kept),
        turns=turns,
        earlier=earlier,
        compacted=compacted,
        max_words=max_words,
        digest=digest.hexdigest(),
    )


def _last(pattern: re.Pattern[str], text: str) -> str:
    """The body of the last block of that kind: text in front of ours cannot pass for it."""
    bodies = [found["body"] for found in pattern.finditer(text)]
    return bodies[-1] if bodies else ""


def _attrs(found: re.Match[str]) -> dict[str, str]:
    return dict(_ATTR.findall(found["attrs"]))


def _finding(found: re.Match[str]) -> Finding:
    attrs = _attrs(found)
    return Finding(attrs.get("handle", ""), attrs.get("sub_question", ""), found["claim"], one_line(found["quote"]))


def _take(passages: dict[str, Passage], shown: Shown) -> tuple[str, ...]:
    """Adds a block's passages to those known, and returns their keys. A text shown twice keeps its first handle."""
    keys, whole, at = [], unwrapped(shown.text), 0
    for text in pieces(whole, PASSAGE_WORDS):
        key = f"{shown.url or shown.title}\x1f{text}"
        at = whole.index(text, at)
        passages.setdefault(key, Passage(key, shown.handle, shown.title, shown.url, text, shown.text[at : at + len(text)]))
        keys.append(key)
        at += len(text)
    return tuple(dict.fromkeys(keys))
