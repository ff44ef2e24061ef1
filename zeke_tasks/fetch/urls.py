"""What a URL is, by the WHATWG standard that browsers follow, and when two of them mean the same page."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

import ada_url

from zeke_tasks.fetch.errors import UrlRefused

SCHEMES = frozenset({"http:", "https:"})

_CREDENTIALS = re.compile(r"//[^/?#]*@")
# Parameters that tell the site where the reader came from and never which page is meant.
_TRACKING = re.compile(
    r"utm_\w+|(?:fb|g|d|y|tw|tt)clid|msclkid|gclsrc|gbraid|wbraid|igshid|igsh|li_fat_id|mc_[ce]id"
    r"|mkt_tok|_hs(?:enc|mi)|hsctatracking|vero_(?:id|conv)|oly_(?:anon|enc)_id|wickedid|_openstat|__s|s_cid"
    r"|cmpid|ncid|srsltid|at_(?:campaign|medium|custom\w*)|pk_\w+|piwik_\w+|mtm_\w+",
    re.IGNORECASE,
)


def parse_http_url(url: str, base: str | None = None) -> ada_url.URL:
    """Parse a URL, relative to ``base`` if one is given, and refuse what is no plain http(s) URL.

    Browsers read ``http://2130706433``, ``http://0x7f.1`` and ``http://127。0。0。1`` as 127.0.0.1, and so
    must whoever checks hosts; that is why this is not `urllib.parse`. One dot at the end of the host goes.

    Args:
        url: absolute, or relative if ``base`` is given; blanks around it don't matter.
        base: the absolute URL of the document in which ``url`` was found.

    Returns:
        The parsed URL. Its ``hostname`` is ASCII; IPv4 in dotted decimals, IPv6 in brackets.

    Raises:
        UrlRefused: it is no URL, not http(s), has no host, or carries a user name or password.
    """
    # What is raised is kept and shown, so it must not hold a password.
    shown = _CREDENTIALS.sub("//", url)[:200]
    try:
        parsed = ada_url.URL(url, base)
    except ValueError:
        raise UrlRefused(shown, "is no absolute URL; it should look like https://example.org/page") from None
    if parsed.protocol not in SCHEMES:
        raise UrlRefused(shown, f"has the scheme {parsed.protocol!r}; only http and https are fetched")
    if parsed.username or parsed.password:
        raise UrlRefused(shown, "carries a user name or password; remove what stands before the @")
    name = parsed.hostname.removesuffix(".")
    if not name or name.startswith(".") or ".." in name:
        raise UrlRefused(shown, "has no host name that can be resolved")
    if name != parsed.hostname:
        try:
            parsed.hostname = name
        except ValueError:
            raise UrlRefused(shown, "has a host name that is none without its dot at the end") from None
    return parsed


def canonicalise_url(url: str) -> str:
    """Return the one spelling under which a page is kept, so that it is not kept twice.

    Scheme, host, port, dots and escapes are normalised as browsers do; the fragment goes, and so do
    parameters that only track readers (``utm_*``, ``fbclid``, …). All other parameters stay as they are
    written and in their order: some sites read them by position, so sorting could turn one page into
    another. For the same reason a slash at the end, ``www.`` and the scheme stay.

    >>> canonicalise_url("HTTPS://Example.ORG:443/a/../b?utm_source=x&id=2#top")
    'https://example.org/b?id=2'

    Args:
        url: an absolute http(s) URL.

    Raises:
        UrlRefused: as `parse_http_url`.
    """
    parsed = parse_http_url(url)
    parsed.hash = ""
    parameters = parsed.search.removeprefix("?").split("&")
    kept = [p for p in parameters if p and not _TRACKING.fullmatch(unquote_plus(p.partition("=")[0]))]
    # With its question mark, or one that belongs to the first parameter would be taken for it.
    parsed.search = "?" + "&".join(kept) if kept else ""
    return parsed.href


def resolve_link(link: str | None, base: str) -> str | None:
    """Return the absolute http(s) URL that a link in a document means, or None if it is no such link."""
    if not link or not link.strip():
        return None
    try:
        return parse_http_url(link, base).href
    except UrlRefused:
        return None
