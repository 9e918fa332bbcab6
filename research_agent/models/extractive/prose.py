"""Running text: its words, its stems, its sentences, and which of them read as prose."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

_FUNCTION_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both but by can could did do
does doing during each either else for from further had has have having he her here hers him his how i if in into is it its itself just
many may me might more most much must my no nor not of off on once one only or other our out over own per same shall she should so some
such than that the their them then there these they this those though through to too under until up upon us very was we were what when
where which while who whom whose why will with within without would you your
der das dem den ein eine einer eines einem einen und oder ist sind wird wurde wurden mit von vom zum zur auf für aus bei nach wer wie wo
wann warum welche welcher welches nicht auch
"""
"""English, and those of German that are no English words."""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
"""Letters of scripts that set no space between words: two neighbours stand for a word."""
_LETTER = re.compile(_UNSPACED)
WORD = re.compile(rf"{_UNSPACED}(?={_UNSPACED})|(?:(?!{_UNSPACED})[^\W_])+(?:['’](?:(?!{_UNSPACED})[^\W_])+)*|{_UNSPACED}")

_CLOSERS = "\"”’')]"
_PAGE_EDGE = r"(?:[a-z]{2,8}://|\d{1,2}/\d{1,2}/\d{2,4}, \d)"
"""What a printed page's header and footer open with: the address, the date and time."""
_END = re.compile(
    r"[.!?][\"”’')\]]*\s+(?=[\"“‘'(\[]*[^\W_a-z])|[。！？][」』”）]*|\n[ \t\r]*\n|\[\.\.\.\]"
    rf"|\n(?=\s*(?:[#|>*•-]|\d+[.)]|{_PAGE_EDGE}))|\n(?=[^\W_a-z])"
)
_GOES_ON = re.compile(r"[^\W\d_]|\d+(?![.)\d])|\d{3,}")
"""What a broken line goes on with; `1.` opens an item of a list."""
_WRAPPED_CHARS = 60
"""A line that long may be broken by its width; a shorter one ends where it means to."""
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|[A-Z]\.[A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Col|Lt|Sgt|Capt|Rev|Hon|No|vs|Inc|Ltd|Co|Corp|Mt|Ft|ca|cf|al|approx|e\.g|i\.e|Op|Vol|pp|Fig)\.$"
    r"|\b(?:am|vom|den|bis|dem|zum|seit) \d{1,2}\.$"  # the third of May, as German writes it
)
_COMMON_VERBS = """
is are was were be been being has have had do does did can could may might must shall should will would became began bought broke brought
built came chose drew fell fought found gave got grew held kept knew led left lost made meant met put ran read rose said sang sat saw sent
set shot sold spent spoke stood swam taught thought told took went won wore wrote
"""
_VERB_FORM = re.compile(r"[a-z]{2,}(?:ed|[^s]s)")
_ITEM = re.compile(r"^(?:[*+•-]|\d{1,2}[.)])\s+")
_MARKUP = re.compile(
    r"^\s*(?:#|\||>|!?\[|\*\*[^*]{1,40}:\*\*|\*[^*]+\*$|\w{1,12}:\s|```|~~~|-{3,}|={3,})"  # what opens a heading, a row, a label, a fence
    r"|\|.*\|| [·•|] |https?://\S+$|file:///|^\d{1,2}/\d{1,2}/\d{2,4}, \d{1,2}:\d\d|\[S\d+\]|< /?[a-z]|<[a-z/!]"
)
_NO_LINE = re.compile(
    r"^\s*(?:#|>|!?\[|```|~~~|={3,}|-{3,})|^[^|]+\|.*\|[^|]+$| [·•] |\w+://\S+$|file:///|^\d{1,2}/\d{1,2}/\d{2,4}, \d{1,2}:\d\d"
    r"|\[S\d+\]|< ?/?[a-z!]|[:?]$"
)
_RULE = re.compile(r"[|\s:-]*-{2,}[|\s:-]*")
MIN_LINE_WORDS = 2
_VERBS = frozenset(_COMMON_VERBS.split())
MIN_QUOTE_WORDS, MAX_QUOTE_WORDS = 5, 120
UNENDED_WORDS = 15
"""What has no full stop is a heading if it is shorter."""
_GAP = "[...]"
"""Where something of a document is left out."""
_ENDS_WELL = re.compile(r"[.!?;…。！？][」』）\"”’')\]]*$")
_SUFFIXES = ("ing", "ed", "er", "or", "ion", "ment", "ly")


