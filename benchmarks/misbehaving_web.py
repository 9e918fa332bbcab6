"""Every case of the misbehaving web, read as an investigation reads pages: what came out, and how long it took.

    uv run python benchmarks/misbehaving_web.py [--plain]

`--plain` reads the same cases with bare httpx and trafilatura, as most agents do. A case is right if what came out is what the case
says must come out: the text, or a failure with its reason. A *lie* is a text for what is no page, or nothing at all without a reason.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from langchain_core.tools import ToolException

from research_agent.testing.misbehaving import CASES, Case, MisbehavingWeb
from research_agent.tools.scrape import scrape_tool
from research_agent.web.fetch import Manners, Web
from research_agent.web.http_cache import HttpCache
from research_agent.web.page_reader import PageReader

GIVE_UP_S = 8.0
Read = Callable[[str], Awaitable[tuple[str, str]]]
"""A URL to ("text", the text) or ("failure", the reason)."""


def judged(case: Case, outcome: str, told: str) -> str:
    if outcome == "hangs":
        return "HANGS"
    right = outcome == case.outcome and re.search(case.says, told) and not (case.never and case.never in told)
    if right:
        return "right"
    if case.outcome == "failure" and outcome == "failure":
        return "failed, another reason"
    return "LIES" if outcome == "text" else "fails where there is a page"


async def measure(web: MisbehavingWeb, read: Read) -> None:
    verdicts, slowest_s = Counter[str](), 0.0
    print(f"{'case':34} {'does':52} {'seconds':>7}  verdict")
    for case in CASES:
        started = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                outcome, told = await read(web.url(case))
        except TimeoutError:
            outcome, told = "hangs", ""
        seconds = time.monotonic() - started
        verdict = judged(case, outcome, told)
        verdicts[verdict] += 1
        slowest_s = max(slowest_s, seconds)
        name = case.path if case.host == "site.test" else f"{case.host}{case.path}"
        print(
            f"{name:34} {case.does[:52]:52} {seconds:7.2f}  {verdict}: {' '.join(told.split())[:70] if outcome == 'failure' else outcome}"
        )
    print(
        f"\n{len(CASES)} cases: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.most_common())}; slowest {slowest_s:.1f} s"
    )


async def ours(web: MisbehavingWeb) -> None:
    with tempfile.TemporaryDirectory() as folder, PageReader() as pages:
        cache = HttpCache(Path(folder))
        async with web.client(timeout_s=2.0) as client:  # twice what tests take: a busy machine must not look like a slow page
            tool = scrape_tool(Web(client, cache=cache, manners=Manners(delay_s=0)), pages.read)

            async def read(url: str) -> tuple[str, str]:
                try:
                    message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": url}})
                except ToolException as error:
                    return "failure", str(error)
                return "text", message.artifact.documents[0].text

            await measure(web, read)
        await cache.aclose()


async def plain(web: MisbehavingWeb) -> None:
    import httpx
    import trafilatura

    async def read(url: str) -> tuple[str, str]:
        asked = httpx.URL(url)
        try:
            async with httpx.AsyncClient(timeout=1.0, follow_redirects=True, trust_env=False) as client:
                # The names of the misbehaving web are in no DNS: the first request goes to its address, with its name in Host.
                answer = await client.get(asked.copy_with(host="127.0.0.1"), headers={"Host": f"{asked.host}:{asked.port}"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return "failure", f"{type(error).__name__}: {error}"
        text = await asyncio.to_thread(trafilatura.extract, answer.text)
        return "text", text or answer.text

    await measure(web, read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true", help="bare httpx and trafilatura instead")
    with MisbehavingWeb() as web:
        asyncio.run(plain(web) if parser.parse_args().plain else ours(web))


if __name__ == "__main__":
    main()
