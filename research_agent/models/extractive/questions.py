"""What a question asks: its parts, in the order to work on them, and the kind of thing that would answer it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .names import names
from .prose import sentences, terms, word_count

AnswerKind = Literal["person", "date", "number", "temperature", "name", "account"]
"""An `account` is what `why`, `how` and `what makes` ask for: nothing in a sentence's form shows it."""

_TEMPERATURE = re.compile(r"\b(?:how (?:hot|cold|warm)|(?:what|which) temperature|wie (?:heiß|kalt|warm))\b", re.I)
_DEGREES = re.compile(r"\d\s?(?:°|º|℃|℉|degrees?\b|Grad\b|[CFK]\b)")
_NUMBER = re.compile(
    r"\bhow (?:many|much|old|long|large|far|tall|high|big|often|fast|deep|wide|heavy|thick|small|short)\b"
    r"|\bwie ?(?:viele?|alt|lang|hoch|groß)\b|\b(?:percentage|percent|amount|number|population|cost|price)\b",
    re.I,
)
_DATE = re.compile(
    r"(?:^|[.,;:] )\W*(?:when|wann)\b|\bwhen (?:did|was|were|is|are|does|do|will|has|had)\b|\bwhen\W*$"
    r"|\b(?:what|which) (?:year|date|month|day|century|decade)\b",
    re.I,
)
_PERSON = re.compile(r"(?:^|[.,;:] )\W*(?:who(?:m|se)?|we[rmn]|wessen)\b|\bwho(?:m|se)?\W*$|\b(?:by|to|with|for|from|of) whom?\b", re.I)
_ACCOUNT = re.compile(
    r"\b(?:why|how)\b|\bwhat (?:can|could|should|would|might|must|(?!is\b|was\b|has\b|does\b)[a-z]{3,}s)\b|^\W*(?:is|are|do|does|can)\b",
    re.I,
)
_DIGITS = re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|once|twice|hundred|thousand|million|billion)\b", re.I)
_YEAR = re.compile(r"\b(?:1\d{3}|20\d\d)\b|\bcentury\b|\b\d{1,4} (?:BC|AD|BCE|CE)\b")

_ASKS_BOTH = re.compile(r"^\W*(?:are|were|is|was|do|does|did|have|has|had|can)\b", re.I)
_SAME = re.compile(r"\b(?:the )?same\b", re.I)
_ALTERNATIVES = re.compile(r"(?P<left>[^,?:]+?),? or (?P<right>[^,?]+)\??\s*$", re.I)
_INTERROGATIVE = re.compile(r"(?:what|which|who|why|how|when|where)\b", re.I)
_AND_ASKS = re.compile(r",? and (?=(?:what|which|who|why|how|when|where)\b(?!['’]))|, (?=(?:what|why|how)\b)", re.I)
_COPULAS = frozenset(("is", "are", "was", "were"))
_OTHER_HELPERS = "did do does has have had can could will would should must may"
_HELPERS = _COPULAS | frozenset(_OTHER_HELPERS.split())
_DETERMINING_WORDS = "the a an our your their his her my this that these those"
_DETERMINERS = frozenset(_DETERMINING_WORDS.split())
MAX_SUBJECT = 4
"""Words of a subject that a later part can be given: more hold a clause."""
_PRONOUN = re.compile(r"\b(?:it|they|them|this|these|those)\b", re.I)
_RELATIVE = re.compile(
    r"\b(?P<noun>(?:the|a|an) (?:(?!(?:the|a|an|is|was|are|were) )[\w'’-]+ ){0,2}?[\w'’-]+?),? "
    r"(?P<clause>(?:(?:in|on|at|of|from|to|for|with|by|under) (?:which|whom)|where|who|whom|whose|which|that) [^,?;]+)",
    re.I,
)
_PARTICIPLE = re.compile(r"\b(?:is|are|was|were|be|been)(?: \w+ly)? \w+(?:ed|en|n|t)\b(?P<next> [\w'’-]+)?", re.I)
_CONTINUING_WORDS = """
in on at of from to for with by under into during as after before near and or
"""
_GOES_ON = frozenset(_CONTINUING_WORDS.split())
_PEOPLE = re.compile(
    r"(?:person|man|woman|people|[a-z]+(?:er|or|ist|ian|man|woman|king|queen|president|wife|husband|spouse|mother|father|child|sibling))$",
    re.I,
)
_THINGS_ENDING_LIKE_PEOPLE = """
river number paper order newspaper summer winter center water chapter letter computer power tower matter layer
"""
_NOT_PEOPLE = frozenset(_THINGS_ENDING_LIKE_PEOPLE.split())

