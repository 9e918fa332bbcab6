"""The catalog and the doctor's findings as text that fits 80 columns and uses more where there are more."""

from __future__ import annotations

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

    lines = [*textwrap.wrap("Dollars per million tokens. ?: not known. What a config says of a model wins.", _width()), ""]
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
        "(`tests/test_foreign_server.py`, in `.ci/run`). `research-agent doctor CONFIG` tries yours, with two short calls."
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
    yield "| provider | model | source | date |"
    yield "|---|---|---|---|"
    for row in rows():
        yield f"| {row.provider} | `{row.name}` | {row.source} | {row.date} |"
