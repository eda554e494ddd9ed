"""Adds the owner's cookie, the visitor's language and the page's first script to the HTML of the page.

Gradio chooses its language by ``navigator.language`` before other scripts can run, and knows ``zh-CN`` but neither
``zh`` nor ``zh-HK``; so a script in the HTML itself sets the language first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_app.ui.asset import asset
from zimage_app.ui.words.i18n import catalogue
from zimage_app.web.guard import with_nonce
from zimage_app.web.language import LANGUAGE_COOKIE, LOCALES, LanguageChoice, language_of
from zimage_app.web.owner import new_owner, owner_cookie, owner_of

_SCRIPTS = ("frames.js", "studio.js", "actions.js", "signals.js", "keyboard.js", "queue.js", "connection.js")
"""Scripts that all other scripts of the page depend on."""


def visitor_of(request: gr.Request) -> HTTPConnection:
    """Return the Starlette request inside the one that Gradio passes to a function."""
    if request.request is None:
        raise RuntimeError("called without a visitor's request")
    return request.request


class VisitorMiddleware:
    """Adds an owner's cookie where there is none, and the language and words, to every page load."""

    def __init__(self, app: ASGIApp, default_language: LanguageChoice = "auto") -> None:
        self._app = app
        self._default_language = default_language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; only the response for the page itself is changed."""
        if scope["type"] != "http" or scope["path"] not in ("", "/") or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _PageSend(send, HTTPConnection(scope), self._default_language))


class _PageSend:
    """Collects the whole page, then sends it with our script and cookie."""

    def __init__(self, send: Send, visitor: HTTPConnection, default_language: LanguageChoice) -> None:
        self._send = send
        self._visitor = visitor
        self._default_language = default_language
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body.replace(b"<head>", b"<head>" + self._script(), 1)
        body = with_nonce(body, self._visitor.scope)
        headers = MutableHeaders(raw=self._start["headers"])
        headers["content-length"] = str(len(body))
        headers["cache-control"] = "no-store"
        if not owner_of(self._visitor):
            headers.append("set-cookie", owner_cookie(self._visitor, new_owner()))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})

    def _script(self) -> bytes:
        language = language_of(self._visitor, self._default_language)
        page = {
            "language": language,
            "cookie": LANGUAGE_COOKIE,
            "words": {key: text.to(language) for key, text in catalogue(()).items()},
        }
        return (
            f"<script>window.studio={_script_json(page)};document.documentElement.lang={_script_json(LOCALES[language])};"
            f"Object.defineProperty(navigator,'language',{{get:()=>{_script_json(LOCALES[language])},configurable:true}});"
            f"{''.join(map(asset, _SCRIPTS))}</script>"
        ).encode()


def _script_json(value: str | Mapping[str, object]) -> str:
    """Return ``value`` as JSON that is safe inside a script element."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
