"""Addresses that must not be reached, in every spelling of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from urllib.parse import quote

from hypothesis import strategies as st

# Written down once more, and not taken from the guard: a net that falls out of its table must be missed.
# fmt: off
DENIED_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
]
DENIED_V6 = [
    "::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
    "100::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "2002::/16",
    "3fff::/20", "5f00::/16", "1000::/4", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/3",
    "8000::/3", "e000::/4",
]
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
    "223.255.255.255", "2001:200::1", "2003::1", "2606:4700::1111", "2a00:1450::1",
    "2a00:1450::5efe:1.1.1.1", "3ffe::1",
]
# fmt: on


def inside(net: str) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Any address of a network; its first and last ones more often than chance would have them."""
    network = ip_network(net)
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    return st.one_of(st.just(first), st.just(last), st.integers(first, last)).map(kind)


denied_v4 = st.sampled_from(DENIED_V4).flatmap(inside)
denied_v6 = st.sampled_from(DENIED_V6).flatmap(inside)


@st.composite
def hosts_of_v4(draw: st.DrawFn) -> str:
    """Return a host that may be written in a URL and that browsers read as a denied IPv4 address."""
    address = draw(denied_v4)
    last_parts = draw(st.integers(1, 4))
    numbers = list(address.packed[: last_parts - 1])
    numbers.append(int.from_bytes(address.packed[last_parts - 1 :]))
    spell = st.sampled_from(["{}", "0x{:x}", "0X{:X}", "0{:o}", "0x000{:x}", "000{:o}"])
    host = ".".join(draw(spell).format(number) for number in numbers)
    disguises = {
        "plain": host,
        "dot at the end": host + ".",
        "escaped": "".join(f"%{ord(c):02x}" for c in host),
        "full width": host.translate({ord(c): chr(ord(c) + 0xFEE0) for c in "0123456789abcdefxABCDEFX"}),
        "ideographic dots": host.replace(".", "。"),
        "blanks around": f"\t{host}\n",
    }
    return disguises[draw(st.sampled_from(sorted(disguises)))]


@st.composite
def hosts_of_v6(draw: st.DrawFn) -> str:
    """A host in brackets that means a denied IPv6 address, or an IPv6 address that carries an IPv4 one."""
    carried = draw(denied_v4)
    number = int(carried)
    noise = draw(st.integers(0, 2**64 - 1))
    address = draw(
        st.one_of(
            denied_v6,
            st.just(IPv6Address(0xFFFF << 32 | number)),
            st.just(IPv6Address(0xFFFF << 48 | number)),
            st.just(IPv6Address(number)),
            st.just(IPv6Address(0x0064_FF9B << 96 | number)),
            st.just(IPv6Address(0x2002 << 112 | number << 80 | noise)),
            # Teredo carries a server, and a client with all bits turned.
            st.just(IPv6Address(0x2001_0000 << 96 | number << 64 | noise)),
            st.just(IPv6Address(0x2001_0000 << 96 | (noise & 0xFFFF_FFFF) << 64 | number ^ 0xFFFF_FFFF)),
        )
    )
    # Not by slicing what the library prints: from Python 3.13 on it dots mapped addresses itself.
    digits = f"{int(address):032x}"
    groups = [digits[at : at + 4] for at in range(0, 32, 4)]
    exploded = ":".join(groups)
    dotted = ":".join((*groups[:6], str(IPv4Address(int(address) & 0xFFFF_FFFF))))
    spelling = draw(st.sampled_from([address.compressed, exploded, exploded.upper(), dotted]))
    return f"[{spelling}]"


def as_url(host: str) -> str:
    return f"http://{host}/{quote('page')}"
