from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import FINDINGS, PLAN, S1, S2, draft, observation, rendered, sub_question, written

from research_agent.report import Found


def without_marks(markdown: str) -> str:
    """Without escapes, and without the code that a number is set apart as."""
    return markdown.replace("\\", "").replace("`", "")


def test_citations_are_numbers_in_the_order_they_appear() -> None:
    report = written()
    assert "Lithium cells lose up to 40 percent [1][2]." in report.markdown
    assert "Hina's sodium-ion packs keep 88 percent [1]." in report.markdown
    assert report.answer == "Lithium cells lose up to 40 percent [1][2]."
    assert [(row["number"], row["id"], row["url"]) for row in report.sources] == [(1, S2.id, S2.url), (2, S1.id, S1.url)]
    assert set(report.sources[0]) == {"number", "id", "url", "title", "retrieved_at", "tool"}
    assert report.findings[0] == {"id": "f1", "claim": "Cold costs capacity", "quote": FINDINGS[0].quote, "source": 2, "sub_question": "1"}


def test_the_report_reads_from_short_answer_to_sources() -> None:
    headings = re.findall(r"^#+ .*", written().markdown, re.MULTILINE)
    assert headings == [
        "# How cold is too cold?",
        "## Short answer",
        "## How much is lost in the cold?",
        "## Do sodium-ion packs do better?",
        "## Sources",
    ]


def test_each_source_has_its_title_link_date_and_quote() -> None:
    listed = written().markdown.partition("## Sources")[2]
    assert "1. [Sodium-ion: a review](</data/docs/sodium%20ion.pdf>), sodium ion.pdf, retrieved 2026-11-22" in listed
    assert "2. [Cold cells](<https://example.org/cold>), example.org, retrieved 2026-11-22" in listed
    assert f"   > {FINDINGS[0].quote}" in listed


def test_a_quote_that_stands_in_the_text_is_not_repeated() -> None:
    report = written(draft(f"“{FINDINGS[0].quote}” [S100]"))
    assert report.markdown.count(FINDINGS[0].quote) == 1


def test_a_source_without_a_finding_shows_the_passage_nearest_to_its_citation() -> None:
    report = written(draft("Such a thing does weigh more [S200]."), findings=())
    assert "   > They weigh more." in report.markdown


def test_handles_of_one_address_are_one_source() -> None:
    report = written(draft("Cold [S100]. Heat [S300]. Both [S100, S300]. Again [S100] [S300]."))
    assert "Cold [1]. Heat [1]. Both [1]. Again [1]." in report.markdown
    assert [row["number"] for row in report.sources if row["url"] == S1.url] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "Lost [S100; S200].",
        "Lost [S100][S200].",
        "Lost [S100] [S200].",
        "Lost [S100 and S200].",
        "Lost [sources: S100, S200].",
        "Lost [S100, S200](http://evil.example/).",
        "Lost \\[S100, S200\\].",
        "Lost 【S100, S200】.",
        "Lost (S100, S200).",
        f"Lost [{S1.id}, {S2.id}].",
    ],
)
def test_handles_are_read_as_models_write_them(text: str) -> None:
    report = written(draft(text))
    assert "Lost [1][2]." in report.markdown
    assert "evil" not in report.markdown


def test_a_citation_of_nothing_is_struck_out_and_told() -> None:
    report = written(
        draft("Known [S100, S9900]. Unknown [S9901]. A thought [S400].", _1="Fine [S200]."), replace(S1, step=4, kind="reasoning")
    )
    assert report.struck == ("S9900", "S9901", "S400")
    assert "Known [1]. Unknown. A thought. " in report.markdown.replace("\n", " ")
    assert "> 3 citations named sources never read and were removed." in report.markdown
    assert "> 1 citation named a source that was never read and was removed." in written(draft("No [S9900]. Yes [S100].")).markdown


@pytest.mark.parametrize(
    ("text", "shown", "struck"),
    [
        ("Much is lost [12]. All of it [S100].", "Much is lost. All of it [1].", ["12"]),
        ("Much is lost[3][4], all of it [5, 6] [S100].", "Much is lost, all of it `[5, 6]` [1].", ["3", "4"]),
        ("Lost 40%[1-3] and more [^2] [S100].", "Lost 40% and more [1].", ["1-3", "2"]),
        ("Lost 【4†source】 [7](http://evil.example/) \\[8\\] [S100].", "Lost [1].", ["4", "7", "8"]),
        ("Lost [S100, 12].", "Lost [1].", ["12"]),
        ("Lost [S100][12].", "Lost [1].", ["12"]),
        ("So it is [S100].\n\n[12]: A book\n\n- [13] Another: page 3", "So it is [1].\n\n A book\n\n- Another: page 3", ["12", "13"]),
    ],
)
def test_a_number_that_the_writer_made_up_is_no_citation(text: str, shown: str, struck: list[str]) -> None:
    report = written(draft(text))
    assert shown in report.markdown
    assert list(report.struck) == struck
    assert re.search(rf"> {len(struck)} citations? named", report.markdown)
    assert set(re.findall(r"[\[【]\d+[\]】]", re.sub(r"<style>.*?</style>", "", report.html, flags=re.DOTALL))) == set()
    assert "evil" not in report.html


