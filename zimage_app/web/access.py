"""Authentication on every route: visitors by name and password, programs by API key. It doesn't know who owns what.

A login lasts until the app ends or the visitor opens ``/logout``. Programs may send name and password with each
request instead (HTTP Basic), and Gradio's client can log in through ``/login`` as usual.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.client import client_of
from zimage_app.web.cookies import cookie
from zimage_app.web.credentials import Credentials
from zimage_app.web.json_bodies import read_body
from zimage_app.web.language import LOCALES, LanguageChoice, language_of
from zimage_app.web.owner import KEY_OWNER, LOCAL, LOCAL_HEADER, has_malformed_owner, key_owner
from zimage_app.web.prefix import prefix_of
from zimage_app.web.refusal import API, is_api, refusal

SESSION_COOKIE = "studio_session"
_OPEN = ("/health", "/gradio_api/startup-events")
"""Paths that reveal nothing and must answer without a login."""
_PUBLISHED = f"{API}/openapi.json"
_MAX_SESSIONS = 10_000
_FAILURES = 10
"""Wrong passwords for one name from one address before that name and address have to wait."""
_PAUSE = 60.0
_MAX_COUNTED = 10_000
_COUNTED_NAME = 64
"""Names are counted by their first characters, this many; longer names with the same beginning share a count."""
_LOGIN_BODY = 10_000

_OWNER_NAME = "X-Studio-Owner"
_NO_KEY = Text(
    "Send the API key, as Authorization: Bearer KEY or X-API-Key: KEY.",
    "请提供 API 密钥：Authorization: Bearer 密钥 或 X-API-Key: 密钥。",
)
_WRONG_KEY = Text(
    "The API key is wrong; send the one that the app was started with, as Authorization: Bearer KEY or X-API-Key: KEY.",
    "API 密钥错误；请提供启动程序时设置的密钥：Authorization: Bearer 密钥 或 X-API-Key: 密钥。",
)
_NO_OWNER = Text(
    f"{_OWNER_NAME}: must be 32 hexadecimal digits; send what the app answered, or leave the header out.",
    f"{_OWNER_NAME}：必须是 32 位十六进制数字；请使用程序返回的值，或不要发送该请求头。",
)
_NO_LOGIN = Text("Log in first.", "请先登录。")
_WRONG = Text("Name or password is wrong.", "用户名或密码错误。")
_SLOW = Text("Too many wrong passwords; wait a minute.", "密码错误次数过多，请一分钟后再试。")
_TITLE = Text("Log in", "登录")
_NAME = Text("Name", "用户名")
_PASSWORD = Text("Password", "密码")


class _Failures:
    """Counts wrong passwords by name and address, to limit guessing without locking out other addresses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait(self, name: str, address: str) -> float:
        """Seconds before this name may be tried again from this address; 0 if it may be tried now."""
        count, first = self._counts.get((name[:_COUNTED_NAME], address), (0, 0.0))
        left = first + _PAUSE - self._clock()
        return left if count >= _FAILURES and left > 0 else 0.0

    def add(self, name: str, address: str) -> None:
        """Count one wrong password."""
        key = (name[:_COUNTED_NAME], address)
        count, first = self._counts.pop(key, (0, self._clock()))
        expired = self._clock() - first > _PAUSE
        self._counts[key] = (1, self._clock()) if expired else (count + 1, first)
        while len(self._counts) > _MAX_COUNTED:
            self._counts.popitem(last=False)


