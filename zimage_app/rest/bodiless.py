"""Answers without a body: to HEAD, and about files that the caller holds already."""

from __future__ import annotations

import os
from contextlib import suppress

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def takes_head(scope: Scope) -> bool:
    """Whether HEAD is answered where GET is; event streams have no end to be announced."""
    return not str(scope["path"]).endswith("/events")


class HeadMiddleware:
    """Answers HEAD as GET without the body, because FastAPI's routes take only the methods that they name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not takes_head(scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


class StoredFile(FileResponse):
    """A file; status 304 where the caller names its ETag in If-None-Match."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        given = Headers(scope=scope).get("if-none-match", "")
        held = [tag.strip().removeprefix("W/") for tag in given.split(",")]
        with suppress(OSError):  # reported by the base class
            self.set_stat_headers(await run_sync(os.stat, self.path))
            if "*" in held or self.headers["etag"] in held:
                await NotModifiedResponse(self.headers)(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