CLAUSE_WORDS = range(4, 22)
"""How long a clause must be to be worth asking on its own, and may be to be still one."""
MAX_PARTS = 6
MAX_CHARS = 1_000
"""A longer question is a text, and is not taken apart."""
_ITEM = re.compile(r"^(?:[*+•-]|\d{1,2}[.)])\s+")
_WORD_OR_SIGN = re.compile(r"[\w'’&/$%.-]*\w['’]?")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A question about two things: `Are A and B both C?`, `Which is larger, A or B?`"""

    sides: tuple[str, str]
    asked: str
    """The question without the two."""
    form: Literal["both", "same", "which"]


def answer_kind(question: str) -> AnswerKind:
    """The kind of thing asked for, by the question's own words."""
    if _TEMPERATURE.search(question):
        return "temperature"
    if _NUMBER.search(question):
        return "number"
    if _DATE.search(question):
        return "date"
    if _PERSON.search(question):
        return "person"
    return "account" if _ACCOUNT.search(question) else "name"


def may_answer(kind: AnswerKind, sentence: str, known: frozenset[str]) -> bool:
    """Whether a sentence holds something of the kind that the question (its terms) did not already say."""
    if kind == "account":
        return False
    if kind == "temperature":
        return bool(_DEGREES.search(sentence))
    if kind == "number":
        return bool(_DIGITS.search(sentence))
    if kind == "date":
        return bool(_YEAR.search(sentence))
    fresh = [name for name in names(sentence) if not known.issuperset(terms(name))]
    return any(" " in name for name in fresh) if kind == "person" else bool(fresh)


def comparison(question: str) -> Comparison | None:
    """The two things a question sets side by side, if it names both."""
    if len(question) > MAX_CHARS:
        return None
    if _ASKS_BOTH.match(question):
        form: Literal["both", "same"] = "same" if _SAME.search(question) else "both"
        if form == "same" or re.search(r"\bboth\b", question, re.I):
            return _of(question, re.search(r"(?P<left>.+?),? and (?:the )?(?P<right>.+)", question), form)
    found = _ALTERNATIVES.search(question)
    return _of(question, found, "which") if found else None


def _of(question: str, found: re.Match[str] | None, form: Literal["both", "same", "which"]) -> Comparison | None:
    if found is None:
        return None
    left, right = (names(f"of {found[side]}") for side in ("left", "right"))  # a word that opens a sentence may be no name
    if not left or not right:
        return None
    sides = (left[-1], right[0])
    if sides[0].lower() == sides[1].lower():
        return None
    pair = r"(?:the )?" + re.escape(sides[0]) + r"[\s,]*(?P<between>.*?)\b(?:and|or)\b(?P<after>.*?)(?:the )?" + re.escape(sides[1])
    asked = re.sub(pair, r" \g<between> \g<after> ", question, count=1, flags=re.I)
    if form != "which":
        asked = re.sub(rf"{_ASKS_BOTH.pattern}|\bboth\b", " ", asked, flags=re.I)
    return Comparison(sides, " ".join(_WORD_OR_SIGN.findall(asked)).strip(" ,.:;"), form)


