"""The client address under which a request is counted. The limits are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import Scope


def client_of(scope: Scope) -> str:
    """The client's address; for IPv6 its /64 network, as each customer has a whole one. Empty where unknown."""
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped) if address.ipv4_mapped else str(ip_network((int(address), 64), strict=False))


def is_this_machine(scope: Scope) -> bool:
    """Whether the request comes from this machine, possibly through a proxy that the settings don't name."""
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return not client  # tests, or a socket without addresses
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_proxy(address: str, proxies: Iterable[str]) -> bool:
    """Whether ``address`` is among ``proxies``, which are addresses or networks."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in ip_network(each, strict=False) for each in proxies)
