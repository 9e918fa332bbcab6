"""Pages that answer, but are not the page: block pages, consent walls, logins, empty shells, soft 404s. What they say is no content.

A barrier is recognised by its own machinery (what a challenge loads) anywhere, by its words only where there are few others: an
article about captchas is an article.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from research_agent.web.net import Fetched

SHELL = "an empty shell: the page is drawn by scripts"
HEAD_BYTES = 300_000
FEW_WORDS = 250
VERY_FEW_WORDS = 60
ALMOST_NO_WORDS = 15

# What only a challenge has: many guards load something of theirs on every page they let through.
_CHALLENGES = (
    (
        "Cloudflare",
        re.compile(r"/cdn-cgi/challenge-platform/[^\"']{0,200}orchestrate|_cf_chl_opt|cf-browser-verification|cf-error-details"),
    ),
    ("DataDome", re.compile(r"captcha-delivery\.com")),
    ("PerimeterX", re.compile(r"px-captcha")),
    ("Imperva", re.compile(r"<iframe[^>]{0,500}_Incapsula_Resource|incapsula incident id", re.IGNORECASE)),
    ("Akamai", re.compile(r"errors\.edgesuite\.net|/_sec/cp_challenge/", re.IGNORECASE)),
    (
        "AWS WAF",
        re.compile(
            r"awswaf\.com/[^\"']{0,200}/captcha|AwsWafIntegration\.(?:checkForceRefresh|forceRefreshToken)|awswafcookiedomainlist",
            re.IGNORECASE,
        ),
    ),
    ("Sucuri", re.compile(r"sucuri website firewall", re.IGNORECASE)),
    ("Anubis", re.compile(r"anubis_challenge|\.within\.website/x/cmd/anubis")),
)
_BLOCKED = re.compile(
    r"verify (?:that )?you(?: are|'re|’re) (?:a )?(?:human|not a (?:ro)?bot)|are you (?:a )?(?:human|robot)\?|i'?m not a robot|prove you"
    r"(?: are|'re|’re) (?:human|not)|checking (?:if the site connection is secure|your browser)|just a moment\.\.\.|unusual traffic"
    r"|access (?:to this (?:page|site|resource) )?(?:has been |is |was )?(?:denied|blocked|forbidden)|you have been blocked|403 forbidden"
    r"|(?:complete|solve) the (?:captcha|security check|challenge)|please enable cookies and|automated (?:access|requests|queries|traffic)"
    r"|bot detect|request blocked|pardon our interruption|too many requests|rate limit exceeded|not available in your (?:country|region)"
    r"|ddos protection|security check to access|attention required!",
    re.IGNORECASE,
)
_CAPTCHA_BOX = re.compile(r"""class=["'][^"']*\b(?:g-recaptcha|h-captcha|cf-turnstile)\b""", re.IGNORECASE)
_CONSENT = re.compile(
    r"before you continue to|we (?:value|respect|care about) your privacy|accept (?:all )?(?:cookies|and continue)|accept all|reject all"
    r"|manage (?:cookies|preferences|choices|settings)|consent to (?:the use of )?cookies|we (?:and our partners )?use cookies"
    r"|cookie (?:settings|policy)|cookies on your device|information on a device|your privacy matters|our (?:\d+ )?partners|consent choices"
    r"|manage your (?:choices|settings|preferences|cookies)|(?:wir|nutzen|verwenden)[^.\n]{0,20} cookies|alle akzeptieren"
    r"|cookies (?:zu|akzeptieren)|zustimmen|stimmen sie|tout accepter|nous utilisons des cookies|param[ée]trer|accepter les cookies"
    r"|aceptar (?:todo|cookies)|utilizamos cookies|accetta (?:tutti|i cookie)|utilizziamo (?:i )?cookie|принять все|файлы cookie",
    re.IGNORECASE,
)
_AGE = re.compile(
    r"(?:are you|verify that you are|confirm (?:that )?you are|you must be)[^.?!\n]{0,20}\b(?:18|21)\b|age verification", re.IGNORECASE
)
_PAYWALL = re.compile(
    r"(?:subscribe|sign up|register|log in)(?: now)? to (?:continue|keep|read)|already (?:a )?subscribe[rd]"
    r"|(?:for|to) (?:paying |our )?subscribers only|subscriber[- ]only|(?:unlock|read) (?:this|the full) (?:article|story)"
    r"|free articles? (?:left|this month)|nur f(?:ü|ue)r abonnenten|r[ée]serv[ée] (?:aux|à nos) abonn[ée]s|только для подписчиков",
    re.IGNORECASE,
)
_CONSENT_HOST = re.compile(r"^(?:consent|guce|cmp)\.|^consent[.-]")
_LOGIN = re.compile(r"\b(?:log|sign)[ -]?in\b|\blogin\b|create an account|forgot (?:your )?password", re.IGNORECASE)
_LOGIN_PATH = re.compile(
    r"/(?:log[-_]?in|sign[-_]?in|signup|sso|oauth2?|accounts?/login|wp-login\.php|authenticate)(?:[/?.]|$)", re.IGNORECASE
)
_PASSWORD = re.compile(r"""<input[^>]{0,300}type=["']?password""", re.IGNORECASE)
_NEEDS_SCRIPT = re.compile(
    r"(?:enable|activate|turn on|requires?|need(?:s)?(?: to enable)?|without|supports?) (?:javascript|js\b)"
    r"|javascript (?:is |to be |must be )?(?:disabled|required|enabled|not enabled|needed)|^\s*(?:loading|please wait)\W*$",
    re.IGNORECASE,
)
_SHELL = re.compile(
    r"""<(?:div|main|app-root|section)[^>]{0,200}\bid=["']?(?:root|app|__next|__nuxt|___gatsby|svelte|main-app|react-root)\b"""
    r"|<app-root\b|ng-version=|data-reactroot|window\.__INITIAL_STATE__|__NEXT_DATA__",
    re.IGNORECASE,
)
_SCRIPT = re.compile(r"<script\b", re.IGNORECASE)
_FORWARD = re.compile(
    r"""<meta(?=[^>]{0,600}http-equiv=["']?refresh\b)[^>]{0,300}\burl=\s*(?:["']|&quot;|&\#39;)?([^"'>\s&;]{1,500})""", re.IGNORECASE
)
_SCRIPTED_FORWARD = re.compile(
    r"""\blocation(?:\.href)?\s*=\s*["']([^"'\s]{1,500})["']|\blocation\.(?:replace|assign)\(\s*["']([^"'\s]{1,500})["']"""
)
_FRAMES = re.compile(r"""<i?frame\b(?![^>]{0,300}display:\s*none)[^>]{0,500}?\bsrc=\s*["']?([^"'>\s]{1,500})""", re.IGNORECASE)
_FRAMESET = re.compile(r"<frameset\b", re.IGNORECASE)
_BROKEN = re.compile(
    r"(?:^|\b(?:error|http)\W{0,3})50[0234]\b|internal server error|bad gateway|gateway time-?out"
    r"|service (?:is )?(?:temporarily )?unavailable"
    r"|error establishing a database connection|(?:scheduled|under|down for) maintenance|we(?:'|’)?ll be back (?:soon|shortly)"
    r"|application error: a (?:client|server)-side exception|fatal error: |apache2? \w+ default page|welcome to nginx!|^\W*it works!\W*$"
    r"|(?:something|an error) (?:went wrong|has occurred)",
    re.IGNORECASE | re.MULTILINE,
)
_GONE = re.compile(
    r"\b404\b|(?:page|article|document|content|file|product|url|site|item|story|resource)[^.!?\n]{0,40}"
    r"(?:not (?:be )?found|(?:does ?n[o'’]t|no longer) exists?|(?:is |has been |was )?(?:no longer available|removed|deleted)"
    r"|(?:could|can)(?:no|n[’'])t be found)"
    r"|nothing (?:was )?found|(?:can(?:no|['’])t|could ?n(?:o|['’])t) find (?:the|that|this|what)|seite (?:wurde )?nicht gefunden"
    r"|page (?:introuvable|non trouv)|p[áa]gina n(?:o|ão) (?:encontrada|existe)|pagina non (?:trovata|esiste)|no such (?:page|article|file)"
    r"|nie znaleziono|strona nie istnieje|pagina (?:is )?niet gevonden|sidan (?:kunde inte hittas|finns inte)|sayfa bulunamadı"
    r"|страниц[аы] не (?:найдена|существует)|сторінк\w+ не (?:знайден|існу)|页面不存在|找不到(?:页面|頁面|该页)|頁面不存在"
    r"|ページ(?:が|は)(?:見つかり|存在しま)|お探しのページ|페이지를 찾을 수 없",
    re.IGNORECASE,
)
_GONE_TITLE = re.compile(
    r"^\W*(?:error\W*)?404\b|not found|page (?:does not|doesn't) exist|introuvable|nicht gefunden|no encontrada", re.IGNORECASE
)
_FRONT = re.compile(r"(?:/(?:index|default|home|main|welcome)(?:\.\w{2,5})?)?/?", re.IGNORECASE)
_PARKED = re.compile(
    r"(?:this )?domain (?:name )?(?:is |may be )?(?:for sale|parked)|buy this domain|parked free|domain has expired|account suspended"
    r"|sedoparking",
    re.IGNORECASE,
)


def barrier(answer: Fetched, *, asked: str, title: str, text: str) -> str:
    """Why an HTML answer is not the page that was asked for, in a few words; empty if it may well be. `text`: what was read of it."""
    source = answer.body[:HEAD_BYTES].decode("latin-1")
    words = len(text.split())
    told = f"{title}\n{text[:4000]}"
    if challenge := _challenge(source, words):
        return challenge
    if words < FEW_WORDS and (_BLOCKED.search(told) or (_CAPTCHA_BOX.search(source) and words < VERY_FEW_WORDS)):
        return "a block page: the site takes us for a robot and does not show its content"
    if moved := _moved(answer, asked, source, words):
        return moved
    if words < FEW_WORDS and (_GONE_TITLE.search(title) or _GONE.search(_said_first(title, text, words))):
        return "a page that says that there is no such page, though its status says otherwise (a soft 404)"
    if words < FEW_WORDS and len(set(map(str.lower, _CONSENT.findall(told)))) >= 2:
        return "a consent wall: the site shows its content only to who accepts its cookies"
    if _PASSWORD.search(source) and (words < VERY_FEW_WORDS // 2 or (words < FEW_WORDS and _LOGIN.search(told))):
        return "a login page: the content is for who has an account"
    if words < FEW_WORDS and len(set(map(str.lower, _PAYWALL.findall(told)))) >= (1 if words < VERY_FEW_WORDS else 2):
        return "a paywall: the content is for who subscribes"
    if words < VERY_FEW_WORDS // 2 and _AGE.search(told):
        return "an age gate: the site asks how old its reader is before it shows its content"
    if words < VERY_FEW_WORDS // 2 and _BROKEN.search(told):
        return "an error page of the site's own, though its status says otherwise"
    if words < FEW_WORDS and _PARKED.search(told):
        return "a parked or suspended domain: whatever stood there is gone"
    return _elsewhere(source, words) or (SHELL if _is_shell(source, text, words) else "")


def _elsewhere(source: str, words: int) -> str:
    """A page whose content stands at another address, which it names."""
    if words < VERY_FEW_WORDS and (forward := _FORWARD.search(source)):
        return f"nothing but a forward to {forward[1]}"
    if words < ALMOST_NO_WORDS and (forward := _SCRIPTED_FORWARD.search(source)):
        return f"nothing but a forward to {forward[1] or forward[2]}"
    if words < (VERY_FEW_WORDS if _FRAMESET.search(source) else ALMOST_NO_WORDS) and (frames := _FRAMES.findall(source)):
        return f"nothing but frames around other pages: {', '.join(dict.fromkeys(frames[:5]))}"
    return ""


def _challenge(source: str, words: int) -> str:
    name = next((name for name, mark in _CHALLENGES if mark.search(source)), "") if words < FEW_WORDS // 2 else ""
    return f"a block page by {name}: the site takes us for a robot and does not show its content" if name else ""


def _said_first(title: str, text: str, words: int) -> str:
    """That something is gone is the first thing such a page says; a longer one may say it of something else."""
    return f"{title}\n{text}" if words < VERY_FEW_WORDS else f"{title}\n{text[:150]}" if words < 2 * VERY_FEW_WORDS else ""


def _moved(answer: Fetched, asked: str, source: str, words: int) -> str:
    """Where redirects ended says what the page is."""
    try:
        was, now = urlsplit(asked), urlsplit(answer.url)
    except ValueError:
        return ""
    if was.geturl() == now.geturl():
        return ""
    if _CONSENT_HOST.search(now.hostname or "") and not _CONSENT_HOST.search(was.hostname or ""):
        return "a consent wall: the site shows its content only to who accepts its cookies"
    if _LOGIN_PATH.search(now.path) and not _LOGIN_PATH.search(was.path):
        return "a login page: the content is for who has an account"
    if _host(was.hostname) == _host(now.hostname) and _FRONT.fullmatch(now.path) and not _FRONT.fullmatch(was.path) and not now.query:
        return "the site's front page, not the page asked for, which seems to be gone (a soft 404)"
    return ""


def _host(name: str | None) -> str:
    return (name or "").removeprefix("www.")


def _is_shell(source: str, text: str, words: int) -> bool:
    if not _SCRIPT.search(source):
        return False
    if words < VERY_FEW_WORDS and _NEEDS_SCRIPT.search(text):
        return True
    return words < ALMOST_NO_WORDS and bool(_SHELL.search(source))
