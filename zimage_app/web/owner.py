"""The owner of a request: an id from a browser's cookie or a program's header, or one derived from an API key.

Whoever knows the id is its owner, so it is a secret and must not appear in any file, log or page.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from starlette.requests import HTTPConnection

from zimage_app.web.cookies import cookie

OWNER_COOKIE = "studio_owner"
OWNER_HEADER = "x-studio-owner"
KEY_OWNER = "zimage_key_owner"
"""Key in a request's scope: the owner for requests that carry the API key and no id."""
LOCAL = "zimage_local"
"""Key in a request's scope: set for programs of the user who runs the app, who may do anything."""
LOCAL_HEADER = "x-studio-local"
"""Header with the key of the user's own programs."""
_OWNER = re.compile(r"[0-9a-f]{32}")
_YEAR = 365 * 24 * 3600


def new_owner() -> str:
    """A random id of 128 bits."""
    return secrets.token_hex(16)


def is_owner(text: str) -> bool:
    """Whether ``text`` has the form of an owner's id."""
    return _OWNER.fullmatch(text) is not None


def key_owner(key: str) -> str:
    """The owner's id for an API key; a hash, so that it is the same after a restart."""
    return hashlib.sha256(f"studio owner of key {key}".encode()).hexdigest()[:32]


def owner_of(connection: HTTPConnection) -> str:
    """The id from the header, else the cookie, else the API key; empty where the request has none of them."""
    given = (_header(connection), connection.cookies.get(OWNER_COOKIE, ""))
    return next((owner for owner in given if is_owner(owner)), "") or str(connection.scope.get(KEY_OWNER, ""))


def has_malformed_owner(connection: HTTPConnection) -> bool:
    """Whether the header is sent with something that is no owner's id."""
    given = _header(connection)
    return bool(given) and not is_owner(given)


def _header(connection: HTTPConnection) -> str:
    return connection.headers.get(OWNER_HEADER, "").lower()


def is_local(connection: HTTPConnection) -> bool:
    """Whether the request comes from a program of the user who runs the app."""
    return bool(connection.scope.get(LOCAL))


def owner_cookie(connection: HTTPConnection, owner: str) -> str:
    """The ``Set-Cookie`` value that keeps the id in a browser for a year."""
    return cookie(connection, OWNER_COOKIE, owner, _YEAR)
