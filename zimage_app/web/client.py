"""Which address a request is counted under. Knows no limits."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import Scope


def client_of(scope: Scope) -> str:
    """The address of who asks; of IPv6 the network, as each customer has a whole one. Empty where it isn't known."""
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped) if address.ipv4_mapped else str(ip_network((int(address), 64), strict=False))


def is_this_machine(scope: Scope) -> bool:
    """Whether the request comes from a program of this machine, which may be a proxy that wasn't named."""
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return not client  # a test, or a socket without addresses
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_proxy(address: str, proxies: Iterable[str]) -> bool:
    """Whether an address is one of these addresses or networks."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in ip_network(each, strict=False) for each in proxies)
