"""What recall follows: one sentence of a long page by meaning, what was read for a thought, and a question embedded as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research_agent.memory import Archive, Segment
from research_agent.memory.chunks import windows
from research_agent.testing.embedder import HashingEmbedder

FILLER = "The {n}th account of the harbour speaks of {n} ships, of their cargo and of the tolls that the town took from them. "


def _read(step: int, text: str, title: str = "", ordinal: int = 0) -> Segment:
    return Segment(run="r", step=step, kind="observation", ordinal=ordinal, text=text, title=title, trust="untrusted")


def _thought(step: int, text: str) -> Segment:
    return Segment(run="r", step=step, kind="reasoning", text=text, trust="own")


async def test_one_sentence_of_a_long_page_is_found_by_what_it_means(tmp_path: Path) -> None:
    fact = "A physician treated her own nephew."
    pages = [_read(n, "".join(FILLER.format(n=10 * n + k) for k in range(12)), f"Harbour {n}") for n in range(1, 6)]
    planted = "".join(FILLER.format(n=k) for k in range(6)) + "\n\n" + fact + "\n\n" + "".join(FILLER.format(n=k) for k in range(6, 12))
    embedder = HashingEmbedder(dimensions=512, same={"doctor": "physician", "relative": "nephew", "cured": "treated"})
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.archive([*pages, _read(9, planted, "Harbour 9")])
    await archive.flush()
    passages = await archive.recall("doctor cured relative", budget_tokens=300)
    await archive.close()
    assert fact in max(passages, key=lambda passage: passage.score).text


async def test_what_was_read_for_a_thought_is_recalled_with_what_the_thought_asked(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive(
        [
            _thought(1, "Who composed the ballet Aschenbrodel?"),
            _read(1, "It is a ballet by Johann Strauss, finished by Josef Bayer.", "Aschenbrodel"),
            _thought(2, "Where was Johann Strauss a citizen?"),
            _read(2, "Strauss played the waltz in all the halls of Vienna, and held the papers of Austria.", "An orchestra"),
            _thought(3, "Enough of that; on to the ships."),
            *(_read(n, f"Ship {n} carried {n} tons of coal to the harbour.", f"Ship {n}") for n in range(3, 20)),
        ]
    )
    passages = await archive.recall(
        "Where was the composer of the ballet Aschenbrodel a citizen?", budget_tokens=400, kinds=("observation",)
    )
    await archive.close()
    assert [passage.segment.step for passage in passages][:2] == [1, 2]


async def test_a_thought_that_shares_one_word_with_the_query_does_not_bring_what_was_read_for_it(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path, run="r")
    await archive.archive(
        [
            _thought(1, "How high did they build the dyke?"),
            _read(1, "The dyke of Westerlee stands at the sea.", "Westerlee"),
            *(_read(n, f"Ship {n} carried {n} tons of coal to the harbour.", f"Ship {n}") for n in range(3, 20)),
            _read(20, "The Belmonte quarry delivered the blocks.", "A quarry"),
        ]
    )
    passages = await archive.recall("How many stones did the Belmonte pit supply to build the mole?", budget_tokens=400)
    await archive.close()
    assert "dyke of Westerlee" not in "".join(passage.text for passage in passages)
    assert 20 in [passage.segment.step for passage in passages]


async def test_an_embedder_that_asks_otherwise_is_asked_so(tmp_path: Path) -> None:
    class Asking(HashingEmbedder):
        def embed_query(self, text: str) -> Any:
            return self.embed([text.replace("Q:", "physician")])[0]

    archive = Archive.open(tmp_path, run="r", embedder=Asking())
    await archive.archive([_read(1, "A physician lives here."), *(_read(n, f"Ship {n} is at sea.") for n in range(2, 9))])
    await archive.flush()
    passages = await archive.recall("Q:", budget_tokens=200)
    await archive.close()
    assert max(passages, key=lambda passage: passage.score).segment.step == 1


def test_windows_cover_a_chunk_and_keep_paragraphs_apart() -> None:
    text = FILLER.format(n=1) + "\n\n" + "The dyke was raised to seven metres after the flood." + "\n\n" + FILLER.format(n=2)
    spans = windows(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert "The dyke was raised to seven metres after the flood." in [text[start:end].strip() for start, end in spans]
