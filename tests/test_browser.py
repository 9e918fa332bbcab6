"""Pages that scripts draw: read by a Chromium that goes nowhere by itself. With the system's Chromium, where there is one."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from langchain_core.tools import ToolException

from research_agent.testing.site import Page, Site, Visit
from research_agent.tools.scrape import scrape_tool
from research_agent.web import browser as drawing
from research_agent.web.browser import Browser, NoBrowser, NotDrawn, find
from research_agent.web.fetch import Manners, Web
from research_agent.web.net import Client, Fetched
from research_agent.web.page_reader import PageReader

FACT = "The tide at Saint-Malo rises by twelve metres at the equinox, which few harbours bear without a lock."
SHELL = "<!doctype html><html><head><title>Tides</title></head><body><div id='root'></div><script src='/main.js'></script></body></html>"
MAIN = """
const root = document.getElementById('root');
fetch('/data.json').then(answer => answer.json()).then(told => {
  root.innerHTML = '<article><h1>Tides</h1><p>' + told.fact + '</p><p style="display:none">CONCEALED</p></article>';
});
"""


def missing() -> str:
    try:
        find()
    except NoBrowser as reason:
        return str(reason)
    return ""


needs_chromium = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({"/app": SHELL, "/main.js": Page(MAIN, content_type="text/javascript")}) as site:
        site.pages["/data.json"] = Page(f'{{"fact": "{FACT}"}}', content_type="application/json")
        yield site


@pytest.fixture
async def web(site: Site) -> AsyncIterator[Web]:
    async with Client(allow_hosts=[site.host], timeout_s=5) as client:
        yield Web(client, manners=Manners(delay_s=0))


def shell(site: Site, body: str = SHELL) -> Fetched:
    return Fetched(site.url("/app"), 200, {"content-type": "text/html"}, body.encode(), "2026-11-22T10:00:00+00:00")


async def drawn(site: Site, web: Web, script: str, *, page_s: float = 15.0) -> str:
    """What stands in the page after its script ran."""
    site.pages["/main.js"] = Page(script, content_type="text/javascript")
    async with Browser(find(), web.get, page_s=page_s) as browser:
        return (await browser.draw(shell(site))).body.decode()


@needs_chromium
async def test_an_empty_shell_is_drawn_and_read_like_any_page(site: Site, web: Web) -> None:
    with PageReader() as pages:
        async with Browser(find(), web.get) as browser:
            tool = scrape_tool(web, pages.read, draw=browser.draw)
            message = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": site.url("/app")}})
            assert FACT in message.artifact.documents[0].text
            assert "CONCEALED" not in message.artifact.documents[0].text
            assert [visit.path for visit in site.visits if visit.path != "/robots.txt"] == ["/app", "/main.js", "/data.json"]

            site.pages["/main.js"] = Page("", content_type="text/javascript")
            with pytest.raises(ToolException, match=r"empty shell.*stays one when they have run"):
                await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": site.url("/app")}})
            site.visits.clear()
            site.pages["/plain"] = f"<html><body><article><p>{FACT}</p></article></body></html>"
            await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": site.url("/plain")}})
            assert [visit.path for visit in site.visits] == ["/plain"]


# Each says in the page what it got.
TRY = """
const say = (name, what) => { document.body.append(' [' + name + ': ' + what + '] ') };
const get = (name, url) => fetch(url, {mode: 'no-cors'})
  .then(a => a.text()).then(t => say(name, 'GOT ' + t)).catch(e => say(name, 'failed'));
