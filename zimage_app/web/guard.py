"""Refuses requests with a foreign host, from other sites' pages, with ambiguous paths or large bodies.

Wraps page and REST alike, and adds the security headers to every response. It ignores owners, logins and routes.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.hosts import Hosts
from zimage_app.web.refusal import refusal

MAX_FILE = 64 * 2**20
"""Maximum bytes of a request that uploads a file: of the largest accepted picture."""
TAKES_FILES = ("/import", "/inputs", "/api/inputs", "/many/batch")
MAX_BODY = 4 * 2**20
"""Bytes of any other request."""
STARTUP = "/gradio_api/startup-events"
"""The path that Gradio requests from itself before it is ready."""
PAGES = ("/", "/docs", "/login")
"""Paths that other sites may link to."""
NONCE = "zimage_nonce"
"""Key in a request's scope of the nonce that inline scripts of the response must have."""

_FOREIGN_HOST = Text(
    "This app doesn't answer under that name. Behind a proxy, start it with --allow-host NAME.",
    "本程序不以该域名提供服务。如使用反向代理，请加 --allow-host 域名 启动。",
)
_FOREIGN_ORIGIN = Text("Pages of other sites may not call this app.", "不允许其他网站的页面调用本程序。")
_NOT_FOUND = Text("There is nothing at this address.", "这个地址没有内容。")
_NO_FORMS = Text(
    "Files are not taken as forms; send the file itself as the body.",
    "不接受表单形式的文件；请直接以文件内容作为请求体。",
)
_STARTING = Text("The app is starting; try again in a moment.", "程序正在启动，请稍候再试。")
_TOO_LARGE = Text(
    f"The request is too large; at most {MAX_BODY // 2**20} MB are taken, and {MAX_FILE // 2**20} MB of a file.",
    f"请求过大，最多 {MAX_BODY // 2**20} MB，文件最多 {MAX_FILE // 2**20} MB。",
)
_AMBIGUOUS_PATH = re.compile(rb"[\x00-\x1f\x7f\\]|//|/\.{1,2}(/|\Z)")
_AMBIGUOUS_ESCAPE = re.compile(rb"%(2f|5c|2e|25|[01][0-9a-f]|7f)", re.IGNORECASE)
"""Escaped slashes, dots, percent signs and control characters, which make one path look like another."""
_FRAME = "base-uri 'self'; form-action 'self'; object-src 'none'; frame-ancestors 'self'"
_PAGE_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'nonce-{nonce}' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'; " + _FRAME
)
"""Gradio needs ``unsafe-eval`` and inline styles; inline scripts need the page's nonce."""
_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'self'"
"""For all other responses: a browser that displays one must not run anything in it."""


class Gate:
    """Whether the app answers requests; closed while it starts."""

    def __init__(self) -> None:
        self.is_open = True

    def open(self) -> None:
        """Answer requests from now on."""
        self.is_open = True

    def shut(self) -> None:
        """Answer with status 503 until ``open``."""
        self.is_open = False


class GuardMiddleware:
    """Checks each request first, and adds the security headers to its response last."""

    def __init__(self, app: ASGIApp, hosts: Hosts, *, framed_by: str = "", gate: Gate | None = None) -> None:
        """``framed_by`` is the one other site that may embed the page in a frame, for a Space."""
        self._app = app
        self._hosts = hosts
        self._framed_by = framed_by
        self._gate = gate or Gate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the app has no WebSocket routes
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = {**scope, NONCE: secrets.token_urlsafe(16)}
        dressed = _SendWithHeaders(send, self._framed_by, scope[NONCE])
        if not self._gate.is_open and scope["path"] != STARTUP:
            await _starting(scope)(scope, receive, dressed)
            return
        reason = self._reason(scope)
        if reason is not None:
            await refusal(scope, *reason)(scope, receive, dressed)
            return
        try:
            await self._app(scope, _LimitedReceive(receive, _max_body(scope)), dressed)
        except HTTPException as error:  # a body that is too large or too slow, read before any route
            if dressed.begun:
                raise
            await PlainTextResponse(error.detail, error.status_code, headers=error.headers)(scope, receive, dressed)

    def _reason(self, scope: Scope) -> tuple[int, Text] | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if not self._hosts.knows(headers.get("host", "")):
            return 400, _FOREIGN_HOST
        if origin is not None and not self._hosts.same(origin, headers):
            return 403, _FOREIGN_ORIGIN
        if _is_foreign(scope, headers, framed=bool(self._framed_by)):
            return 403, _FOREIGN_ORIGIN
        if is_ambiguous_path(scope.get("raw_path") or scope["path"].encode()):
            return 404, _NOT_FOUND
        # The app never sends multipart forms, and Gradio would write their files to disk before any check.
        if headers.get("content-type", "").strip().lower().startswith("multipart/"):
            return 415, _NO_FORMS
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _max_body(scope):
            return 413, _TOO_LARGE
        return None


def _starting(scope: Scope) -> Response:
    """The response until the gate opens. Gradio checks with a HEAD of the page whether its port can be reached."""
    if scope["method"] == "HEAD" and scope["path"] == "/":
        return PlainTextResponse("")
    return refusal(scope, 503, _STARTING, "auto", **{"retry-after": "1"})


def _is_foreign(scope: Scope, headers: Headers, *, framed: bool) -> bool:
    """Whether the browser's headers say that another site's page sent the request; links to pages are allowed."""
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    shown = ("document", "iframe") if framed else ("document",)
    follows = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in shown
    return not (follows and scope["method"] in ("GET", "HEAD") and scope["path"] in PAGES)


def is_ambiguous_path(raw_path: bytes) -> bool:
    """Whether a path is written so that routes and the checks of paths could interpret it differently."""
    return bool(_AMBIGUOUS_ESCAPE.search(raw_path) or _AMBIGUOUS_PATH.search(unquote_to_bytes(raw_path)))


def _max_body(scope: Scope) -> int:
    """Most bytes of the request's body."""
    return MAX_FILE if scope["path"].rstrip("/") in TAKES_FILES else MAX_BODY


class _LimitedReceive:
    """A ``receive`` that raises HTTPException 413 once the body exceeds ``max_bytes``, whatever its header says."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._left = max_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise HTTPException(413, str(_TOO_LARGE))
        return message


class _SendWithHeaders:
    """A ``send`` that adds the security headers to the response."""

    def __init__(self, send: Send, framed_by: str, nonce: str) -> None:
        self._send = send
        self._framed_by = framed_by
        self._nonce = nonce
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(raw=message["headers"])
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["content-security-policy"] = self._policy(headers.get("content-type", ""))
            if not self._framed_by:
                headers["x-frame-options"] = "SAMEORIGIN"
        await self._send(message)

    def _policy(self, kind: str) -> str:
        if not kind.startswith("text/html"):
            return _FILE_POLICY
        if self._framed_by:  # a Space's frame adds its own script, and only this header can name a site
            return f"{_FRAME} {self._framed_by}"
        return _PAGE_POLICY.format(nonce=self._nonce)


def with_nonce(page: bytes, scope: Scope) -> bytes:
    """The page with the request's nonce on its scripts, so that only these run; scripts injected later can't."""
    return page.replace(b"<script", f'<script nonce="{scope.get(NONCE, "")}"'.encode())
