"""Protection of the internal network from users' URLs (SSRF).

Without it, a user who names a URL to fetch could read internal services: a cloud's metadata service, a
database's web console, a printer. A check of the URL alone is not enough: a name may resolve to any address,
and to another one a moment later, and a redirect may lead anywhere. So the check is made where connections
are opened: `GuardedBackend` resolves the name itself, checks every address, and connects to one of the
checked addresses. TLS and the Host header still use the name.

The operator may list internal servers that are fetched nevertheless (``ZEKE_FETCH_ALLOW``). The list is part
of the same checks: it applies to each URL, each redirect and each answer of a resolver, and to nothing else.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple, cast

import ada_url
import anyio
import httpcore2

from zeke_tasks.fetch.errors import AddressRefused, UrlRefused
from zeke_tasks.fetch.urls import parse_http_url

Address = IPv4Address | IPv6Address

# `ipaddress.is_global` differs between Python versions, so the networks are listed here.
# Source: IANA's special-purpose address registries for IPv4 and IPv6.
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
# The first match gives the reason, so the narrow networks are first. Only 2000::/3 of IPv6 is in public use;
# the three networks at the end cover all the rest.
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
# What a listed name may resolve to: addresses that are given to machines. None of the others is one machine's
# own.
_GIVEN_TO_MACHINES = frozenset({"private", "loopback", "shared by a provider's customers", "site-local"})
# Refused even if a list allows them, since they answer with credentials: those of AWS (also for containers
# and Pods), Azure and most others; Google Cloud; Alibaba Cloud; Oracle Cloud's second.
METADATA_SERVICES = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "192.0.0.192",
    )
)
# Networks whose last 32 bits are an IPv4 address; 6to4 and Teredo embed it elsewhere.
_CARRIERS = tuple(
    IPv6Network(net)
    for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
# The third quarter of an ISATAP address under any prefix; its last quarter is an IPv4 address. Source: RFC
# 5214.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

# Ports above 1023 from which browsers don't fetch either, since a request could be valid in the protocol used
# there. Source: WHATWG Fetch, "bad port". Of the ports below 1024 only the web's two are allowed.
# fmt: off
_OTHER_PROTOCOLS = frozenset({
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
})
# fmt: on
_WELL_KNOWN = 1023
_LAST_PORT = 65_535

# Seconds per address if there are several, so that an unreachable one leaves time for the next.
CONNECT_TIMEOUT = 5.0

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a name with the system's resolver; returns its addresses, best first.

    Raises:
        OSError: the name has no address, or no resolver answers.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses embedded in an IPv6 address: none, one, or two for Teredo.

    >>> embedded_ipv4(IPv6Address("64:ff9b::7f00:1"))
    (IPv4Address('127.0.0.1'),)
    """
    # `::` and `::1` match a network of embedded addresses but embed none.
    if int(address) > 1 and any(address in net for net in _CARRIERS):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


class _Listed(NamedTuple):
    """An internal server, or a network of them: by addresses or by a name, on one port or on any."""

    servers: IPv4Network | IPv6Network | str
    port: int | None


_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/@?#*%]+)(?::(\d{1,5}))?", re.ASCII)


def _listed(entry: str) -> _Listed:
    """Parse an entry of the list of internal servers.

    Raises:
        ValueError: it is none; the message shows it.
    """
    if "://" not in entry and ("/" in entry or (entry.count(":") > 1 and "[" not in entry)):
        network = ip_network(entry, strict=False)
        if ip_address(entry.partition("/")[0]) != network.network_address:
            raise ValueError(f"a network must begin with its first address, got {entry!r}; write {network}")
        return _Listed(network, None)
    try:
        match = _HOST_AND_PORT.fullmatch(entry)
        parsed = parse_http_url(f"http://{match[1]}/") if match else None
    except UrlRefused:
        match = parsed = None
    if match is None or parsed is None:
        raise ValueError(
            f"must be hosts, addresses and networks, got {entry!r}; write one such as wiki.internal:8080"
        )
    port = int(match[2]) if match[2] else None
    if port is not None and (not 0 < port <= _LAST_PORT or port_refusal(port)):
        raise ValueError(f"a port must be 80, 443, or one above 1023 that serves the web, got {entry!r}")
    host = parsed.hostname
    if parsed.host_type == ada_url.HostType.DEFAULT:
        return _Listed(host, port)
    return _Listed(ip_network(host.strip("[]")), port)


