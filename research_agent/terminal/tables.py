"""The catalog and the doctor's findings as text that fits 80 columns and uses more where there are more."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from research_agent.visible import one_line

if TYPE_CHECKING:
    from research_agent.doctor.machine import Row as Checked
    from research_agent.models.catalog import Row

WIDEST = 120
CHECK_WIDTH = 16


def _width() -> int:
    return max(40, min(WIDEST, shutil.get_terminal_size((80, 24)).columns))


def check(row: Checked) -> str:
    """`ok    disk            23.1 GB free`, and under it the remedy where one is needed."""
    indent = " " * (6 + CHECK_WIDTH)
    label = row.check if len(row.check) < CHECK_WIDTH else f"{row.check}\n{indent[:-1]}"
    text = textwrap.fill(one_line(row.found), _width() - len(indent)).replace("\n", f"\n{indent}")
    lines = [f"{row.state:<6}{label:<{CHECK_WIDTH}}{text}"]
    if row.remedy:
        lines.append(textwrap.fill(one_line(f"remedy: {row.remedy}"), _width(), initial_indent=indent, subsequent_indent=f"{indent}  "))
    return "\n".join(lines)


def models() -> str:
    """The catalog: a provider's models under its name."""
    from research_agent.models.catalog import rows

    lines = [
        *textwrap.wrap(
            "Dollars per million tokens. ?: not known. What a config says of a model wins. `research-agent models NAME` tells all of one.",
            _width(),
        ),
        "",
    ]
    head = f"  {'MODEL':<24}{'WINDOW':>9}{'INPUT':>8}{'CACHED':>8}{'OUTPUT':>8}  REASONING"
    for provider, listed in groupby(sorted(rows(), key=lambda row: row.provider), key=lambda row: row.provider):
        of = list(listed)
        lines += [f"{provider}: {of[0].base_url}, {of[0].api_key_env or 'no key'}", head]
        lines += [_model(row) for row in of]
        lines += [
            textwrap.fill(f"tried against: {text}", _width(), initial_indent="  ", subsequent_indent="    ") for text in _verified(of)
        ]
        lines.append("")
    lines += textwrap.wrap(
        "None was tried against its own host: no key exists where this is built. `research-agent doctor CONFIG` tries yours.", _width()
    )
    return "\n".join(lines) + "\n"


def whole(row: Row) -> str:
    """All that the catalog says of one model at one host."""
    facts = [("address", row.base_url), ("key", row.api_key_env or "none"), ("window", f"{row.window_tokens:,} tokens")]
    facts += [("output", f"{row.max_output_tokens:,} tokens at most, as {row.max_tokens_field}")]
    facts += [("dollars", _all_prices(row)), *_rules(row)]
    facts += [("source", f"{row.source}; {row.date}"), ("tried", row.verified), ("not tried", _missing(row))]
    lines = [f"{row.name} at {row.provider}"]
    for label, text in facts:
        lines.append(textwrap.fill(text, _width(), initial_indent=f"  {label:<13}", subsequent_indent=" " * 15))
    return "\n".join(lines) + "\n"


def _all_prices(row: Row) -> str:
    if row.prices is None:
        return "not known: set model.prices"
    prices = row.prices
    told = f"{_usd(prices.miss)} input, {_usd(prices.hit)} cached, {_usd(prices.cache_write)} written to the cache"
    return f"{told}, {_usd(prices.output)} output, per million tokens"


def _rules(row: Row) -> list[tuple[str, str]]:
    """What its host demands on the wire."""
    back = ", which must come back with every tool call" if row.needs_reasoning else ""
    field = {"responses": "text.format", "messages": "output_config.format"}.get(row.api, "response_format")
    form = "asked for in words" if row.structured == "text" else f"{field} {row.structured}"
    ids = "as they came; foreign ones as functions.NAME:N" if row.call_ids == "kimi" else "as they came"
    rules = [("reasoning", f"{_reasoning(row)}{back}"), ("tool_choice", f"{', '.join(row.tool_choice)} (while it thinks)")]
    rules += [("structured", form), ("call ids", ids)]
    always = [f"{name} {json.dumps(value)}" for name, value in row.fixed.items()]
    sent = [f"{name} {json.dumps(value)}" for name, value in row.body.items()]
    return [*rules, *([("always", ", ".join(always))] if always else []), *([("sends", ", ".join(sent))] if sent else [])]