@pytest.mark.parametrize(
    "text",
    [
        "The call `read(a[12], [3])` fails",
        "A block:\n\n```python\nx = [12]\n```\n\nAnd text",
        "An element is x[1], rows[i][2], a_b[3] = 4, f(y)[5] or head[0]",
        'It says “much is lost [12]” and "all [13]"',
        "It says:\n\n> much is lost [12]\n\nand so on",
        "It began then [2019]",
        "Shares in the range [2, 5] or [0, 1]",
        "It makes [2]rotaxane and [18]annulene",
        "A [4+2] addition of [18F] on page [3a]",
    ],
)
def test_brackets_of_code_quotations_years_and_names_stay(text: str) -> None:
    report = written(draft(f"{text} [S100]."))
    assert report.struck == ()
    assert without_marks(text) in without_marks(report.markdown)


def test_a_number_made_up_in_a_claim_is_none_of_ours_where_no_report_was_written() -> None:
    found = replace(FINDINGS[0], claim="Cold costs capacity [12]")
    assert "- Cold costs capacity [1]" in written(None, findings=(found,)).markdown


def test_a_cited_finding_stands_for_what_it_quotes() -> None:
    note = replace(S1, step=5, kind="finding", text="claim", source=S1.id)
    assert written(draft("Cold [S500]."), note).sources[0]["id"] == S1.id


def test_brackets_of_prose_stay_as_they_are() -> None:
    report = written(draft("The [S350 coupe] and x[a] and [sic] stay [S100].", _1="As the Mercedes S350 does [S100]."))
    assert "The [S350 coupe] and x[a] and [sic] stay [1]." in report.markdown
    assert "Mercedes S350 does" in report.markdown
    assert report.struck == ()


def test_a_finding_whose_source_is_not_cited_has_a_number_too() -> None:
    report = written(draft("Cold [S100]."))
    assert [row["source"] for row in report.findings] == [1, 2]
    assert [row["url"] for row in report.sources] == [S1.url, S2.url]
    assert "Sodium-ion: a review" not in report.markdown


HOSTILE = [
    "![x](http://evil.example/?q=1)",
    "[click](javascript:alert(1))",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "# A heading",
    "text\n\n# A heading\n\n---\n",
    "a title\n====",
    "[x]: http://evil.example/\n\n[x]",
    "[a][x] ![b][x]\n\n[x]: <http://evil.example/> 'y'",
    "<http://evil.example/>",
    "http://evil.example/ and www.evil.example",
    "```\nnever closed ![x](http://evil.example/)",
    "`one ![x](http://evil.example/)",
    "``a` ![x](http://evil.example/) `b``",
    "> # quoted heading\n> [x](http://evil.example/)",
    "- # item\n  - ![x](http://evil.example/)",
    "\\![x](http://evil.example/) \\\\[y](http://evil.example/)",
    "[x](<http://evil.example/> 'a')\n| a | b |\n|---|---|\n| ![x](http://evil.example/) | <b> |",
    "&lt;script&gt;&#60;b&#62;",
    "\u202egnp.exe\u2066 \x1b[31mred \x00 \ud800 \ue0000\ue001 \ue0021\ue003",
    "<!-- <![CDATA[ <?php ]]>",
    "![x\n](http://evil.example/)",
    "[x\n\n](http://evil.example/)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_never_acts(text: str) -> None:
    evil = observation(6, text, "https://site.example/p", title=text)
    found = Found(id="f", claim=text, quote=text, source=evil, sub_question="1")
    failure = {"step": 2, "what": text, "reason": text}
    for the_draft in (draft(f"{text}\n\nCold [S600].", _1=f"{text} [S100]"), None):
        report = written(the_draft, evil, findings=(found,), question=text, failures=(failure,), status="incomplete", reason=text)
        for shown in (rendered(report.markdown), report.html):
            shown = re.sub(r"<meta [^>]*>", "", shown)
            assert not re.search(r"<(script|img|b>|iframe)", shown)
            links = set(re.findall(r'(?:href|src)="([^"]*)"', shown))
            assert {link for link in links if not link.startswith("#source-")} <= {"https://site.example/p", "https://example.org/cold"}
            assert shown.count("<h1>") == 1
            assert {"Short answer", "Sources"} <= set(re.findall(r"<h2>(.*?)</h2>", shown)) <= {
                "Short answer", "Sources", "To check", "What did not work", *(item["question"] for item in PLAN)
            }  # fmt: skip
        assert not re.search("[\x00-\x08\x1b\u202e\u2066\ud800\ue000-\ue003]", report.markdown + report.html)
        report.markdown.encode()


def test_ordinary_words_are_not_changed() -> None:
    text = "In 3.5 < 4 kWh (a_b, 5 * 3, ~20 %, C#, “x” & y) it's 10-20 $ [sic]; e.g. Müller's Ü-30 – 東京。"
    assert text in written(draft(f"{text} [S100]")).markdown
    found = replace(FINDINGS[0], quote=text)
    assert f"> {text}" in written(draft("Cold [S100]."), findings=(found,)).markdown


def test_numbers_in_brackets_of_others_are_no_citations() -> None:
    evil = observation(6, "As shown [1] and [S100].", "https://e.example/")
    report = written(draft("Cold [S100]. “As shown [7]” [S600]"), evil, findings=(Found(id="f", claim="c", quote=evil.text, source=evil),))
    assert re.findall(r"\[(\d+)\]", report.markdown) == ["1", "2"]
    assert not re.search(r"\[S\d+\]", report.markdown)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//evil.example/x", "ftp://h/x", "http://", "http://["]
)
def test_only_web_addresses_and_paths_are_linked(url: str) -> None:
    report = written(draft("Odd [S600]."), observation(6, "Odd thing", url, "A title"))
    assert "1. A title, retrieved" in report.markdown
    assert report.sources[0]["url"] == url


