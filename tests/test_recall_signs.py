"""What each sign counts in a recall: a paragraph that was cut in two, and words that are near in meaning because they are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from research_agent.memory import Archive, Segment
from research_agent.memory.chunks import chunks
from research_agent.testing.embedder import HashingEmbedder

ASIDE = "Gulls stood on the wet stones while men in oilskins mended nets, smoked, and spoke about nothing in particular. "
ASKED = "The lockkeeper Haldor Brandvold kept a ledger of every barge that passed. "
TOLD = "It was begun in the spring of 1874 and fills eleven volumes. "
BEFORE = (
    "A dozen gulls stood on wet stones while men in oilskins mended nets and spoke about nothing. "
    "Behind them, smoke rose from a yard in which two brothers boiled tar for hulls that nobody had ordered yet. "
    "Children ran between barrels, throwing cork floats at a dog, until somebody called them in to supper. "
    "One by one, lamps were lit along that shore; their light reached no farther than its first row of poles. "
    "Rain came later, softly, and with it a smell of peat, wet wool and burnt sugar from across a low roof. "
)
AFTER = (
    "By then most of what people knew about such matters had been forgotten twice over. "
    "Its pages smell of lamp oil, and several were eaten by mice before an archivist put them into tin boxes. "
    "He numbered each box with chalk, then with paint, and finally with small brass plates from a watchmaker. "
    "Visitors may see two of those boxes on Sundays, if they ring at a green door and wait for a caretaker. "
)


def _halves(text: str) -> list[str]:
    return [text[start:end] for start, end in chunks(text)]


def _read(step: int, text: str, title: str = "") -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, title=title, trust="untrusted")


def _ships() -> list[Segment]:
    return [_read(n, f"Ship {n} carried {n} tons of coal to town.") for n in range(2, 40)]


@pytest.mark.parametrize(("first", "last"), [(ASKED, TOLD), (TOLD, ASKED)], ids=["goes on", "comes from"])
async def test_the_other_half_of_a_paragraph_that_was_cut_comes_with_the_half_that_was_asked_for(
    tmp_path: Path, first: str, last: str
) -> None:
    paragraph = (first + BEFORE + AFTER + last).strip()
    [one, other] = _halves(paragraph)
    assert (first.strip() in one, last.strip() in other) == (True, True)
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([_read(1, paragraph), *_ships()])
    passages = await archive.recall("ledger of the lockkeeper Haldor Brandvold", budget_tokens=600)
    await archive.close()
    assert [passage.text for passage in passages] == [paragraph]


async def test_a_paragraph_that_ends_where_the_text_was_cut_brings_no_other(tmp_path: Path) -> None:
    text = f"{ASKED}{BEFORE}And so to bed.\n\n{AFTER}{TOLD}"
    [one, other] = _halves(text)
    assert (one.endswith("bed.\n\n"), TOLD in other) == (True, True)
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([_read(1, text), *_ships()])
    passages = await archive.recall("ledger of the lockkeeper Haldor Brandvold", budget_tokens=600)
    await archive.close()
    assert [passage.text for passage in passages] == [one.strip()]


async def test_a_passage_in_the_words_of_the_query_is_not_counted_twice_for_being_near_in_meaning_too(tmp_path: Path) -> None:
    """The other says the same less closely, but is about what is asked: its title says so."""
    archive = Archive.open(tmp_path, run="r", embedder=HashingEmbedder(dimensions=512))
    told = f"{2 * ASIDE}A toll was due here for the herring: four pence for each of the barrels. {2 * ASIDE}"
    ships = (_read(n, f"Ship {n} carried {n} tons of coal from the mine.") for n in range(3, 30))
    await archive.archive([_read(1, "The toll for barrels of herring was raised."), _read(2, told, "Amsel harbour"), *ships])
    await archive.flush()
    passages = await archive.recall("toll for barrels of herring at Amsel harbour", budget_tokens=600)
    await archive.close()
    assert [passage.segment.step for passage in sorted(passages, key=lambda passage: -passage.score)][:2] == [2, 1]
