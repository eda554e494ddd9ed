"""Serving the app below a path of another site, as in ``https://example.com/studio/``."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "zimage_prefix"
"""Key in a request's scope: the path below which the app is served; empty at the root."""


class PrefixMiddleware:
    """Strips the prefix from the request's path, unless the proxy already did."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """``prefix`` begins with a slash and does not end with one, or is empty."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._prefix and scope["path"] == self._prefix:  # the page's URLs are relative and need the trailing slash
            await RedirectResponse(f"{self._prefix}/", 307)(scope, receive, send)
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        inside = {**scope, PREFIX: self._prefix, "root_path": ""}
        if self._prefix and scope["path"].startswith(f"{self._prefix}/"):
            inside |= {"path": scope["path"][len(self._prefix) :], "raw_path": raw[len(self._prefix) :]}
        await self._app(inside, receive, send)


def prefix_of(scope: Scope) -> str:
    """The path below which the app is served."""
    return str(scope.get(PREFIX, ""))