_IRREGULAR_FORMS = """
led lead, died die, dies die, built build, bought buy, brought bring, wrote write, written write, won win, sold sell, made make, held hold,
kept keep, met meet, paid pay, taught teach, began begin, begun begin, became become, grew grow, grown grow, drew draw, drawn draw,
knew know, known know, ran run, sang sing, sung sing, spoke speak, spoken speak, spent spend, took take, taken take, gave give,
given give, chose choose, chosen choose, sent send, lost lose, baked bake, baking bake, broke break, broken break
"""
_IRREGULAR = dict(pair.split() for pair in _IRREGULAR_FORMS.split(","))


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Without its commonest endings. Light on purpose: it joins `directed` with `director`, not `police` with `policy`."""
    word = word.replace("’", "'").removesuffix("'s").replace("'", "")
    word = _IRREGULAR.get(word, word)
    if word.isdigit() or len(word) < 4:
        return word
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    suffix = next((end for end in _SUFFIXES if word.endswith(end) and len(word) - len(end) >= 4), "")
    word = word.removesuffix(suffix)
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word


@lru_cache(maxsize=16384)
def terms(text: str) -> tuple[str, ...]:
    """The stems of the words that carry meaning, in order, repeats included."""
    return tuple(stem(word) for word in (_word(match).lower() for match in WORD.finditer(text)) if word not in FUNCTION_WORDS)


def _word(match: re.Match[str]) -> str:
    """The word; of a script without spaces, the letter and the next."""
    word = match.group()
    if not _LETTER.match(word):
        return word
    following = _LETTER.match(match.string, match.end())
    return word + following.group() if following else word


def content_words(text: str, keep: Iterable[str]) -> list[str]:
    """The words of the text as written whose stems are among those to keep, each once."""
    wanted = set(keep)
    words: dict[str, str] = {}
    for match in WORD.finditer(text):
        word = _word(match)
        if word.lower() not in FUNCTION_WORDS and (root := stem(word.lower())) in wanted:
            words.setdefault(root, word)
    return list(words.values())


def one_line(text: str) -> str:
    return " ".join(text.split())


def word_count(text: str) -> int:
    return len(text.split()) + len(_LETTER.findall(text)) // 2


@lru_cache(maxsize=8192)
def sentences(text: str) -> tuple[str, ...]:
    """The text cut into sentences and lines, each an exact piece of it without the space around."""
    pieces = []
    start = 0
    for match in _END.finditer(text):
        line = text.rfind("\n", start, match.start()) + 1
        if match.group() == "\n" and _GOES_ON.match(text, match.end()) and match.start() - max(line, start) >= _WRAPPED_CHARS:
            continue
        if "\n" not in match.group() and _ABBREVIATION.search(text[max(start, match.start() - 12) : match.start() + 1].rstrip(_CLOSERS)):
            continue
        pieces.append(text[start : match.end()])
        start = match.end()
    pieces.append(text[start:])
    return tuple(bare for piece in pieces if (bare := _ITEM.sub("", piece.strip().removesuffix(_GAP).rstrip())))


def pieces(text: str, most_words: int) -> list[str]:
    """The text cut between sentences into exact pieces of it, of about equal length and at most that many words."""
    total = word_count(text)
    if total <= most_words:
        return [text] if text.strip() else []
    aim = total / math.ceil(total / most_words)
    cut = []
    start = end = words = 0
    for sentence in sentences(text):
        count = word_count(sentence)
        if words and words + count > aim:
            cut.append(text[start:end].strip())
            start, words = end, 0
        end = text.index(sentence, end) + len(sentence)
        words += count
    cut.append(text[start:end].strip())
    return cut


def is_prose(sentence: str) -> bool:
    """Whether a sentence can stand as a quotation: not a heading, a table row, a menu, a bare link or markup."""
    words = WORD.findall(sentence)
    if not MIN_QUOTE_WORDS <= len(words) <= MAX_QUOTE_WORDS or _MARKUP.search(sentence):
        return False
    if ends_well(sentence):
        return True  # in any language
    if _VERBS.isdisjoint(words) and not any(map(_VERB_FORM.fullmatch, words)):
        return False
    return len(words) >= UNENDED_WORDS and not sentence.endswith(":")


def ends_well(text: str) -> bool:
    return bool(_ENDS_WELL.search(text))


def is_line(text: str) -> bool:
    """Whether a line that is no prose says something by itself: an item of a list, a row of a table, `Owner: Otto Grand`."""
    return not _NO_LINE.search(text) and MIN_LINE_WORDS <= len(WORD.findall(text)) <= MAX_QUOTE_WORDS


def is_rule(text: str) -> bool:
    """Whether it is the line under the head of a table."""
    return bool(_RULE.fullmatch(text))
