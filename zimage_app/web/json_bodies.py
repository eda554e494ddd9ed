"""Parses JSON bodies off the event loop, with bounds on bytes, elements, depth and text length.

A body of 4 MB can hold two million elements, which take validation ten seconds. So patterns count the elements
first, at about 100 MB per second, and only small bodies are parsed. Fields are not checked here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.language import LanguageChoice
from zimage_app.web.refusal import refusal

MAX_JSON = 512 * 2**10
"""Bytes of a JSON body. The longest bodies that the page sends hold a few texts of 8,000 characters."""
MAX_ELEMENTS = 5_000
MAX_DEPTH = 32
MAX_TEXT = 384 * 2**10
"""Bytes of one string as written in JSON, where a character may take twelve."""
JSON_BODY = "zimage_json"
"""Key in a request's scope: the parsed body; missing without a body, or where it isn't JSON."""

_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, terminated or not; possessive, so that each byte is read once."""
_BRACKETS = re.compile(rb"[\[\]{}]")
_WORKERS = 2

_TOO_LONG = Text(f"The body is too long; at most {MAX_JSON // 2**10} KB.", f"请求过长，最多 {MAX_JSON // 2**10} KB。")
_TOO_MANY = Text(
    f"The body has too many elements; at most {MAX_ELEMENTS}.", f"请求中的元素过多，最多 {MAX_ELEMENTS} 个。"
)
_TOO_DEEP = Text(f"The body is nested too deeply; at most {MAX_DEPTH} levels.", f"请求嵌套过深，最多 {MAX_DEPTH} 层。")
_LONG_TEXT = Text(
    f"A text in the body is too long; at most {MAX_TEXT // 2**10} KB.",
    f"请求中有文本过长，最多 {MAX_TEXT // 2**10} KB。",
)
_NOT_UTF8 = Text("The body must be JSON in UTF-8.", "请求内容必须是 UTF-8 编码的 JSON。")
_BUSY = Text("Too many requests are being read; try again in a second.", "正在读取的请求过多，请稍后重试。")
_MAX_WAITING = 64
"""Bodies held in memory until a worker is free."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status and reason with which a body is refused."""

    status: int
    text: Text


class JsonMiddleware:
    """Parses the bodies of all requests except file uploads, and refuses bodies above the bounds."""

    def __init__(self, app: ASGIApp, files: Sequence[str], default_language: LanguageChoice = "auto") -> None:
        """``files`` are the upload paths, whose bodies are not JSON."""
        self._app = app
        self._files = frozenset(files)
        self._default_language = default_language
        self._pool = ThreadPoolExecutor(_WORKERS, "json")
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read one body and pass the request on, or refuse it."""
        takes_json = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if not takes_json or scope["path"].rstrip("/") in self._files:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(Request(scope, receive), MAX_JSON)
        except ClientDisconnect:
            return
        found = await self._parsed(body)
        if isinstance(found, Refusal):
            await refusal(scope, found.status, found.text, self._default_language)(scope, receive, send)
            return
        await self._app({**scope, **found}, _ReplayedBody(body, receive), send)

    async def _parsed(self, body: bytes) -> dict[str, Any] | Refusal:
        """The entries to add to the scope, or the refusal."""
        if not body:
            return {}
        if len(body) > MAX_JSON:
            return Refusal(413, _TOO_LONG)
        if self._waiting >= _MAX_WAITING:
            return Refusal(503, _BUSY)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _parse, body)
        finally:
            self._waiting -= 1


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a request's body; reading stops soon after ``max_bytes`` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body)


def _parse(body: bytes) -> dict[str, Any] | Refusal:
    if reason := exceeded_bound(body):
        return Refusal(422, reason)
    try:
        return {JSON_BODY: json.loads(body)}
    except ValueError:  # the endpoint reports it, with the position
        return {}


def exceeded_bound(body: bytes) -> Text | None:
    """The bound that a JSON text exceeds; None where it may be parsed. Linear in its length."""
    if b"\0" in body:  # UTF-16 and UTF-32, which json.loads accepts too
        return _NOT_UTF8
    longest = max((len(text) for text in _TEXTS.findall(body)), default=0)
    if longest > MAX_TEXT:
        return _LONG_TEXT
    bare = _TEXTS.sub(b"", body)
    brackets = _BRACKETS.findall(bare)
    if bare.count(b",") + len(brackets) > MAX_ELEMENTS:
        return _TOO_MANY
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return _TOO_DEEP
    return None


class _ReplayedBody:
    """A ``receive`` that returns the body already read, then passes on the client's further messages."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
