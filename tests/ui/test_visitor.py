"""Which language a visitor gets, and what the page's HTML is given."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from zimage_app.ui.server.visitor import VisitorMiddleware
from zimage_app.web.language import LanguageChoice
from zimage_app.web.owner import OWNER_COOKIE, owner_of


def _client(default_language: LanguageChoice = "auto", base: str = "http://127.0.0.1") -> TestClient:
    def page(request: Request) -> HTMLResponse:
        del request
        return HTMLResponse("<html><head><title>x</title></head></html>")

    def owner(request: Request) -> JSONResponse:
        return JSONResponse(owner_of(request))

    routes = [Route("/", page), Route("/owner", owner), Route("/other", page)]
    return TestClient(
        Starlette(routes=routes, middleware=[Middleware(VisitorMiddleware, default_language=default_language)]),
        base_url=base,
    )


def _language(page: str) -> str | None:
    found = re.search(r'"language": "([\w-]+)".*get:\(\)=>"([\w-]+)"', page)
    assert found
    assert {"zh": "zh-CN", "zh-Hant": "zh-TW", "en": "en"}[found[1]] == found[2]
    return found[1]


@pytest.mark.parametrize(
    ("default_language", "header", "cookie", "language"),
    [
        ("auto", "zh-HK,en;q=0.5", "", "zh-Hant"),
        ("auto", "zh-TW,zh;q=0.9", "", "zh-Hant"),
        ("auto", "zh-CN,zh-TW;q=0.9", "", "zh"),
        ("auto", "en", "zh-Hant", "zh-Hant"),
        ("zh-Hant", "en", "", "zh-Hant"),
        ("auto", "zh", "", "zh"),
        ("auto", "en-GB,zh;q=0.5", "", "en"),
        ("auto", "", "", "en"),
        ("auto", "fr-FR,fr;q=0.9", "", "en"),
        ("auto", "zh", "en", "en"),
        ("auto", "zh", "fr", "zh"),
        ("en", "zh", "", "en"),
        ("zh", "en", "", "zh"),
        ("zh", "zh", "en", "en"),
    ],
)
def test_button_then_flag_then_browser(
    default_language: LanguageChoice, header: str, cookie: str, language: str
) -> None:
    cookies = f"studio_language={cookie}" if cookie else ""
    answer = _client(default_language).get("/", headers={"accept-language": header, "cookie": cookies})
    assert _language(answer.text) == language


def test_the_script_comes_first_and_other_pages_are_left_alone() -> None:
    client = _client()
    answer = client.get("/")
    assert '<head><script nonce="">window.studio=' in answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "studio" not in client.get("/other").text


def test_a_browser_keeps_its_owner() -> None:
    client = _client()
    assert client.get("/owner").json() == ""
    cookie = client.get("/").headers["set-cookie"]
    assert "HttpOnly; SameSite=Lax" in cookie
    owner = client.get("/owner").json()
    assert re.fullmatch("[0-9a-f]{32}", owner)
    assert "set-cookie" not in client.get("/").headers
    assert client.get("/owner").json() == owner


def test_inside_the_frame_of_a_space_the_cookie_is_partitioned() -> None:
    cookie = _client().get("/", headers={"x-forwarded-proto": "https,http"}).headers["set-cookie"]
    assert cookie.endswith("SameSite=None; Secure; Partitioned")


def test_a_made_up_owner_is_none() -> None:
    assert _client().get("/owner", headers={"cookie": f"{OWNER_COOKIE}=../../etc"}).json() == ""
