"""Who asks: an id that a browser keeps in a cookie and a program in a header, or what an API key comes to.

Whoever knows the id is its owner: it is a secret, and stands in no file, log or page. Knows no jobs.
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
"""In a request's scope: the owner of everything that is asked for with the API key alone."""
LOCAL = "zimage_local"
"""In a request's scope: it comes from a program of the user whose app this is, who may do anything."""
LOCAL_HEADER = "x-studio-local"
"""Holds the key of the user's own programs."""
_OWNER = re.compile(r"[0-9a-f]{32}")
_YEAR = 365 * 24 * 3600


def new_owner() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


def is_owner(text: str) -> bool:
    """Whether a text has an id's form."""
    return _OWNER.fullmatch(text) is not None


def key_owner(key: str) -> str:
    """The owner that an API key stands for, so that its holder finds everything again after a restart."""
    return hashlib.sha256(f"studio owner of key {key}".encode()).hexdigest()[:32]


def owner_of(connection: HTTPConnection) -> str:
    """The id in the header, else the cookie's, else the API key's; empty for who can't be told from others."""
    given = (connection.headers.get(OWNER_HEADER, ""), connection.cookies.get(OWNER_COOKIE, ""))
    return next((owner for owner in given if is_owner(owner)), "") or str(connection.scope.get(KEY_OWNER, ""))


def is_local(connection: HTTPConnection) -> bool:
    """Whether the request comes from a program of the user whose app this is."""
    return bool(connection.scope.get(LOCAL))


def owner_cookie(connection: HTTPConnection, owner: str) -> str:
    """The header's value that has a browser keep the id for a year."""
    return cookie(connection, OWNER_COOKIE, owner, _YEAR)
