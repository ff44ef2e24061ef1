"""Parsing of URLs by the WHATWG standard, as in browsers, and their canonical form."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

import ada_url

from zeke_tasks.fetch.errors import UrlRefused

SCHEMES = frozenset({"http:", "https:"})

_CREDENTIALS = re.compile(r"//[^/?#]*@")
# Parameters that say where the reader came from and never select the page.
_TRACKING = re.compile(
    r"utm_\w+|(?:fb|g|d|y|tw|tt)clid|msclkid|gclsrc|gbraid|wbraid|igshid|igsh|li_fat_id|mc_[ce]id"
    r"|mkt_tok|_hs(?:enc|mi)|hsctatracking|vero_(?:id|conv)|oly_(?:anon|enc)_id|wickedid|_openstat|__s|s_cid"
    r"|cmpid|ncid|srsltid|at_(?:campaign|medium|custom\w*)|pk_\w+|piwik_\w+|mtm_\w+",
    re.IGNORECASE,
)


def parse_http_url(url: str, base: str | None = None) -> ada_url.URL:
    """Parse a URL, relative to ``base`` if given, and reject all but plain http(s) URLs.

    Browsers read ``http://2130706433``, ``http://0x7f.1`` and ``http://127。0。0。1`` as 127.0.0.1. A check
    of hosts must do the same, which `urllib.parse` does not. One dot at the end of the host is removed.

    Args:
        url: absolute, or relative if ``base`` is given; surrounding whitespace is ignored.
        base: the absolute URL of the document that contains ``url``.

    Returns:
        The parsed URL. Its ``hostname`` is ASCII; IPv4 in dotted decimals, IPv6 in brackets.

    Raises:
        UrlRefused: it is invalid, not http(s), has no host, or has a user name or password.
    """
    # The error is stored and shown, so it must not contain a password.
    shown = _CREDENTIALS.sub("//", url)[:200]
    try:
        parsed = ada_url.URL(url, base)
    except ValueError:
        raise UrlRefused(shown, "must be an absolute URL such as https://example.org/page") from None
    if parsed.protocol not in SCHEMES:
        raise UrlRefused(shown, f"has the scheme {parsed.protocol!r}; only http and https are fetched")
    if parsed.username or parsed.password:
        raise UrlRefused(shown, "must not have a user name or password; remove the part before the @")
    name = parsed.hostname.removesuffix(".")
    if not name or name.startswith(".") or ".." in name:
        raise UrlRefused(shown, "has no host name that can be resolved")
    if name != parsed.hostname:
        try:
            parsed.hostname = name
        except ValueError:
            raise UrlRefused(shown, "has a host name that is invalid without its final dot") from None
    return parsed


def canonicalise_url(url: str) -> str:
    """Return the canonical form of a page's URL, so that the page is not stored twice.

    Scheme, host, port, dots and escapes are normalised as in browsers; the fragment and tracking parameters
    (``utm_*``, ``fbclid``, …) are removed. All other parameters stay unchanged and in their order: some sites
    read them by position, so sorting could select another page. For the same reason a slash at the end,
    ``www.`` and the scheme stay.

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
    # Without its question mark, one that belongs to the first parameter would be removed instead.
    parsed.search = "?" + "&".join(kept) if kept else ""
    return parsed.href


def resolve_link(link: str | None, base: str) -> str | None:
    """Return the absolute http(s) URL of a link in a document, or None if it is another kind of link."""
    if not link or not link.strip():
        return None
    try:
        return parse_http_url(link, base).href
    except UrlRefused:
        return None