def port_refusal(port: int) -> str | None:
    """Return why a port is forbidden, or None if it is allowed; 0 is the scheme's default."""
    if port in {0, 80, 443} or (port > _WELL_KNOWN and port not in _OTHER_PROTOCOLS):
        return None
    return f"names port {port}, which is not fetched; use 80, 443, or one above 1023 that serves the web"


class Guard:
    """Decides which URLs and addresses may be fetched.

    Args:
        allow: internal servers, exempt from the deny table: networks and addresses such as ``127.0.0.1/32``,
            host names, and both with a port. Addresses embedded in IPv6 are still checked, so
            ``64:ff9b::/96`` allows NAT64 to public IPv4 addresses only. A listed name may resolve to private
            and loopback addresses; another name that resolves to the same ones is refused.

    Raises:
        ValueError: an entry is invalid.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow = tuple(map(_listed, allow))

    def refusal(self, address: Address, *, host: str | None = None, port: int | None = None) -> str | None:
        """Return why an address is forbidden, or None if it is allowed.

        Args:
            address: the address to connect to.
            host: the name that was resolved to it; None or the address itself if there is none.
            port: the port to connect to; None for entries without a port only.
        """
        if isinstance(address, IPv6Address):
            for inner in embedded_ipv4(address):
                if reason := self.refusal(inner, port=port):
                    return f"it carries {inner}, {reason}"
        reason = next((reason for net, reason in DENIED if address in net), None)
        if reason is None or address in METADATA_SERVICES:
            return reason
        for servers, of_port in self._allow:
            if of_port not in (None, port):
                continue
            if servers == host and reason in _GIVEN_TO_MACHINES:
                return None
            if not isinstance(servers, str) and address in servers:
                return None
        return reason

    def lists(self, target: ada_url.URL) -> bool:
        """Return whether the list of internal servers has a URL's host, by its name or its address."""
        host, port = target.hostname, _port_of(target)
        names = [servers for servers, of_port in self._allow if of_port in (None, port)]
        if target.host_type == ada_url.HostType.DEFAULT:
            return host in names
        address = ip_address(host.strip("[]"))
        return any(address in servers for servers in names if not isinstance(servers, str))

    def check_url(self, url: str, base: str | None = None) -> ada_url.URL:
        """Parse a URL, and reject it if that can be decided before its name is resolved.

        Raises:
            UrlRefused: it is not a plain http(s) URL, or names a forbidden port.
            AddressRefused: its host is a forbidden address.
        """
        parsed = parse_http_url(url, base)
        if reason := port_refusal(int(parsed.port or 0)):
            raise UrlRefused(parsed.href, reason)
        if parsed.host_type != ada_url.HostType.DEFAULT:
            self.check_address(parsed.href, parsed.hostname.strip("[]"), port=_port_of(parsed))
        return parsed

    def check_address(self, url: str, text: str, *, host: str | None = None, port: int | None = None) -> str:
        """Return an allowed address in its canonical spelling; other arguments as for ``refusal``.

        Raises:
            AddressRefused: it is forbidden, or not an address.
        """
        try:
            address = ip_address(text)
        except ValueError:
            raise AddressRefused(url, text, "it is not an IP address") from None
        if reason := self.refusal(address, host=host, port=port):
            raise AddressRefused(url, text, reason)
        return str(address)


def _port_of(url: ada_url.URL) -> int:
    return int(url.port or (443 if url.protocol == "https:" else 80))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for the HTTP client, to checked addresses only.

    Args:
        guard: decides which addresses are allowed.
        resolver: returns a name's addresses; the system's by default.
        network: opens connections to chosen addresses; a recorder in tests.
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
        # The library's fallback for a missing anyio hides the type, so it is cast.
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

        A single forbidden address rejects the name, since legitimate names don't mix public and private
        addresses.

        Raises:
            AddressRefused: an address is forbidden, or the name has none; nothing was sent.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: no address answers.
        """
        where = f"{host}:{port}"
        if reason := port_refusal(port):
            raise UrlRefused(where, reason)
        addresses = [
            self._guard.check_address(where, found, host=host, port=port)
            for found in await self._addresses(host, port)
        ]
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
        """Return the host itself if it is an address, else the addresses of its name."""
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
        """Reject the connection, since no URL denotes a socket of this machine."""
        raise UrlRefused(path, "is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Sleep as the network does; the client calls it only for retries, which ours never makes."""
        await self._network.sleep(seconds)
