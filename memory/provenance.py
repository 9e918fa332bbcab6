"""What a query says of where and when: a site, a year, the newest. Pure; words and meaning alike know little of either."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from .words import names, raw_words

_YEAR = re.compile(r"(?<![\w.,-])(?:19|20)\d\d(?![\w-]|[.,]\d)")
_HOST = re.compile(r"\b(?:[a-z0-9-]+\.)+[a-z]{2,}\b")
_NEWEST = frozenset(("newest", "latest", "current", "currently", "recent", "recently"))
_NO_NAME = frozenset(("blog", "data", "docs", "home", "info", "mail", "news", "open", "page", "site", "test", "wiki", "www"))
_LEAST_NAME = 3
_LOOKED_THROUGH = 2_000  # characters of a query: one that is all dots would be looked through for seconds


def years(text: str) -> frozenset[int]:
    """Written out, of this century and the last: what came before is seldom when something was said."""
    return frozenset(int(match) for match in _YEAR.findall(text))


def wants_newest(query: str) -> bool:
    return not _NEWEST.isdisjoint(raw_words(query))


def sites(query: str) -> frozenset[str]:
    """Hosts, and what may be a site's name: `harbourpost.example` as it stands, `Harbour Post` as `harbourpost`."""
    named = {key.replace(" ", "") for key in names(query)} - _NO_NAME
    hosts = {host.removeprefix("www.") for host in _HOST.findall(query[:_LOOKED_THROUGH].lower())}
    return frozenset((*hosts, *(key for key in named if len(key) >= _LEAST_NAME)))


def is_of(url: str, sites: frozenset[str]) -> bool:
    """Whether a page is one of these sites'."""
    return bool(sites) and not sites.isdisjoint(_sites_of(url))


@lru_cache(maxsize=2048)
def _sites_of(url: str) -> frozenset[str]:
    """What a query may call its site."""
    if not url.startswith(("http://", "https://")):
        return frozenset()
    try:
        labels = (urlsplit(url).hostname or "").split(".")
    except ValueError:  # a model's own idea of an address, or one that a secret was cut out of
        return frozenset()
    hosts = (".".join(labels[n:]) for n in range(len(labels) - 1))
    return frozenset((*hosts, *labels[:-1]))