def test_a_relative_path_is_linked_where_it_lies() -> None:
    lying = observation(6, "Odd thing", "sub/odd name.md", "A title")
    assert "1. A title, odd name.md, retrieved" in written(draft("Odd [S600]."), lying).markdown
    linked = written(draft("Odd [S600]."), lying, folder="/data/docs")
    assert "1. [A title](</data/docs/sub/odd%20name.md>), odd name.md, retrieved" in linked.markdown
    assert linked.sources[0]["url"] == "sub/odd name.md"


def test_what_has_no_address_is_named_by_its_tool() -> None:
    output = observation(6, "42 percent are lost", tool="python")
    assert "1. python of step 6, retrieved" in written(draft("It loses 42 percent [S600]."), output, folder="/data").markdown


def test_markdown_of_the_writer_stays() -> None:
    text = "### Loss\n\n- **cold** costs [S100]\n- `x[0](1)` costs\n\n"
    text += "| kind | kept |\n|---|---|\n| Na | 88 [S200] |\n\n```python\na = b[0](1) < c\n```"
    markdown = written(draft("Short [S100].", _1=text)).markdown
    for kept in ("**Loss**", "- **cold** costs [1]", "`x[0](1)`", "| Na | 88 [2] |", "a = b[0](1) < c"):
        assert kept in markdown


def test_an_incomplete_report_says_why_and_what_stays_open() -> None:
    plan = [*PLAN, sub_question("3", "What does heating cost?", "open")]
    report = written(status="incomplete", reason="the limit of 300 steps was reached", plan=plan)
    assert "> **Incomplete**: the limit of 300 steps was reached. Still open: What does heating cost?" in report.markdown
    assert "## What does heating cost?\n\nNot investigated." in report.markdown


def test_a_stopped_run_without_a_draft_gives_what_it_found() -> None:
    report = written(None, status="incomplete", reason="stopped")
    assert "## How much is lost in the cold?\n\n- Cold costs capacity [1]" in report.markdown
    assert [row["source"] for row in report.findings] == [1, 2]


def test_a_failed_run_gives_its_reason_and_no_prose() -> None:
    report = written(None, status="failed", reason="no source could be read", findings=())
    assert "> **Failed**: no source could be read." in report.markdown
    assert "Nothing was found that can be cited." in report.markdown
    assert report.sources == ()


def test_what_went_wrong_is_told() -> None:
    report = written(failures=[{"step": n, "what": "scrape", "reason": f"HTTP 403 ({n})"} for n in range(1, 31)])
    part = report.markdown.partition("## What did not work")[2]
    assert "- step 1, scrape: HTTP 403 (1)" in part
    assert "- and 10 more" in part


