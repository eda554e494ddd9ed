"""What no request gets past: foreign names and origins, large bodies, Gradio's routes that this app has no use for.

Stands before the page and REST alike, and puts the headers on that keep browsers from reading answers otherwise than
meant. Knows no owners and no logins.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.hosts import Hosts
from zimage_app.web.refusal import refusal

MAX_FILE = 64 * 2**20
"""Bytes of a request that brings a file: a dropped picture of the largest kind that is read."""
TAKES_FILES = ("/import", "/inputs", "/api/inputs")
MAX_BODY = 4 * 2**20
"""Bytes of any other request. They are read as JSON, which takes many times that in memory."""

CLOSED = (
    "proxy=",  # fetches from other hosts
    "file=http:",
    "file=https:",
    "stream/",
    "upload",  # files are taken by routes of our own, which look at them first
    "deep_link",  # writes a file for each call
    "process_recording",
    "run-history",
    "runs",
    "vibe",  # writes the app's source
    "undo-vibe",
    "dev/",
    "profiling",
    "monitoring",
    "custom_component/",
)
"""Addresses of Gradio's below ``/gradio_api/`` that are not served."""

_FOREIGN_HOST = Text(
    "This app doesn't answer under that name. Behind a proxy, start it with --allow-host NAME.",
    "本程序不以该域名提供服务。如使用反向代理，请加 --allow-host 域名 启动。",
)
_FOREIGN_ORIGIN = Text("Pages of other sites may not call this app.", "不允许其他网站的页面调用本程序。")
_NOTHING = Text("There is nothing at this address.", "这个地址没有内容。")
_CLOSED = Text("This address is closed.", "该地址已关闭。")
_NO_FORMS = Text(
    "Files are not taken as forms; send the file itself as the body.",
    "不接受表单形式的文件；请直接以文件内容作为请求体。",
)
_TOO_LARGE = Text(
    f"The request is too large; at most {MAX_BODY // 2**20} MB are taken, and {MAX_FILE // 2**20} MB of a file.",
    f"请求过大，最多 {MAX_BODY // 2**20} MB，文件最多 {MAX_FILE // 2**20} MB。",
)
_POLICY = "base-uri 'self'; form-action 'self'; object-src 'none'; frame-ancestors 'self'"
_OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
"""Gradio builds functions from text and styles inline; but no script, font or picture comes from elsewhere."""


class GuardMiddleware:
    """The first to see a request, the last to see its answer."""

    def __init__(self, app: ASGIApp, hosts: Hosts, *, framed_by: str = "") -> None:
        """``framed_by`` is the one site beside our own that may show the page in a frame: a Space's."""
        self._app = app
        self._hosts = hosts
        self._framed_by = framed_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no WebSocket here
            await send({"type": "websocket.close", "code": 1008})
            return
        dressed = _Dressed(send, self._framed_by)
        reason = self._reason(scope)
        if reason is not None:
            await refusal(scope, *reason)(scope, receive, dressed)
            return
        await self._app(scope, _Bounded(receive, _most(scope)), dressed)

    def _reason(self, scope: Scope) -> tuple[int, Text] | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._hosts.knows(host):
            return 400, _FOREIGN_HOST
        if origin is not None and not self._hosts.same(origin, host):
            return 403, _FOREIGN_ORIGIN
        if any(letter < " " for letter in scope["path"]):  # no route has one, and patterns read them oddly
            return 404, _NOTHING
        if is_closed(scope["path"]):
            return 403, _CLOSED
        # Nothing here sends one, and Gradio would write its files down before it looks at them.
        if headers.get("content-type", "").strip().lower().startswith("multipart/"):
            return 415, _NO_FORMS
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _most(scope):
            return 413, _TOO_LARGE
        return None


def _most(scope: Scope) -> int:
    """Bytes that a request's body may have."""
    return MAX_FILE if scope["path"].rstrip("/") in TAKES_FILES else MAX_BODY


def is_closed(path: str) -> bool:
    """Whether an address is one of Gradio's that are not served."""
    _, prefix, rest = path.lower().partition("/gradio_api/")
    return bool(prefix) and rest.replace("= ", "=").startswith(CLOSED)


class _Bounded:
    """A body that ends the request once it is longer than it may be, whatever length was announced."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise HTTPException(413, str(_TOO_LARGE))
        return message


class _Dressed:
    """An answer with the headers that every answer has."""

    def __init__(self, send: Send, framed_by: str) -> None:
        self._send = send
        self._framed_by = framed_by

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            if self._framed_by:  # a Space: its frame brings a script of its own, and only one header can name a site
                headers["content-security-policy"] = f"{_POLICY} {self._framed_by}"
            else:
                headers["content-security-policy"] = _OWN_ONLY + _POLICY
                headers["x-frame-options"] = "SAMEORIGIN"
        await self._send(message)
