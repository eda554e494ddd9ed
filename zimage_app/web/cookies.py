"""Cookies that a browser keeps for us, also in the frame of a Space. Knows no values."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def cookie(connection: HTTPConnection, name: str, value: str, seconds: int | None = None) -> str:
    """The ``Set-Cookie`` header's value; without ``seconds`` the cookie ends with the browser, with 0 at once."""
    # In the frame of a Space the page is a third party, whose cookies browsers keep only when they are partitioned.
    frame = "SameSite=None; Secure; Partitioned" if is_secure(connection) else "SameSite=Lax"
    age = "" if seconds is None else f"Max-Age={seconds}; "
    return f"{name}={value}; Path=/; {age}HttpOnly; {frame}"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the visitor came over HTTPS, perhaps to a proxy in front of us."""
    forwarded = connection.headers.get("x-forwarded-proto", "")
    return "https" in (connection.url.scheme, forwarded.split(",")[0].strip())
