"""Clipping one document to the passages that serve a query."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_agent.memory import best_passages, estimate_tokens
from research_agent.memory.chunks import chunks, sentences

FILLER = "The committee met again and adjourned without a decision on the matter before it. "
DAM = "The Orrin dam holds 41 million tonnes of water."
PAGE = f"Orrin is a river in the north.\n\n{FILLER * 40}\n\n{DAM}\n\n{FILLER * 40}\n\nIts keeper is Ada Moe."


def test_a_document_that_fits_comes_back_whole() -> None:
    clip = best_passages("Short.\n\n  And odd. ", "anything", 50)
    assert (clip.text, clip.left_out_tokens) == ("Short.\n\n  And odd. ", 0)


def test_a_clip_shows_the_opening_and_what_was_asked_in_the_documents_order() -> None:
    clip = best_passages(PAGE, "how much water does the dam hold", 120)
    assert clip.text.startswith("Orrin is a river")
    assert "\n[...]\n" in clip.text
    assert "41 million" in clip.text
    assert abs(clip.left_out_tokens - (estimate_tokens(PAGE) - estimate_tokens(clip.text))) <= 1
    assert list(clip.spans) == sorted(clip.spans)


def test_without_a_word_in_common_the_opening_is_shown() -> None:
    assert best_passages(PAGE, "zebra", 60).text.startswith("Orrin is a river")


@pytest.mark.parametrize("word", ["a" * 20_000, "潮" * 20_000, "q=1&" * 5_000, "hello " + "a" * 20_000])
def test_a_word_without_end_is_cut_by_characters(word: str) -> None:
    clip = best_passages(word, "hello", 200)
    assert 100 < estimate_tokens(clip.text) <= 200
    assert clip.text.split("\n[...]\n")[0] == word[: len(clip.text.split("\n[...]\n")[0])]


@given(st.text(max_size=3000), st.text(max_size=40), st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_a_clip_keeps_its_budget_and_only_the_documents_own_words(text: str, query: str, budget: int) -> None:
    clip = best_passages(text, query, budget)
    assert estimate_tokens(clip.text) <= budget
    assert best_passages(text, query, budget) == clip
    for part in clip.text.split("\n[...]\n"):
        assert part in text


@given(st.text(max_size=3000), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_cuts_cover_a_text_without_a_gap(text: str, size: int) -> None:
    for spans in (chunks(text, size_tokens=size), sentences(text, max_tokens=size)):
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(end > start for start, end in spans)
        assert all(estimate_tokens(text[start:end]) <= max(1.2 * size + 1, 5) for start, end in spans)