def _model(row: Row) -> str:
    return f"  {row.name:<24}{row.window_tokens:>9,}{''.join(f'{price:>8}' for price in _prices(row))}  {_reasoning(row)}"


def _verified(of: list[Row]) -> list[str]:
    said = list(dict.fromkeys(row.verified for row in of))
    if len(said) == 1:
        return said
    return [f"{', '.join(row.name for row in of if row.verified == text)}: {text}" for text in said]


def _prices(row: Row) -> list[str]:
    return [_usd(price) for price in (row.prices.miss, row.prices.hit, row.prices.output)] if row.prices else ["?"] * 3


def _usd(price: float) -> str:
    if price == 0:
        return "free"
    exact = f"{price:.3f}"
    return exact.removesuffix("0")


def _reasoning(row: Row) -> str:
    return {"responses": "encrypted items", "messages": "signed blocks"}.get(row.api, row.reasoning_field)


def models_markdown(*, brief: bool = False) -> str:
    """docs/models.md, whole; or `brief`, the README's table: what each row was tried against, and what is not tried."""
    return "\n".join(_verified_table() if brief else _markdown()) + "\n"


def _verified_table() -> Iterator[str]:
    from research_agent.models.catalog import rows

    yield "| models | at | wire rules tried against | not tried |"
    yield "|---|---|---|---|"
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows():
        alike.setdefault((row.provider, row.verified), []).append(row)
    for (provider, verified), of in alike.items():
        names = ", ".join(f"`{row.name}`" for row in of)
        yield f"| {names} | {provider} | {verified} | {_missing(of[0])} |"


def _missing(row: Row) -> str:
    return "its host: no key here" if row.api_key_env else "a real server: no weights here"


def _markdown() -> Iterator[str]:
    from research_agent.models.catalog import rows

    yield "# Models"
    yield ""
    yield "Made by `research-agent models --markdown > docs/models.md` from `research_agent/models/catalog.yaml`; a test keeps them equal."
    yield ""
    yield (
        "No key of any provider and no model weights exist where this is built, so no row was tried against its own host. "
        "*Tried against* names what its wire rules were tried against instead: the *scripted host* is "
        "`research_agent.testing.ScriptedHost`, a server of ours that refuses what that host is known to refuse (60 turns of tool calls "
        "without one refusal: `tests/test_long_loops.py`); *aimock* is `@copilotkit/aimock`, a server not written by us "
        "(`tests/test_foreign_server.py`, in `.ci/run`). `research-agent doctor CONFIG` tries yours, with two short calls. "
        "`research-agent models NAME` prints a model's rows, or a provider's, one by one. What hosts do, and which test holds it: "
        "[wire.md](wire.md)."
    )
    yield ""
    yield "| provider | model | window | input / cached / output, $ per million | reasoning | tried against | not tried |"
    yield "|---|---|---:|---|---|---|---|"
    for row in rows():
        cells = [
            row.provider,
            f"`{row.name}`",
            f"{row.window_tokens:,}",
            " / ".join(_prices(row)),
            _reasoning(row),
            row.verified,
            _missing(row),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| provider | model | cache write, $ | tool_choice while thinking | structured | call ids | must come back | always | sends |"
    yield "|---|---|---:|---|---|---|---|---|---|"
    for row in rows():
        said = dict(_rules(row))
        write = _usd(row.prices.cache_write) if row.prices else "?"
        ids = "renumbered if foreign" if row.call_ids == "kimi" else "verbatim"
        back = "reasoning" if row.needs_reasoning or row.api != "chat" else ""
        cells = [row.provider, f"`{row.name}`", write, ", ".join(row.tool_choice), row.structured, ids, back]
        yield f"| {' | '.join([*cells, said.get('always', ''), said.get('sends', '')])} |"
    yield ""
    yield "| provider | model | source | date |"
    yield "|---|---|---|---|"
    for row in rows():
        yield f"| {row.provider} | `{row.name}` | {row.source} | {row.date} |"
