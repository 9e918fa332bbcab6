"""A question that names a year, a site or the newest means the passages that are of it; and a paragraph that was cut in two is one."""

from __future__ import annotations

from pathlib import Path

from research_agent.memory import Archive, Passage, Segment
from research_agent.testing.embedder import HashingEmbedder

SAID = "The eel catch of the Wendel estuary {was} {n} tons, by a count of volunteers."


def _read(step: int, text: str, url: str = "", title: str = "") -> Segment:
    return Segment(run="r", step=step, kind="observation", text=text, title=title, url=url, trust="untrusted")


SHIPS = [_read(n, f"Ship {n} carried {n} tons of coal to the harbour.") for n in range(20, 50)]


async def _recalled(folder: Path, segments: list[Segment], query: str, *, budget_tokens: int = 400, meaning: bool = False) -> list[Passage]:
    archive = Archive.open(folder, run="r", embedder=HashingEmbedder() if meaning else None)
    await archive.archive([*segments, *SHIPS])
    await archive.flush()
    passages = await archive.recall(query, budget_tokens=budget_tokens)
    await archive.close()
    return sorted(passages, key=lambda passage: -passage.score)


async def test_the_year_that_is_asked_for_comes_first_whatever_is_near_in_meaning(tmp_path: Path) -> None:
    years = [_read(n, f"{SAID.format(was='was', n=n)} So said the survey of {year}.") for n, year in enumerate((2011, 2015, 2019, 2023), 1)]
    near = _read(5, "What was the eel catch of the Wendel estuary according to the survey? It was large in the survey of 2011.")
    best, *_ = await _recalled(
        tmp_path, [*years, near], "What was the eel catch of the Wendel estuary according to the 2019 survey?", meaning=True
    )
    assert best.segment.step == 3


async def test_the_newest_is_the_one_with_the_last_year_of_those_that_are_about_it(tmp_path: Path) -> None:
    told = [_read(n, f"{SAID.format(was='was', n=n)} The year was {year}.") for n, year in enumerate((2015, 2023, 2011, 2019), 1)]
    other = _read(9, "A calendar for the year 2031 hangs in the figure museum.")
    passages = await _recalled(tmp_path, [*told, other], "the newest figure for the eel catch of the Wendel estuary")
    assert [passage.segment.step for passage in passages][:4] == [2, 4, 1, 3]


async def test_a_site_that_is_named_by_host_or_by_name_comes_first(tmp_path: Path) -> None:
    hosts = ("stat.example.org", "www.harbourpost.example", "brek.example.edu")
    told = [_read(n, SAID.format(was="was", n=n), f"https://{host}/{n}") for n, host in enumerate(hosts, 1)]
    by_host, *_ = await _recalled(tmp_path / "host", told, "What does brek.example.edu say about the eel catch of the Wendel estuary?")
    by_name, *_ = await _recalled(tmp_path / "name", told, "the eel catch of the Wendel estuary according to the Harbour Post")
    assert (by_host.segment.step, by_name.segment.step) == (3, 2)


async def test_what_is_about_the_thing_comes_before_what_is_only_of_its_site_and_year(tmp_path: Path) -> None:
    told = [_read(1, SAID.format(was="was", n=1)), _read(2, "Bakers of 2019 used rye.", "https://harbourpost.example/2")]
    passages = await _recalled(tmp_path, told, "the eel catch of the Wendel estuary in 2019, in the Harbour Post")
    assert passages[0].segment.step == 1


async def test_an_address_that_is_none_and_a_query_of_dots_are_no_site(tmp_path: Path) -> None:
    told = [
        _read(1, SAID.format(was="was", n=1), "http://[docs"),
        _read(2, SAID.format(was="was", n=2), "https://[redacted]@wiki/x"),
        _read(3, SAID.format(was="was", n=3), "https://www.harbour.example/"),
    ]
    passages = await _recalled(tmp_path, told, "What does the WWW say of the eel catch of the Wendel estuary, by Docs?")
    assert {passage.segment.step for passage in passages} >= {1, 2, 3}
    assert len({passage.score for passage in passages[:3]}) == 1
    await _recalled(tmp_path / "dots", told, "a." * 20_000 + " eel catch")


async def test_the_rest_of_a_paragraph_comes_with_the_part_that_answers(tmp_path: Path) -> None:
    rest = "".join(f"Nothing in sentence {n} repeats what was sought, and yet it goes on. " for n in range(20))
    page = _read(1, SAID.format(was="was", n=1) + " " + rest + "\n\nA last paragraph of its own, on the weather of that harbour.")
    passages = await _recalled(tmp_path, [page], "eel catch of the Wendel estuary", budget_tokens=2000)
    assert passages[0].text.startswith(SAID.format(was="was", n=1)[:20])
    assert "sentence 19" in passages[0].text


async def test_a_very_good_passage_does_not_keep_the_good_ones_out(tmp_path: Path) -> None:
    """Found by every sign at once, it counts many times what another can that the question only needs besides."""
    query = "Who was the first president of the Wendel Estuary Society, and which country banned the society?"
    text = "Who was the first president of the Wendel Estuary Society: which country banned the society?"
    good = _read(1, text, title="Wendel Estuary Society")
    second = _read(2, "Asmund Kell was president in those years, and a baker besides.")
    passages = await _recalled(tmp_path, [good, second], query, meaning=True)
    assert [passage.segment.step for passage in passages] == [1, 2]
