"""``Set-Cookie`` headers that also work inside the frame of a Hugging Face Space."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def cookie(connection: HTTPConnection, name: str, value: str, seconds: int | None = None) -> str:
    """The ``Set-Cookie`` header's value; without ``seconds`` it is a session cookie, with 0 it is deleted."""
    # In a Space's frame the page is a third party, whose cookies browsers keep only if they are partitioned.
    frame = "SameSite=None; Secure; Partitioned" if is_secure(connection) else "SameSite=Lax"
    age = "" if seconds is None else f"Max-Age={seconds}; "
    return f"{name}={value}; Path=/; {age}HttpOnly; {frame}"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the visitor uses HTTPS, to this app or to a proxy in front of it."""
    forwarded = connection.headers.get("x-forwarded-proto", "")
    return "https" in (connection.url.scheme, forwarded.split(",")[0].strip())
