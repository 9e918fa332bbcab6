"""Which addresses a page from the web may lead us to: only those that are somebody's on the public internet."""

from __future__ import annotations

import ipaddress
import socket

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All that is allocated. What lies outside is loopback, link-local, private, multicast, or IPv4 in disguise (mapped, NAT64)."""

_CLOSED: tuple[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network], ...] = tuple(
    (what, ipaddress.ip_network(network))
    for what, network in (
        ("unspecified", "0.0.0.0/8"),
        ("private", "10.0.0.0/8"),
        ("shared (CGNAT)", "100.64.0.0/10"),
        ("loopback", "127.0.0.0/8"),
        ("metadata", "168.63.129.16/32"),  # Azure's, in public space
        ("link-local or metadata", "169.254.0.0/16"),
        ("private", "172.16.0.0/12"),
        ("special", "192.0.0.0/24"),
        ("documentation", "192.0.2.0/24"),
        ("6to4 relay", "192.88.99.0/24"),
        ("private", "192.168.0.0/16"),
        ("benchmarking", "198.18.0.0/15"),
        ("documentation", "198.51.100.0/24"),
        ("documentation", "203.0.113.0/24"),
        ("multicast", "224.0.0.0/4"),
        ("reserved", "240.0.0.0/4"),
        ("special or Teredo", "2001::/23"),
        ("documentation", "2001:db8::/32"),
        ("6to4", "2002::/16"),
        ("documentation", "3fff::/20"),
    )
)
# A list of our own: what `ipaddress` calls private or global differs between Python releases.


def closed(address: str) -> str:
    """Why an IP address is not to be connected to; empty if it is public."""
    ip = ipaddress.ip_address(address)
    for what, network in _CLOSED:
        if ip.version == network.version and ip in network:
            return what
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return closed(str(ip.ipv4_mapped)) or "IPv4-mapped"
        if ip.is_loopback:
            return "loopback"
        if ip.is_link_local:
            return "link-local"
        if ip not in _PUBLIC_V6:
            return "not public"
    return ""


def literal(host: str) -> str | None:
    """The address that a host spells as numbers, in any spelling the C library takes: `127.1`, `0x7f000001`, `2130706433`, `::1`."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None
