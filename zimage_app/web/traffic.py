"""Limits per visitor: request rate, open streams, uploads, and time for a body to arrive.

Requests from this machine aren't counted by address, because behind an unnamed proxy they come from everybody.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.client import client_of, is_this_machine
from zimage_app.web.guard import TAKES_FILES
from zimage_app.web.language import LanguageChoice
from zimage_app.web.owner import owner_of
from zimage_app.web.refusal import refusal

RATE = 50.0
"""Sustained requests per second from one address."""
BURST = 1000.0
"""Requests in a row before ``RATE`` applies; loading the page takes about 200."""
OWNER_STREAMS = 64
"""Open streams of one owner; a tab has one at most."""
CLIENT_STREAMS = 256
ALL_STREAMS = 768
CLIENT_FILES = 4
"""Concurrent uploads from one address; each takes up to 64 MB of memory."""
ALL_FILES = 16
BODY_SECONDS = 30.0
"""Time for a body to arrive, in addition to its bytes at ``BODY_RATE``."""
BODY_RATE = 16 * 2**10
"""Lowest rate in bytes per second at which a body must arrive."""
_MAX_CLIENTS = 10_000
_STREAM = re.compile(r"/gradio_api/(queue/data|call/[^/]+/[^/]+|mcp(/.*)?)|/api/generate/[^/]+/events")

_TOO_FAST = Text("Too many requests; wait a moment.", "请求过于频繁，请稍候。")
_TOO_MANY = Text("Too many pages or programs watch; close some.", "同时打开的页面或程序过多，请关闭一些。")
_TOO_MANY_FILES = Text(
    "Too many files are being sent at the moment; try again in some seconds.", "当前上传的文件过多，请过几秒再试。"
)
_TOO_SLOW = Text("The request took too long to arrive.", "请求传输过慢，已中断。")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Limits for one kind of request that is counted while it is open."""

    owner: int
    """Maximum open requests of one owner; ``client``: of one address; ``all``: in all."""
    client: int
    all: int
    too_many: Text


_STREAMS = _Kind(OWNER_STREAMS, CLIENT_STREAMS, ALL_STREAMS, _TOO_MANY)
_FILES = _Kind(ALL_FILES, CLIENT_FILES, ALL_FILES, _TOO_MANY_FILES)


class TrafficMiddleware:
    """Refuses requests above the limits with status 429."""

    def __init__(
        self, app: ASGIApp, default_language: LanguageChoice = "auto", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._default_language = default_language
        self._rates = _Rates(clock)
        self._open: Counter[tuple[_Kind, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        if not is_this_machine(scope) and not self._rates.take(client_of(scope)):
            await refusal(scope, 429, _TOO_FAST, self._default_language, **{"retry-after": "2"})(scope, receive, send)
        elif scope["method"] == "GET" and _STREAM.fullmatch(path):
            await self._counted(_STREAMS, scope, receive, send)
        elif scope["method"] == "POST" and path in TAKES_FILES:
            await self._counted(_FILES, scope, _TimedReceive(receive), send)
        else:
            await self._app(scope, _TimedReceive(receive), send)

    async def _counted(self, kind: _Kind, scope: Scope, receive: Receive, send: Send) -> None:
        keys = {(kind, ""): kind.all}
        if owner := owner_of(HTTPConnection(scope)):
            keys[kind, f"owner {owner}"] = kind.owner
        if not is_this_machine(scope):
            keys[kind, client_of(scope)] = kind.client
        if any(self._open[key] >= most for key, most in keys.items()):
            await refusal(scope, 429, kind.too_many, self._default_language, **{"retry-after": "10"})(
                scope, receive, send
            )
            return
        self._open.update(keys.keys())
        try:
            await self._app(scope, receive, send)
        finally:
            self._open.subtract(keys.keys())
            for key in keys:
                if not self._open[key]:
                    del self._open[key]


class _Rates:
    """A token bucket of requests per address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> bool:
        """Take a token for one request of this address; False where none is left."""
        now = self._clock()
        left, then = self._left.pop(client, (BURST, now))
        left = min(BURST, left + (now - then) * RATE)
        self._left[client] = (max(0.0, left - 1), now)
        while len(self._left) > _MAX_CLIENTS:
            self._left.popitem(last=False)
        return left >= 1


class _TimedReceive:
    """A ``receive`` that raises HTTPException 408 when the body arrives too slowly."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._began: float | None = None
        self._bytes = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._began = loop.time() if self._began is None else self._began
        try:
            async with asyncio.timeout_at(self._began + BODY_SECONDS + self._bytes / BODY_RATE):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, str(_TOO_SLOW), {"connection": "close"}) from error
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message