def sub_questions(question: str) -> list[str]:
    """The question's parts, inner first; the last one is the question itself unless its parts are questions of their own."""
    question = " ".join(question.split())
    if len(question) > MAX_CHARS:
        return [question]
    pair = comparison(question)
    if pair is not None:
        return [f"{side}: {_uncapitalised(pair.asked)}" if pair.asked else f"What is {side}?" for side in pair.sides]
    parts = [part for part in sentences(question) if terms(part)]
    if all(part.endswith("?") for part in parts):
        asked = [side for part in parts for side in _coordinated(part)]
        if len(asked) > 1:
            return [asked[0], *(_with_topic(part, asked[0]) or part for part in asked[1:MAX_PARTS])]
    inner = _inner(question)
    return [inner, question] if inner else [question]


def asked_for(feedback: str) -> list[str]:
    """The sub-questions that a person's word on a plan gives: its lines, or its questions. None in an instruction."""
    lines = [line for line in (_ITEM.sub("", line.strip()) for line in feedback.splitlines()) if terms(line)]
    if len(lines) > 1:
        return lines
    parts = [part for part in sentences(feedback) if terms(part)]
    return parts if parts and all(part.endswith(("?", "？")) for part in parts) else []


def _uncapitalised(text: str) -> str:
    return text[0].lower() + text[1:] if _INTERROGATIVE.match(text) else text


def _coordinated(question: str) -> list[str]:
    """`What limits it, and how is it measured?` -> its two questions."""
    if not _INTERROGATIVE.match(question):
        return [question]
    parts = [part.strip(" ,?") for part in _AND_ASKS.split(question)]
    if any(word_count(part) < 3 for part in parts):
        return [question]
    asked = [f"{part[0].upper()}{part[1:]}?" for part in parts if terms(part)]
    whole = [_with_topic(part, asked[0]) for part in asked[1:]]
    return [*asked[:1], *whole] if all(whole) else [question]


def _with_topic(part: str, first: str) -> str:
    """A later part that says `it` is given what the first one was about; empty where that cannot be told."""
    if not _PRONOUN.search(part) or part.endswith(")?"):
        return part
    topic = _topic(first)
    return f"{part.rstrip('?')} ({topic})?" if topic else ""


def _topic(question: str) -> str:
    """`What limits the life of batteries?` -> `the life of batteries`; `How much did the new ovens cost?` -> `the new ovens`"""
    words = question.strip(" ?").split()
    helper = next((place for place, word in enumerate(words[:5]) if word.lower() in _HELPERS), None)
    if helper is None:
        return " ".join(words[2:])
    subject = words[helper + 1 :]
    if not subject or not (subject[0].lower() in _DETERMINERS or subject[0][0].isupper()):
        return ""
    if words[helper].lower() not in _COPULAS or _PARTICIPLE.search(question):
        subject = subject[:-1]
    rest = frozenset(word.lower() for word in subject[1:])
    plain = 0 < len(subject) <= MAX_SUBJECT and subject[-1].lower() not in _DETERMINERS and not rest & (_GOES_ON - {"of"})
    return " ".join(subject) if plain else ""


def _inner(question: str) -> str:
    """The clause that says which thing is meant, as a question: `the river that crosses Bern` -> `What is the river that crosses Bern?`"""
    found = None
    position = 1
    while match := _RELATIVE.search(question, position):
        found, position = match, match.start("clause")
    if found is None:
        return ""
    clause = _one_clause(found["clause"])
    noun = found["noun"]
    if word_count(clause) not in CLAUSE_WORDS or not names(clause):
        return ""
    head = noun.split()[-1]
    person = _PEOPLE.match(head) and head.lower() not in _NOT_PEOPLE
    asked = f"{'Who' if person else 'What'} is {noun} {clause}?"
    return asked if word_count(asked) + 2 < word_count(question) else ""


def _one_clause(text: str) -> str:
    """Up to where the outer sentence goes on: `where the village is located become a member` -> `where the village is located`."""
    for found in _PARTICIPLE.finditer(text):
        following = (found["next"] or "").strip().lower()
        if following and following not in _GOES_ON:
            return text[: found.start("next")].strip()
    return text.strip(" .")
