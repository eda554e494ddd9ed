"""Who asks: the id that a browser keeps in a cookie, or a program in a header. Knows no jobs."""

from __future__ import annotations

import re
import secrets

from starlette.requests import HTTPConnection

OWNER_COOKIE = "studio_owner"
_OWNER = re.compile(r"[0-9a-f]{32}")
_YEAR = 365 * 24 * 3600


def new_owner() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


def is_owner(text: str) -> bool:
    """Whether a text has an id's form."""
    return _OWNER.fullmatch(text) is not None


def owner_of(connection: HTTPConnection) -> str:
    """This browser's id, or the empty string for a visitor who keeps no cookies."""
    owner = connection.cookies.get(OWNER_COOKIE, "")
    return owner if is_owner(owner) else ""


def owner_cookie(connection: HTTPConnection, owner: str) -> str:
    """The header's value that has a browser keep the id for a year."""
    # In the frame of a Space the page is a third party, whose cookies browsers keep only when they are partitioned.
    frame = "SameSite=None; Secure; Partitioned" if is_secure(connection) else "SameSite=Lax"
    return f"{OWNER_COOKIE}={owner}; Path=/; Max-Age={_YEAR}; HttpOnly; {frame}"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the visitor came over HTTPS, perhaps to a proxy in front of us."""
    forwarded = connection.headers.get("x-forwarded-proto", "")
    return "https" in (connection.url.scheme, forwarded.split(",")[0].strip())
