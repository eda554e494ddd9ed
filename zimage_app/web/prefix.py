"""The app below a path of another site: ``https://example.com/studio/``. Knows no routes."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "zimage_prefix"
"""In a request's scope: the path that the app is reached below; empty where it has a name of its own."""


class PrefixMiddleware:
    """Takes the path off before anything sees it, whether or not the proxy has done so already."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """``prefix`` begins with a slash and ends with none, or is empty."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._prefix and scope["path"] == self._prefix:  # the page's own addresses are relative to a folder
            await RedirectResponse(f"{self._prefix}/", 307)(scope, receive, send)
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        inside = {**scope, PREFIX: self._prefix, "root_path": ""}
        if self._prefix and scope["path"].startswith(f"{self._prefix}/"):
            inside |= {"path": scope["path"][len(self._prefix) :], "raw_path": raw[len(self._prefix) :]}
        await self._app(inside, receive, send)


def prefix_of(scope: Scope) -> str:
    """The path that the app is reached below."""
    return str(scope.get(PREFIX, ""))
