"""Under which names the app may be called. Knows no requests but their ``Host`` and ``Origin``."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

_HTTP_PORTS = {"http": 80, "https": 443}


class Hosts:
    """The names of this app.

    A page of a stranger's can give a name of its own this machine's address (DNS rebinding) and then read the app as
    if it were its own, so names must be known. Numbers are always taken: nobody can make them mean another machine.
    """

    def __init__(self, public: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._local = {"localhost", own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
        self._public = {name.lower() for name in public}

    def add(self, name: str) -> None:
        """Another public name, as that of a share link that was just made."""
        self._public.add(name.lower())

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this app."""
        name = _place(f"//{host}")[1]
        return name in self._local or name in self._public or _is_number(name)

    def same(self, origin: str, host: str) -> bool:
        """Whether a page of this ``Origin`` is the app's own, which was called as ``host``."""
        scheme, name, port = _place(origin)
        if name in self._public:  # a proxy in front may have changed the Host
            return True
        _, own, own_port = _place(f"//{host}")
        return bool(name) and name == own and port == (own_port or _HTTP_PORTS.get(scheme))


def _place(address: str) -> tuple[str, str, int | None]:
    """Scheme, name and port; the name is empty where the address can't be read."""
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
