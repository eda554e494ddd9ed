"""Logins and the key for programs: who is let in where."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from zimage_app.domain.errors import RequestError
from zimage_app.web.access import SESSION_COOKIE, AccessMiddleware
from zimage_app.web.credentials import Credentials, read_credentials
from zimage_app.web.owner import owner_of

KEY = "key-0123456789abcdef"
USERS = {"anna": "correct horse", "小明": "正确的密码很长"}
EVERYWHERE = ("/", "/pictures/x.png", "/api/history", "/api/openapi.json", "/docs", "/gradio_api/info", "/import", "/x")


class Clock:
    """Stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def _who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(owner_of(request))


def client(users: dict[str, str] | None = None, key: str = "", clock: Clock | None = None) -> TestClient:
    app = Starlette(
        routes=[Route("/{path:path}", _who, methods=["GET", "POST"])],
        middleware=[Middleware(AccessMiddleware, credentials=Credentials(users or {}, key), clock=clock or Clock())],
    )
    return TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False)


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def log_in(page: TestClient, name: str, password: str, **headers: str) -> int:
    form = {"username": name, "password": password}
    return page.post("/login", data=form, headers=headers).status_code


def test_without_logins_and_key_everybody_comes_in() -> None:
    page = client()
    assert {page.get(path).status_code for path in EVERYWHERE} == {200}
    assert page.get("/login").text == "", "a route like any other"


@pytest.mark.parametrize("path", EVERYWHERE)
def test_a_login_covers_every_route(path: str) -> None:
    page = client(USERS)
    assert page.get(path).status_code == 401
    assert page.post(path).status_code == 401
    assert page.get(path, headers=basic("anna", "wrong")).status_code == 401
    assert page.get(path, headers={"authorization": "Basic !"}).status_code == 401
    assert page.get(path, headers={"cookie": f"{SESSION_COOKIE}=made-up"}).status_code == 401
    assert page.get(path, headers=basic("anna", "correct horse")).status_code == 200
    assert log_in(page, "小明", "正确的密码很长") == 200
    assert page.get(path).status_code == 200


def test_only_a_sign_of_life_is_open() -> None:
    assert client(USERS, KEY).get("/health").status_code == 200
    assert client(USERS, KEY).get("/health/x").status_code == 401


def test_a_person_is_shown_the_login_page_and_led_back() -> None:
    page = client(USERS)
    asked = page.get("/docs", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/docs")
    form = page.get(asked.headers["location"], headers={"accept": "text/html", "accept-language": "zh"})
    assert "用户名" in form.text
    again = page.post(
        asked.headers["location"], data={"username": "anna", "password": "x"}, headers={"accept": "text/html"}
    )
    assert again.status_code == 401
    assert "Name or password is wrong" in again.text
    there = page.post(
        asked.headers["location"],
        data={"username": "anna", "password": "correct horse"},
        headers={"accept": "text/html"},
    )
    assert (there.status_code, there.headers["location"]) == (303, "/docs")
    assert "HttpOnly" in there.headers["set-cookie"]
    assert page.get("/docs").status_code == 200


@pytest.mark.parametrize("there", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "x\n"])
def test_the_login_page_leads_nowhere_else(there: str) -> None:
    answer = client(USERS).post(
        "/login",
        params={"next": there},
        data={"username": "anna", "password": "correct horse"},
        headers={"accept": "text/html"},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_what_the_form_is_given_is_no_html() -> None:
    form = client(USERS).get("/login", params={"next": '/"><script>alert(1)</script>'})
    assert "<script" not in form.text


def test_logging_out_ends_the_login() -> None:
    page = client(USERS)
    log_in(page, "anna", "correct horse")
    session = page.cookies[SESSION_COOKIE]
    assert page.get("/logout").status_code == 303
    assert page.get("/x", headers={"cookie": f"{SESSION_COOKIE}={session}"}).status_code == 401


def test_many_wrong_passwords_have_to_wait() -> None:
    clock = Clock()
    page = client(USERS, clock=clock)
    assert [log_in(page, "anna", f"guess {number}") for number in range(10)] == [401] * 10
    assert log_in(page, "anna", "correct horse") == 429
    assert int(page.get("/x", headers=basic("anna", "correct horse")).headers["retry-after"]) <= 61
    clock.now += 61
    assert log_in(page, "anna", "wrong again") == 401
    assert log_in(page, "anna", "correct horse") == 200


def test_wrong_passwords_keep_nobody_else_out() -> None:
    page = client(USERS, clock=Clock())
    for number in range(20):
        forged = {"x-forwarded-for": f"198.51.100.{number}", "forwarded": f"for=198.51.100.{number}"}
        assert log_in(page, "anna", f"guess {number}", **forged) == (401 if number < 10 else 429)
    assert log_in(page, "小明", "正确的密码很长") == 200, "another's account, from the same address"
    elsewhere = TestClient(page.app, client=("192.0.2.1", 1), follow_redirects=False)
    assert log_in(elsewhere, "anna", "correct horse") == 200, "the same account, from another address"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"x-api-key": KEY[:-1]}, 401),
        ({"x-api-key": ""}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": KEY}, 401),
    ],
)
def test_a_key_covers_rest_and_nothing_else(headers: dict[str, str], status: int) -> None:
    page = client(key=KEY)
    assert page.get("/api/history", headers=headers).status_code == status
    assert page.post("/api/generate/", headers=headers).status_code == status
    assert page.get("/", headers=headers).status_code == 200
    assert page.get("/api/openapi.json").status_code == 200