class AccessMiddleware:
    """Passes authenticated requests on; others get status 401 or the login page."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        default_language: LanguageChoice = "auto",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._default_language = default_language
        self._failures = _Failures(clock)
        self._sessions: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """The response to a login, a logout or an unauthenticated request; None to pass the request on."""
        path = scope["path"].rstrip("/")
        visitor = HTTPConnection(scope)
        if has_malformed_owner(visitor):
            return refusal(scope, 422, _NO_OWNER, self._default_language, field=_OWNER_NAME)
        if is_api(scope) and self._credentials.is_local_key(visitor.headers.get(LOCAL_HEADER, "")):
            scope[LOCAL] = True
            return None
        key = self._has_key(visitor)
        if key:
            scope[KEY_OWNER] = key_owner(self._credentials.api_key)
        if self._credentials.users and path == "/login":
            return await self._login(Request(scope, receive))
        if self._credentials.users and path == "/logout":
            return self._logout(visitor)
        if path in _OPEN or (is_api(scope) and key):
            return None
        if self._credentials.users:
            return self._unless_logged_in(visitor)
        if is_api(scope) and self._credentials.api_key and path != _PUBLISHED:
            text = _WRONG_KEY if any(_keys(visitor)) else _NO_KEY
            return refusal(scope, 401, text, self._default_language, **{"www-authenticate": "Bearer"})
        return None

    def _has_key(self, visitor: HTTPConnection) -> bool:
        return any(map(self._credentials.is_key, _keys(visitor)))

    def _unless_logged_in(self, visitor: HTTPConnection) -> Response | None:
        if visitor.cookies.get(SESSION_COOKIE, "") in self._sessions:
            return None
        basic = _basic(visitor)
        if basic is not None:
            return self._check(visitor, *basic)
        if "text/html" in visitor.headers.get("accept", "") and visitor.scope["method"] == "GET":
            there = quote(visitor.scope["path"], safe="/")
            return RedirectResponse(f"{prefix_of(visitor.scope)}/login?next={there}", 303)
        text = _NO_LOGIN
        if self._credentials.api_key and is_api(visitor.scope):
            text = _WRONG_KEY if any(_keys(visitor)) else _NO_KEY
        return refusal(visitor.scope, 401, text, self._default_language)

    def _check(self, visitor: HTTPConnection, name: str, password: str) -> Response | None:
        """None for a correct password, else the response."""
        address = client_of(visitor.scope)
        if wait := self._failures.wait(name, address):
            return refusal(visitor.scope, 429, _SLOW, self._default_language, **{"retry-after": str(round(wait) + 1)})
        if self._credentials.fits(name, password):
            return None
        self._failures.add(name, address)
        return refusal(visitor.scope, 401, _WRONG, self._default_language)

    async def _login(self, request: Request) -> Response:
        there = request.query_params.get("next", "/")
        if request.method != "POST":
            return self._form(request, there)
        body = await read_body(request, _LOGIN_BODY)
        if len(body) > _LOGIN_BODY:
            return refusal(request.scope, 413, _WRONG, self._default_language)
        given = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
        name, password = (given.get(field, [""])[0] for field in ("username", "password"))
        failed = self._check(request, name, password)
        person = "text/html" in request.headers.get("accept", "")
        if failed is not None:
            return self._form(request, there, failed.status_code) if person else failed
        answer: Response = JSONResponse({"success": True})
        if person:
            answer = RedirectResponse(prefix_of(request.scope) + _inside(there), 303)
        self._begin(request, answer)
        return answer

    def _begin(self, visitor: HTTPConnection, answer: Response) -> None:
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        answer.headers["set-cookie"] = cookie(visitor, SESSION_COOKIE, session)

    def _logout(self, visitor: HTTPConnection) -> Response:
        self._sessions.pop(visitor.cookies.get(SESSION_COOKIE, ""), None)
        answer = RedirectResponse(f"{prefix_of(visitor.scope)}/login", 303)
        answer.headers["set-cookie"] = cookie(visitor, SESSION_COOKIE, "", 0)
        return answer

    def _form(self, request: Request, there: str, status: int = 200) -> Response:
        language = language_of(request, self._default_language)
        problem = {401: _WRONG, 429: _SLOW}.get(status, Text("", ""))
        words = {
            "language": LOCALES[language],
            "title": _TITLE.to(language),
            "name": _NAME.to(language),
            "password": _PASSWORD.to(language),
            "problem": problem.to(language),
            "action": f"{prefix_of(request.scope)}/login?next={quote(_inside(there), safe='/')}",
        }
        page = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
        for name, word in words.items():
            page = page.replace(f"{{{name}}}", escape(word))
        return HTMLResponse(page, status, headers={"cache-control": "no-store"})


def _keys(visitor: HTTPConnection) -> tuple[str, str]:
    """The API keys that a request holds; empty where there is none."""
    scheme, _, given = visitor.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else "", visitor.headers.get("x-api-key", "")


def _basic(visitor: HTTPConnection) -> tuple[str, str] | None:
    scheme, _, given = visitor.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def _inside(path: str) -> str:
    """``path`` where it stays on this site, else ``/``; prevents open redirects after the login."""
    own = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if own else "/"
