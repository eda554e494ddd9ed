"""The host names under which the app may be called, for checking ``Host`` and ``Origin`` headers."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

_HTTP_PORTS = {"http": 80, "https": 443}


class Hosts:
    """The names of this app.

    A foreign page can point its own host name at this machine (DNS rebinding) and then read the app as same-origin, so
    only known names are accepted. IP addresses are always accepted, because they can't be rebound.
    """

    def __init__(self, public: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._local = {"localhost", own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
        self._public = {name.lower() for name in public}

    def add(self, name: str) -> None:
        """Add a public name, such as that of a share link."""
        self._public.add(name.lower())

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this app."""
        name = _place(f"//{host}")[1]
        return name in self._local or name in self._public or _is_number(name)

    def same(self, origin: str, host: str) -> bool:
        """Whether ``origin`` is the app's own page, when the app was called as ``host``."""
        scheme, name, port = _place(origin)
        if name in self._public:  # a proxy in front may have changed the Host
            return True
        _, own, own_port = _place(f"//{host}")
        return bool(name) and name == own and port == (own_port or _HTTP_PORTS.get(scheme))


def _place(address: str) -> tuple[str, str, int | None]:
    """(scheme, name, port) of an address; the name is empty where the address is invalid."""
    try:
        parts = urlsplit(address)
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _HTTP_PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