@pytest.mark.parametrize("users", [None, USERS])
def test_a_wrong_key_is_told_from_none(users: dict[str, str] | None) -> None:
    page = client(users, KEY)
    for headers in ({"x-api-key": KEY[:-1]}, {"authorization": "Bearer x"}):
        answer = page.get("/api/history", headers=headers)
        assert (answer.status_code, answer.json()["detail"][:20]) == (401, "The API key is wrong")
        assert (
            page.get("/api/history", headers=headers | {"accept-language": "zh"})
            .json()["detail"]
            .startswith("API 密钥错误")
        )
    assert page.get("/api/history").json()["detail"].startswith("Send the API key")


def test_a_key_opens_rest_behind_a_login_but_not_the_page() -> None:
    page = client(USERS, KEY)
    with_key = {"x-api-key": KEY}
    assert page.get("/api/history", headers=with_key).status_code == 200
    assert page.get("/", headers=with_key).status_code == 401
    assert page.get("/apiary", headers=with_key).status_code == 401
    assert page.get("/api/history", headers=basic("anna", "correct horse")).status_code == 200
    assert page.get("/api/openapi.json").status_code == 401


def test_the_holder_of_a_key_is_one_owner_and_nobody_becomes_it_without() -> None:
    page = client(key=KEY)
    owner = page.get("/api/x", headers={"x-api-key": KEY}).text
    assert len(owner) == 32
    assert client(key=KEY).get("/api/x", headers={"authorization": f"Bearer {KEY}"}).text == owner
    assert client(key=KEY + "x").get("/api/x", headers={"x-api-key": KEY + "x"}).text != owner
    given = {"x-api-key": KEY, "x-studio-owner": "0123456789abcdef" * 2}
    assert page.get("/api/x", headers=given).text == "0123456789abcdef" * 2
    assert page.get("/x").text == ""


def test_credentials_come_from_flags_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text("# ours\nbert:password:with:colons\n\n", encoding="utf-8")
    read = read_credentials(
        ["anna:correct horse"], file, None, {"ZIMAGE_AUTH": "carl:12345678\n", "ZIMAGE_API_KEY": KEY}
    )
    assert read.fits("anna", "correct horse")
    assert read.fits("bert", "password:with:colons")
    assert read.fits("carl", "12345678")
    assert not read.fits("nobody", "12345678")
    assert not read.fits("anna", "12345678")
    assert read.is_key(KEY)
    assert not read_credentials([], None, None, {}).is_key("")
    assert "correct" not in repr(read)


@pytest.mark.parametrize(
    ("auth", "file", "key", "named"),
    [
        (["anna"], None, None, "--auth: must have the form USER:PASSWORD"),
        ([":12345678"], None, None, "--auth: must have the form USER:PASSWORD"),
        (["anna:short"], None, None, "--auth: the password of anna is too short"),
        ([], "missing", None, "--auth-file: .*missing cannot be read: No such file"),
        ([], None, "short", "--api-key: has 5 characters"),
        ([], None, "", "--api-key: has 0 characters"),
    ],
)
def test_credentials_that_keep_nobody_out_are_refused(
    auth: list[str], file: str | None, key: str | None, named: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=named):
        read_credentials(auth, tmp_path / file if file else None, key, {})
