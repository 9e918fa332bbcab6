"""Numbers in brackets that a writer made up: what can only be a citation is struck, all else is said as it was."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import draft, rendered, written

from research_agent.report import Report
from research_agent.report.invented import without

OURS = re.compile(r'<sup class="cite"><a href="#source-(\d+)"')


def lines(report: Report) -> str:
    return report.markdown.partition("## Sources")[0].replace("\\", "")


@pytest.mark.parametrize(
    "text",
    [
        "Python list [3, 1, 2] sorts to [1, 2, 3]",
        "x = [1, 2, 3] in code",
        "It fell by a third (CI [3, 8])",
        "The median score [3–8] rose",
        "The matrix [[1, 2], [3, 4]] and the set [2, 5]",
        "It runs on the interval [3, 8], the 95% CI [12, 15] and IQR [2-4]",
        "The function returns [1, 2, 3] and the shares are [10, 20, 70]",
        "It makes [2]rotaxane, [18]annulene and [3.3.0]octane",
        "It began then [2019] with [5000] seats",
        "An order of [3, 3, 1] or [9, 4]",
    ],
)
def test_lists_intervals_and_names_are_left_as_they_are(text: str) -> None:
    assert without(text) == (text, [])
    report = written(draft(f"{text} [S100]."))
    assert text in lines(report)
    assert report.struck == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Kimi K2[3] is larger", "Kimi `K2[3]` is larger"),
        ("p53[4] mutations", "`p53[4]` mutations"),
        ("A[3] stands", "`A[3]` stands"),
        ("rows[i][2] and f(y)[5]", "`rows[i][2]` and `f(y)[5]`"),
        ("`rows`[3] holds", "`rows[3]` holds"),
        ("x = [3] holds", "x = `[3]` holds"),
        ("The list [3] and the score [8]", "The list `[3]` and the score `[8]`"),
        ("It is as shown in [3] there", "It is as shown in `[3]` there"),
        ("A power of 10[3] of them", "A power of `10[3]` of them"),
        ("A median of 5 years [3–8]", "A median of 5 years `[3–8]`"),
        ("- [3] is a prime", "- `[3]` is a prime"),
        ("Bits [3] to [5] at 2 [1]-[2]", "Bits `[3]` to `[5]` at 2 `[1]`-`[2]`"),
        ("x \\[3\\] = 4", "x `[3]` = 4"),
    ],
)
def test_what_may_mean_something_is_said_and_is_no_citation_of_ours(text: str, shown: str) -> None:
    assert without(text) == (shown, [])
    report = written(draft(f"{text} [S100]. More [S200]. And [S300]."))
    page = rendered(report.markdown.partition("## Sources")[0])
    assert shown in report.markdown
    assert set(re.findall(r"\[(\d+)\]", re.sub(r"<code>.*?</code>", "", page))) == {"1", "2"}
    assert OURS.findall(report.html) == ["1", "2", "1"]


@pytest.mark.parametrize(
    ("text", "shown", "struck"),
    [
        ("CO2[4] rises", "CO2 rises", ["4"]),
        ("After WW2[5], it fell", "After WW2, it fell", ["5"]),
        ("Much is lost [3], [4] and more[5].", "Much is lost and more.", ["3", "4", "5"]),
        ("**Lost**[3] (in winter)[5]", "**Lost** (in winter)", ["3", "5"]),
        ("It began in 2019[3]; it says “so”[4]", "It began in 2019; it says “so”", ["3", "4"]),
        ("Lost[3,4] by 40%[1-3]", "Lost by 40%", ["3", "4", "1-3"]),
        ("Lost [S100][5, 6] and [S200], [7].", "Lost [S100] and [S200],.", ["5", "6", "7"]),
        ("Lost S100[3]", "Lost S100", ["3"]),
        ("See 【4†source】", "See", ["4"]),
    ],
)
def test_what_can_only_be_a_citation_is_struck(text: str, shown: str, struck: list[str]) -> None:
    assert without(text) == (shown, struck)


WORDS = [
    *("lost", "list", "x", "=", "CI", "K2", "CO2", "(", ")", ",", ".", ":", "and", "S100", "[S100]", "“", "”", '"', "`", "\n```\n"),
    *("\n", "\n- ", "\n> ", "\t", "  ", " ", " ", "is", "40%", "2019", "**", "_", "|", "[", "]", "[sic]", "[4+2]", "[18F]", "1", "S1.2"),
]
NUMBERS = ["[3]", "[4]", "[1, 2]", "[2–5]", "[3, 1]", "[0]", "[2019]", "\\[8\\]", "【4†source】", "[7](http://e.example/)", "[^2]"]
NUMBER = re.compile(r"(\[\d[\d, –]*\](?:\(http://e\.example/\))?|\[\^2\]|【4†source】)")


def text_of(*parts: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([part for some in parts for part in some]), max_size=30).map("".join)


def could_be_left(text: str) -> str:
    """A pattern of the text with any of its bracketed numbers gone, and at most one blank before each."""
    pieces = NUMBER.split(text)
    pattern = re.escape(pieces[0])
    for number, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        blank = re.search(r"(?:\\ |\\\t|\t| )$", pattern)
        head = pattern[: blank.start()] if blank else pattern
        shown = re.escape(number)
        joint = "?" if re.fullmatch(r"[ \t]?,?[ \t]?", piece) else ""
        after = f"(?:{re.escape(piece)}){joint}" if joint else re.sub("^:", ":?", re.escape(piece))
        pattern = (f"{head}(?:{blank.group()}(?:{shown})?)?" if blank else f"{head}(?:{shown})?") + after
    return pattern


def plainly(text: str) -> str:
    """Without the marks of code that are set around a number, and without escapes."""
    return text.replace("`", "").replace("\\", "")


@given(text_of(WORDS, NUMBERS))
@settings(max_examples=500, deadline=None)
def test_nothing_goes_but_bracketed_numbers_and_one_blank_before_each(text: str) -> None:
    result, struck = without(text)
    assert re.fullmatch(could_be_left(plainly(text)), plainly(result)), result
    if not struck:
        assert plainly(result) == plainly(text)


@given(st.text() | text_of([word for word in WORDS if word not in ("[", "]", "1")]))
@settings(max_examples=300, deadline=None)
def test_a_text_without_numbers_in_brackets_is_left_as_it_is(text: str) -> None:
    text = re.sub(r"([\[【]\s*\^?)\d", r"\1", text)
    assert without(text) == (text, [])


@given(text_of(WORDS, NUMBERS))
@settings(max_examples=300, deadline=None)
def test_a_block_of_code_is_left_as_it_is(text: str) -> None:
    code = f"```\n{text.replace('`', '')}\n```"
    assert without(code) == (code, [])


@pytest.mark.parametrize("unit", [" ", "\t", "[", "[3", "[3] ", "a[3], ", "`", "` `` ", '"a [3] ', "(a[3] ", "\n", "\n ", "> ", "“"])
def test_the_time_grows_with_the_text(unit: str) -> None:
    text = "Cold" + (unit * 100_000)[:100_000] + "x [3]."
    began = time.perf_counter()
    without(text)
    assert time.perf_counter() - began < 5  # quadratic, it takes minutes


def test_a_long_blank_does_not_hold_up_a_report() -> None:
    began = time.perf_counter()
    report = written(draft(f"Cold{' ' * 50_000}costs [S100]."))
    assert time.perf_counter() - began < 5  # a third of it took 30 s when blanks were read from each of them on
    assert OURS.findall(report.html) == ["1"]
