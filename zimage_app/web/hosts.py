"""The host names under which the app may be called, for checking ``Host`` and ``Origin`` headers."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
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

    def same(self, origin: str, headers: Mapping[str, str]) -> bool:
        """Whether ``origin`` is the app's own page, for a request with these headers (names in lower case).

        Other programs of the same machine have the same name, so the port counts too.
        """
        scheme, name, port = _place(origin)
        if port is None or (scheme == "http" and _first(headers, "x-forwarded-proto") == "https"):
            return False
        is_public, usual = name in self._public, _HTTP_PORTS.get(scheme)
        # A proxy in front may have changed the Host. Pages of other sites can't send the header that keeps it.
        hosts = [headers.get("host", ""), _first(headers, "x-forwarded-host") if is_public else ""]
        ports = {own_port or usual for _, own, own_port in map(_place, (f"//{host}" for host in hosts)) if own == name}
        return port in (ports or {usual if is_public else None})


def _place(address: str) -> tuple[str, str, int | None]:
    """(scheme, name, port) of an address; the name is empty where the address is invalid."""
    try:
        parts = urlsplit(address)
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _HTTP_PORTS.get(parts.scheme)
    except ValueError:
        return "", "", None


def _first(headers: Mapping[str, str], name: str) -> str:
    """What the outermost proxy wrote into a header that each proxy may extend."""
    return headers.get(name, "").partition(",")[0].strip()


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
