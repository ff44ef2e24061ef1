"""Keep URLs that come from users away from our own network.

Whoever may name a URL that we fetch could otherwise read what only we can reach: a cloud's metadata service,
a database's web console, the printer. A check of the URL alone is not enough, for a name may resolve to
anything, to something else a moment later, and a redirect may lead anywhere. So the check stands where the
connection is made: `GuardedBackend` resolves the name itself, checks every address it gets, and connects to
one of those very addresses. TLS and the Host header still use the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import cast

import ada_url
import anyio
import httpcore2

from zeke_tasks.fetch.errors import AddressRefused, UrlRefused
from zeke_tasks.fetch.urls import parse_http_url

Address = IPv4Address | IPv6Address

# Who may be asked is said here and not left to `ipaddress.is_global`, which answers differently from one
# Python to the next. Source: IANA's special-purpose address registries for IPv4 and IPv6.
_DENIED_V4 = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a provider's customers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "reserved, formerly 6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
# The first that matches gives the reason, so the narrow ones come first. Of IPv6 only 2000::/3 is in public
# use; the three nets at the end are all the rest.
_DENIED_V6 = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4 in IPv6 (mapped)"),
    ("::ffff:0:0:0/96", "IPv4 in IPv6 (translated)"),
    ("::/96", "IPv4 in IPv6 (compatible)"),
    ("64:ff9b::/96", "IPv4 in IPv6 (NAT64)"),
    ("64:ff9b:1::/48", "IPv4 in IPv6 (local NAT64)"),
    ("100::/64", "discarded"),
    ("2001::/32", "IPv4 in IPv6 (Teredo)"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "IPv4 in IPv6 (6to4)"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    ("::/3", "reserved"),
    ("4000::/2", "reserved"),
    ("8000::/1", "reserved"),
)
DENIED = tuple((ip_network(net), reason) for net, reason in (*_DENIED_V4, *_DENIED_V6))
# Those whose last 32 bits are an IPv4 address; 6to4 and Teredo keep theirs elsewhere.
_CARRIERS = tuple(
    IPv6Network(net)
    for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
# The third quarter of an ISATAP address, under any prefix; the last is an IPv4 address. Source: RFC 5214.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

# Ports above 1023 that browsers don't fetch from either, because another protocol listens there that a
# request could be mistaken for. Source: WHATWG Fetch, "bad port". Of those below 1024 the web's two suffice.
# fmt: off
_OTHER_PROTOCOLS = frozenset({
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
})
# fmt: on
_WELL_KNOWN = 1023

# Seconds for one address of several, so that a dead one leaves time for the next.
CONNECT_TIMEOUT = 5.0

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name as the system's resolver gives them, best first.

    Raises:
        OSError: the name has none, or no resolver answers.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address carries: none, one, or two for Teredo.

    >>> embedded_ipv4(IPv6Address("64:ff9b::7f00:1"))
    (IPv4Address('127.0.0.1'),)
    """
    # `::` and `::1` look like carriers, and are none.
    if int(address) > 1 and any(address in net for net in _CARRIERS):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


class Guard:
    """Says which URLs and addresses may be fetched.

    Args:
        allow: networks that may be reached although they are on the deny table, such as ``127.0.0.1/32``
            for a server of one's own. It lifts the table for exactly these; what an address carries inside it
            is still checked, so ``64:ff9b::/96`` opens NAT64 to public IPv4 addresses only.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(net) for net in allow)

    def refusal(self, address: Address) -> str | None:
        """Return why an address may not be reached, or None if it may."""
        if isinstance(address, IPv6Address):
            for inner in embedded_ipv4(address):
                if reason := self.refusal(inner):
                    return f"it carries {inner}, {reason}"
        if any(address in net for net in self._allow):
            return None
        return next((reason for net, reason in DENIED if address in net), None)

    def check_url(self, url: str, base: str | None = None) -> ada_url.URL:
        """Parse a URL and refuse what can be refused before its name is resolved.

        Raises:
            UrlRefused: it is no plain http(s) URL, or names a port that is not the web's.
            AddressRefused: its host is an address that may not be reached.
        """
        parsed = parse_http_url(url, base)
        if reason := self.port_refusal(int(parsed.port or 0)):
            raise UrlRefused(parsed.href, reason)
        if parsed.host_type != ada_url.HostType.DEFAULT:
            self.check_address(parsed.href, parsed.hostname.strip("[]"))
        return parsed

    def port_refusal(self, port: int) -> str | None:
        """Return why a port may not be asked, or None if it may; 0 is the scheme's own."""
        if port in {0, 80, 443} or (port > _WELL_KNOWN and port not in _OTHER_PROTOCOLS):
            return None
        return f"names port {port}, which is not fetched; use 80, 443, or one above 1023 that serves the web"

    def check_address(self, url: str, text: str) -> str:
        """Return the address in its normal spelling if it may be reached.

        Raises:
            AddressRefused: it may not, or is no address.
        """
        try:
            address = ip_address(text)
        except ValueError:
            raise AddressRefused(url, text, "it is no IP address") from None
        if reason := self.refusal(address):
            raise AddressRefused(url, text, reason)
        return str(address)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for the HTTP client, to checked addresses only.

    Args:
        guard: what may be reached.
        resolver: returns a name's addresses; the system's by default.
        network: opens the connection once an address is chosen; a recorder in tests.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        resolver: Resolver = resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._guard = guard
        self._resolver = resolver
        # The library's stand-in for a missing anyio hides the type, which is the one it says here.
        self._network = network or cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check every address, and connect to the first that answers.

        One address that is refused refuses the name: honest names don't mix public and private addresses.

        Raises:
            AddressRefused: an address is refused, or the name has none; nothing was sent.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: no address answers.
        """
        where = f"{host}:{port}"
        if reason := self._guard.port_refusal(port):
            raise UrlRefused(where, reason)
        addresses = [self._guard.check_address(where, found) for found in await self._addresses(host, port)]
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for number, address in enumerate(addresses, 1):
            share = timeout if number == len(addresses) else min(timeout or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
            try:
                return await self._network.connect_tcp(
                    address, port, timeout=share, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Return what a host may stand for: itself if it is an address, else what its name resolves to."""
        try:
            ip_address(host.strip("[]"))
        except ValueError:
            pass
        else:
            return [host.strip("[]")]
        try:
            return await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} does not resolve: {error}") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - the interface's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no URL leads to a socket of this machine."""
        raise UrlRefused(path, "is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Do as the network does; the client asks for it only when it retries, which ours never does."""
        await self._network.sleep(seconds)
