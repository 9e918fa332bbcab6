"""Words that an index of words does not find by itself: inside a run of letters, and with or without their accents."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from research_agent.memory import Archive, ChromaStore, Segment
from research_agent.memory.clip import best_passages

PAGES = {
    "東京": "東京は日本の首都であり、人口は約1400万人である。江戸時代には江戸と呼ばれた。",
    "大阪": "大阪は西日本の中心都市で、たこ焼きで有名である。人口は約270万人。",
    "京都": "京都には金閣寺や清水寺など多くの寺院がある。かつて日本の都であった。",
    "上海": "上海是中国最大的城市之一，位于长江入海口。黄浦江穿过市区。",
    "서울": "서울은 대한민국의 수도이며 한강이 흐른다. 인구는 약 940만 명이다.",
    "กรุงเทพ": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "वाराणसी": "वाराणसी गंगा नदी के किनारे बसा एक प्राचीन नगर है।",
    "मुंबई": "मुंबई भारत का सबसे बड़ा नगर है और गोदी के पास बसा है। गाना यहाँ बनता है।",
    "القاهرة": "القَاهِرَةُ عاصمةُ مِصْرَ، ويجري فيها نَهْرُ النِّيلِ.",
}
QUESTIONS = [
    ("たこ焼きで知られる都市はどこですか", "大阪"),
    ("清水寺はどこにありますか", "京都"),
    ("Wikipedia の記事: 江戸時代の東京", "東京"),
    ("黄浦江在哪个城市", "上海"),
    ("한강이 흐르는 도시", "서울"),
    ("เมืองหลวงของไทย", "กรุงเทพ"),
]
VOWELLED = [("गंगा किस नगर में है", "वाराणसी"), ("نهر النيل", "القاهرة")]


@pytest.mark.parametrize(("question", "title"), [*QUESTIONS, *VOWELLED])
async def test_a_recall_finds_a_word_inside_a_run_of_letters(tmp_path: Path, question: str, title: str) -> None:
    archive = Archive.open(tmp_path, run="r")
    segments = [
        Segment(run="r", step=step, kind="observation", title=name, text=f"{text}\n\nMore of it.", trust="untrusted")
        for step, (name, text) in enumerate(PAGES.items(), 1)
    ]
    await archive.archive(segments)
    found = await archive.recall(question, budget_tokens=2000)
    await archive.close()
    best = max(found, key=lambda passage: passage.score)
    assert best.segment.title == title
    assert best.text.startswith(PAGES[title][:10])


def test_a_store_finds_it_as_well(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        for name, text in PAGES.items():
            store.put(("cities",), name, {"text": text})
        for question, title in QUESTIONS:
            assert store.search(("cities",), query=question)[0].key == title


def test_what_is_shown_of_a_page_serves_the_question() -> None:
    page = "\n\n".join(f"{text}{'その他の記事。' * 40}" for text in PAGES.values())
    shown = best_passages(page, "清水寺はどこにありますか", 200)
    assert "清水寺" in shown.text
    assert shown.left_out_tokens > 0


async def test_letters_of_all_scripts_beside_each_other_are_read_back_as_they_were(tmp_path: Path) -> None:
    text = "東京Tokyo駅2024年\ufffe café 人口1400万人 ไทย한국"
    archive = Archive.open(tmp_path, run="r")
    await archive.archive([Segment(run="r", step=1, kind="observation", text=text, trust="untrusted")])
    found = await archive.recall("東京の駅", budget_tokens=500)
    await archive.close()
    assert [passage.text for passage in found] == [text]


def test_a_run_of_a_million_letters_is_cut_soon() -> None:
    assert best_passages("東" * 1_000_000, "京都", 100).left_out_tokens > 500_000


ACCENTED = [
    ("jose garcia zurich", "José García founded the museum in Zürich."),
    ("Dvořák", "Antonín Dvořák wrote a symphony."),
    ("Beyonce", "Beyoncé sang in 2016."),
    ("strassenbahnen", "Die Straßenbahnen fahren in Łódź."),
    ("Lodz", "Die Straßenbahnen fahren in Łódź."),
    ("Łódź", "Die Straßenbahnen fahren in Łódź."),
    ("1958", "昭和３３年（１９５８年）に開業した。"),
    ("трамвай", "Трамвай прибывает в шесть."),
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("question", "text"), ACCENTED)
async def test_a_name_is_found_with_its_accents_and_without(tmp_path: Path, question: str, text: str, form: Literal["NFC", "NFD"]) -> None:
    texts = [*dict.fromkeys(said for _, said in ACCENTED), "Jose Smith bakes.", *(f"Page {n}: Garcia." for n in range(20))]
    archive = Archive.open(tmp_path, run="r")
    await archive.archive(
        [Segment(run="r", step=step, kind="observation", text=said, trust="untrusted") for step, said in enumerate(texts)]
    )
    found = await archive.recall(normalize(form, question), budget_tokens=2000)
    await archive.close()
    best = max(found, key=lambda passage: passage.score)
    assert best.text == text
    assert best.score > 0.5