const socket = (name, url) => {
  try { const s = new WebSocket(url); s.onopen = () => say(name, 'GOT'); s.onerror = s.onclose = () => say(name, 'failed'); }
  catch (e) { say(name, 'failed') }
};
document.body.append('begun');
"""


@needs_chromium
async def test_what_a_page_asks_for_is_held_to_the_rules_for_addresses(site: Site, web: Web) -> None:
    def to(url: str) -> Page:
        return Page(status=302, headers={"Location": url})

    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, Site({"/secret": Page("private", headers={"Access-Control-Allow-Origin": "*"})}) as inner:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        site.pages["/redirect"] = to(inner.url("/secret"))
        site.pages["/metadata"] = to("http://169.254.169.254/")
        tries = {
            "loopback": f"get('loopback', '{inner.url('/secret')}')",
            "name": f"get('name', 'http://localhost:{inner.port}/secret')",
            "metadata": "get('metadata', 'http://169.254.169.254/latest/meta-data/')",
            "redirect": "get('redirect', '/redirect')",
            "redirect2": "get('redirect2', '/metadata')",
            "file": "get('file', 'file:///etc/passwd')",
            "websocket": f"socket('websocket', 'ws://127.0.0.1:{inner.port}/secret')",
            "websocket2": f"socket('websocket2', 'ws://{site.host}/secret')",
            "script": f"const s = document.createElement('script'); s.src = '{inner.url('/secret')}';"
            "s.onload = () => say('script', 'GOT'); s.onerror = () => say('script', 'failed'); document.body.append(s)",
        }
        more = f"""
        for (const tag of ['iframe', 'img', 'embed', 'object', 'video', 'link']) {{
          const e = document.createElement(tag); e.rel = 'stylesheet';
          e.src = e.data = e.href = '{inner.url("/secret")}'; document.body.append(e);
        }}
        window.open('{inner.url("/secret")}'); navigator.sendBeacon('{inner.url("/secret")}', 'x');
        fetch('{inner.url("/secret")}', {{method: 'POST', body: 'x'}}).catch(() => 0);
        new EventSource('{inner.url("/secret")}');
        const a = document.createElement('a'); a.href = '/data.json'; a.download = 'x'; a.click();
        const p = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{listener.getsockname()[1]}'}}]}});
        p.createDataChannel('x'); p.createOffer().then(o => p.setLocalDescription(o));
        alert('stay'); print();
        """
        answered = [name for name in tries if not name.startswith("websocket")]  # one of those that leads nowhere may stay silent
        waits = f"""
        let ticks = 0, since = 0;  // text that still changes is waited for, and then some
        const beat = setInterval(() => {{
          const told = document.body.textContent;
          since += {json.dumps(answered)}.every(name => told.includes('[' + name + ': '));
          if (++ticks > 250 || since > 10) clearInterval(beat);
          else document.body.append('.');
        }}, 150);
        """
        html = await drawn(site, web, TRY + ";\n".join(tries.values()) + ";\n" + more + waits, page_s=60.0)
        assert "begun" in html
        for name in answered:
            assert f"[{name}: failed]" in html
        assert "GOT" not in html
        assert inner.visits == []
        with pytest.raises(BlockingIOError):
            listener.recv(100)


@needs_chromium
async def test_a_name_that_rebinds_gets_at_nothing(site: Site) -> None:
    answers = {"site.test": ["127.0.0.1"], "rebind.test": ["127.0.0.1"]}

    async def resolver(host: str, port: int) -> list[str]:
        return answers[host]

    with Site({"/secret": Page("private", headers={"Access-Control-Allow-Origin": "*"})}) as inner:
        async with Client(allow_hosts=["site.test"], timeout_s=5, resolver=resolver) as client:
            html = await drawn(
                site, Web(client, manners=Manners(delay_s=0)), TRY + f"get('rebind', 'http://rebind.test:{inner.port}/secret')"
            )
        assert "[rebind: failed]" in html or "begun" not in html
        assert inner.visits == []


ENDLESS = [("while (true) {}", 2.0, "longer than 2 s"), ("document.body.append('x'.repeat(6e6))", 20.0, "larger than 5 MB")]


@needs_chromium
@pytest.mark.parametrize(("script", "page_s", "reason"), ENDLESS)
async def test_a_page_that_never_ends_costs_its_time_and_not_the_next_page(
    site: Site, web: Web, script: str, page_s: float, reason: str
) -> None:
    async with Browser(find(), web.get, page_s=page_s) as browser:
        site.pages["/main.js"] = Page(script, content_type="text/javascript")
        with pytest.raises(NotDrawn, match=reason):
            await browser.draw(shell(site))
        browser._page_s = 20.0
        site.pages["/main.js"] = Page(MAIN, content_type="text/javascript")
        assert FACT in (await browser.draw(shell(site))).body.decode()


@needs_chromium
async def test_requests_and_bytes_are_counted(site: Site, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_REQUESTS", 5)
    asked: list[str] = []

    def count(visit: Visit) -> Page:
        asked.append(visit.path)
        return Page("1")

    site.pages["/n"] = count
    await drawn(site, web, "document.body.append('begun'); for (let n = 0; n < 50; n++) fetch('/n?' + n)")
    assert len(asked) <= 5


@needs_chromium
async def test_no_cookie_stays_and_the_environment_is_not_seen(site: Site, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with Browser(find(), web.get) as browser:
        site.pages["/main.js"] = Page(
            "document.body.append('was: ' + document.cookie); document.cookie = 'id=1'", content_type="text/javascript"
        )
        first = (await browser.draw(shell(site))).body.decode()
        second = (await browser.draw(shell(site))).body.decode()
    assert "was: " in first
    assert "id=1" not in second


async def test_without_a_browser_it_says_so_in_one_line(site: Site, web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name, **more: None)
    with pytest.raises(NoBrowser, match="no Chromium found: install"):
        find()
    async with Browser("/no/such/program", web.get) as browser:
        with pytest.raises(NoBrowser, match="does not start") as caught:
            await browser.draw(shell(site))
    assert "\n" not in str(caught.value)


async def test_a_shell_without_a_browser_is_a_failure_that_names_the_setting(site: Site, web: Web) -> None:
    with PageReader() as pages:
        tool = scrape_tool(web, pages.read)
        with pytest.raises(ToolException, match=r"empty shell.*not run here \(scrape\.browser\)"):
            await tool.ainvoke({"type": "tool_call", "id": "1", "name": "scrape", "args": {"url": site.url("/app")}})
    assert [visit.path for visit in site.visits] == ["/robots.txt", "/app"]