def test_an_extractive_report_says_that_no_model_wrote_it() -> None:
    report = written(extractive=True, model="extractive")
    assert "> No language model wrote this report" in report.markdown
    assert "Written by" not in report.markdown
    assert "No language model" not in written(model="kimi").markdown


def test_invented_names_and_numbers_are_flagged() -> None:
    report = written(
        draft("Tesla packs keep 95 percent of their capacity at -20 degrees in Norway [S200].", _1="Cells lose 20 to 40 percent [S100].")
    )
    first, second = report.audit
    assert (first.verdict, first.missing, first.sources) == ("weak", ("Norway", "95"), (1,))
    assert (second.verdict, second.missing) == ("supported", ())
    part = report.markdown.partition("## To check")[2]
    assert "Norway" in part
    assert "95" in part
    assert "Cells lose" not in part


def test_a_citation_that_has_nothing_to_do_with_its_sentence_is_flagged() -> None:
    report = written(draft("Unicorns eat bananas on every sunny afternoon [S100]."))
    assert report.audit[0].verdict == "unsupported"
    assert "Unicorns" in report.markdown.partition("## To check")[2]


def test_two_sources_may_bear_out_a_sentence_together() -> None:
    report = written(draft("Lithium-ion cells lose 20 to 40 percent of capacity, sodium-ion packs of Hina keep 88 percent [S100, S200]."))
    assert report.audit[0].verdict == "supported"


def test_sentences_without_a_source_are_counted() -> None:
    report = written(draft("This is a claim without any source. Cells lose 20 to 40 percent [S100]."))
    assert [checked.verdict for checked in report.audit] == ["uncited", "supported"]
    assert "> 1 of 2 sentences cite no source." in report.markdown


LONG = draft(
    "Cells lose 20 to 40 percent [S100]. More follows here.",
    _1=" ".join(f"Sentence {n} says that cells lose capacity in the cold [S100]." for n in range(60)),
    _2=" ".join(f"Sentence {n} says that sodium keeps more [S200]." for n in range(60)),
)


@pytest.mark.parametrize("limit", [50, 80, 120, 300, 600])
def test_the_whole_file_keeps_to_its_words(limit: int) -> None:
    report = written(LONG, max_words=limit, failures=[{"step": 1, "what": "scrape", "reason": "HTTP 403"}] * 9)
    assert report.words == len(report.markdown.split()) <= limit
    assert limit < 120 or report.words >= 0.8 * limit
    assert "Cells lose 20 to 40 percent" in report.markdown
    cited = set(re.findall(r"\[(\d+)\]", report.markdown))
    assert cited == set(re.findall(r"^(\d+)\. ", report.markdown.partition("## Sources")[2], re.MULTILINE))
    assert [row["quote"] for row in report.findings] == [found.quote for found in FINDINGS]


def test_quotes_under_the_sources_go_first() -> None:
    whole = written()
    shorter = written(max_words=max(50, whole.words - 1))
    assert FINDINGS[0].quote in whole.markdown
    assert shorter.markdown.count("   > ") == whole.markdown.count("   > ") - 1
    assert "Hina's sodium-ion packs keep 88 percent [1]." in shorter.markdown


_TEXTS = st.lists(
    st.sampled_from(
        [*HOSTILE, "A plain sentence about cold cells.", "[S100]", "[S200; S300]", "[S9900]", "\n\n", "- item", "*", "`", "word " * 30]
    ),
    max_size=12,
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(answer=_TEXTS, section=_TEXTS, question=_TEXTS, limit=st.sampled_from([None, 50, 90, 200]))
def test_any_draft_gives_a_report_that_is_whole(answer: str, section: str, question: str, limit: int | None) -> None:
    report = written(draft(answer, _1=section, _9=answer), question=question, max_words=limit)
    assert limit is None or len(report.markdown.split()) <= limit
    assert not re.search(r"\[S\d+\]", report.markdown)
    body, _, listed = report.markdown.partition("\n## Sources\n")
    assert set(re.findall(r"(?<!\\)\[(\d+)\]", body)) <= set(re.findall(r"^(\d+)\. ", listed, re.MULTILINE))
    assert not re.search(r"<(script|img)", rendered(report.markdown) + report.html)


def test_the_page_loads_nothing_and_leads_to_its_sources() -> None:
    page = written(question="Is 3 < 4 & true?").html
    assert "<title>Is 3 &lt; 4 &amp; true?</title>" in page
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'", page)
    assert '<a href="#source-1"' in page
    assert 'id="source-1"' in page
    assert not re.search(r"<(script|link|img)|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_the_same_investigation_gives_the_same_report() -> None:
    assert written() == written()
