"""Quotes are found however they are set, and only if every word stands there."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_agent.memory.quotes import closest, locate

SOURCE = """# The **Great** Tide

The tide at Saint‑Malo rises by *twelve metres* at the equinox — which few “harbours” can bear.
It didn’t matter until 1966, when the ﬁrst plant was built at a cost of 3.5 million; it fell by −5 % in 10–20 years.

- a mill of the old kind
  - another one, of stone
> Cited line, with a [link](https://example.org/a_(b) "x") and a [plain link](https://example.org).

| Year | Output |
| 1967 | 540 GWh |

Well... nobody knows why. Café au lait. Temperatures of -5 degrees were common.
Yes
"""


@pytest.mark.parametrize(
    ("quote", "exact"),
    [
        ("rises by twelve metres at the equinox", "rises by *twelve metres* at the equinox"),
        ("The tide at Saint-Malo rises", "The tide at Saint‑Malo rises"),
        ("the   tide at\nSaint-Malo", "The tide at Saint‑Malo"),
        ("at the equinox - which few 'harbours' can bear.", "at the equinox — which few “harbours” can bear."),
        ('equinox--which few "harbours"', "equinox — which few “harbours”"),
        ('"It didn\'t matter until 1966"', "It didn’t matter until 1966"),
        ("when the first plant was built", "when the ﬁrst plant was built"),
        ("the ***first*** plant", "the ﬁrst plant"),
        ("can bear. It didn't matter", "can bear.\nIt didn’t matter"),
        ("a mill of the old kind", "a mill of the old kind"),
        ("- a mill of the old kind\n- another one", "a mill of the old kind\n  - another one"),
        ("> Cited line, with a", "> Cited line, with a"),
        (">  Cited  line, with a", "Cited line, with a"),
        ("and a plain link.", "and a [plain link](https://example.org)."),
        ("1967 | 540 GWh", "1967 | 540 GWh"),
        ("1967 540 GWh", "1967 | 540 GWh"),
        ("The Great Tide", "The **Great** Tide"),
        ("Great Tide, The tide at", None),
        ("Well... nobody knows", "Well... nobody knows"),
        ("Well… nobody knows why", "Well... nobody knows why"),
        ("Cafe\u0301 au lait", "Café au lait"),
        ("Cafe au lait", None),
        ("in 10-20 years", "in 10–20 years"),
        ("20 years", None),
        ("it fell by -5 %", "it fell by −5 %"),
        ("5 degrees were common", None),
        ("-5 degrees were common!", "-5 degrees were common"),
        ("5 million; it fell", None),
        ("at a cost of 3", None),
        ("at a cost of 3.5", "at a cost of 3.5"),
        ("idal range of things", None),
        ("he tide at Saint", None),
        ("The tide at Saint-Malo rises by eleven metres", None),
        ("metres twelve by rises", None),
        ("tide", None),
        ("Yes", "Yes"),
        ("", None),
        ("...", None),
        ("' \" -", None),
    ],
)
def test_a_quote_is_found_with_the_words_of_the_source(quote: str, exact: str | None) -> None:
    found = locate(quote, SOURCE)
    assert found == exact
    if found:
        assert found in SOURCE


def test_an_ellipsis_joins_stretches_in_their_order() -> None:
    assert locate("The tide at Saint-Malo ... few harbours can", SOURCE) is None  # the quote marks are there
    assert locate("The tide at Saint-Malo ... which few 'harbours' can", SOURCE) == "The tide at Saint‑Malo … which few “harbours” can"
    assert locate("The tide at Saint-Malo [...] a mill of the", SOURCE) == "The tide at Saint‑Malo … a mill of the"
    assert locate("a mill of the … The tide at Saint-Malo", SOURCE) is None
    assert locate("The tide at … rises by", SOURCE) is None  # too little on the one side
    assert locate("The tide at Saint-Malo ... flows backwards on Sundays", SOURCE) is None


@pytest.mark.parametrize("text", ["10² is a hundred", "x₂ of the kind"])
def test_a_power_is_not_a_digit(text: str) -> None:
    flat = text.replace("²", "2").replace("₂", "2")
    assert locate(flat, text) is None
    assert locate(text, text) == text


WORDS = st.lists(
    st.sampled_from(["alpha", "béta", "don't", "3.5", "Ünit", "(x)", "–", "ﬂow", "“so”", "$40", "C++", "naïve"]), min_size=4, max_size=40
)


@given(WORDS, st.data())
def test_any_run_of_whole_words_is_found_and_stands_in_the_source(words: list[str], data: st.DataObject) -> None:
    text = "Before it. " + " ".join(words) + " and after."
    start = data.draw(st.integers(0, len(words) - 4))
    run = words[start : start + 4]
    set_otherwise = "  ".join(run).replace("ﬂ", "fl").replace("“", '"').replace("”", '"').replace("–", "—").upper()
    found = locate(unicodedata.normalize("NFD", set_otherwise), text)
    if sum(any(char.isalnum() for char in word) for word in run) >= 3:
        assert found
        assert found in text


@given(st.text(max_size=200), st.text(max_size=60))
def test_whatever_comes_what_is_found_is_in_the_source(text: str, quote: str) -> None:
    found = locate(quote, text)
    assert found is None or all(part in text for part in found.split(" … "))
    passage = closest(quote, text)
    assert passage in text


def test_the_closest_passage_shows_what_the_source_says() -> None:
    assert "rises by *twelve metres* at the equinox" in closest("the tide of Saint-Malo rises eleven metres at equinox", SOURCE)
    assert closest("zebra xylophone", SOURCE) == ""
    assert len(closest("tide " * 50, "tide and time " * 5000, max_chars=300)) <= 300


def test_a_book_is_searched_in_a_moment() -> None:
    book = " ".join(f"Sentence {n} of the *long* book says “nothing” new." for n in range(4_000))
    started = time.monotonic()
    assert locate("sentence 3999 of the long book says 'nothing' new", book)
    assert closest("sentence 3998 says of the book", book)
    assert locate("of the", book) is None
    assert locate("the ... " * 50, book) is None
    assert time.monotonic() - started < 5
