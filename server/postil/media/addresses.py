"""Which network addresses a URL from outside may reach: the public ones, and what the operator allows.

Written as a list of what is closed rather than by `ipaddress.is_global` alone, whose answer has changed between
Python releases; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CLOSED_V4 = [
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
# Of IPv6 only the global unicast block is open, and of that not these.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = [
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, with Teredo, which hides an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which hides an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRule:
    """Decides on addresses.

    Args:
        allow: Networks that the operator opens in addition, for example ["10.1.0.0/16"]. Raises ValueError for text
            that is not a network.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow: list[Network] = [ipaddress.ip_network(block) for block in allow]

    def allowed_by_operator(self, text: str) -> bool:
        """Whether the address is in one of the operator's networks."""
        address = _plain(text)
        return any(address in network for network in self._allow if network.version == address.version)

    def open(self, text: str) -> bool:
        """Whether the address may be dialled."""
        return self.allowed_by_operator(text) or _is_public(_plain(text))


def _plain(text: str) -> Address:
    """Without the zone of a link-local address; an IPv4 address written as IPv6 (mapped, or NAT64) as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)
