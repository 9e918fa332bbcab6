"""Where a text is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from research_agent.memory.chunks import _BORDER, borders, sentences
from research_agent.memory.tokens import WEIGHTS, estimate_tokens, token_parts


@given(st.text(alphabet="ab. \n!?。\"')A1”\t", max_size=60))
def test_borders_are_found_wherever_one_can_be(text: str) -> None:
    assert list(borders(text)) == [match.end() for match in _BORDER.finditer(text)]


@given(st.text(max_size=300))
def test_sentences_cover_a_text_without_a_gap(text: str) -> None:
    spans = sentences(text, max_tokens=20)
    assert "".join(text[start:end] for start, end in spans) == text


@given(st.text(max_size=900))
def test_a_text_counts_alike_whenever_it_is_counted(text: str) -> None:
    weighed = sum(weight * part for weight, part in zip(WEIGHTS, token_parts(text), strict=False))
    assert abs(estimate_tokens(text) - weighed) <= 1
    assert estimate_tokens(text) == estimate_tokens(text)
