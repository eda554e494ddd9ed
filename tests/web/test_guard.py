"""What is turned away before page and REST see it, and the headers that every answer has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from zimage_app.service.setup.settings import Settings
from zimage_app.web.credentials import Credentials
from zimage_app.web.guard import MAX_BODY, MAX_FILE, TAKES_FILES, Gate, GuardMiddleware, is_ambiguous_path, with_nonce
from zimage_app.web.hosts import Hosts
from zimage_app.web.middleware import middleware_config


async def _count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _page(request: Request) -> HTMLResponse:
    return HTMLResponse(with_nonce(b"<script>1</script>", request.scope))


async def _socket(socket: WebSocket) -> None:
    await socket.accept()


def client(hosts: Hosts | None = None, **options: Any) -> TestClient:
    methods = ["GET", "HEAD", "POST", "DELETE"]
    app = Starlette(
        routes=[
            Route("/page.html", _page),
            Route("/{path:path}", _count, methods=methods),
            WebSocketRoute("/socket", _socket),
        ],
        middleware=[Middleware(GuardMiddleware, hosts=hosts or Hosts(["studio.example"]), **options)],
    )
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("LOCALHOST:7860", 200),
        ("localhost.", 200),
        ("192.168.1.20:7860", 200),
        ("[::1]:7860", 200),
        ("studio.example", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("studio.example.evil.example", 400),
        ("localhost@evil.example", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_only_names_of_this_app_are_answered(host: str, status: int) -> None:
    assert client().get("/", headers={"host": host}).status_code == status


def test_a_name_can_be_added_while_the_app_runs() -> None:
    hosts = Hosts()
    page = client(hosts)
    assert page.get("/", headers={"host": "abc.gradio.live"}).status_code == 400
    hosts.add("abc.gradio.live")
    assert page.get("/", headers={"host": "abc.gradio.live"}).status_code == 200
    assert page.get("/", headers={"host": "xyz.gradio.live"}).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:7860", "127.0.0.1:7860", 200),
        ("https://studio.example", "studio.example", 200),
        ("https://studio.example", "127.0.0.1:7860", 200),  # a proxy that changes the Host
        ("http://localhost", "localhost:80", 200),
        ("http://studio.example:7860", "studio.example:7860", 200),
        ("http://studio.example", "studio.example", 200),
        ("https://evil.example", "127.0.0.1:7860", 403),
        ("http://127.0.0.1:3000", "127.0.0.1:7860", 403),
        ("http://localhost:7860", "127.0.0.1:7860", 403),
        ("http://192.168.1.9:7860", "192.168.1.20:7860", 403),
        ("null", "127.0.0.1:7860", 403),
        ("http://[::1", "127.0.0.1:7860", 403),
        ("http://studio.example:8080", "studio.example:7860", 403),  # other programs of the same machine
        ("http://studio.example", "studio.example:7860", 403),
        ("http://studio.example:8080", "studio.example", 403),
        ("https://studio.example:8443", "127.0.0.1:7860", 403),
        ("app://studio.example", "127.0.0.1:7860", 403),
        ("app://localhost", "localhost", 403),
    ],
)
def test_pages_of_other_sites_may_not_call(method: str, origin: str, host: str, status: int) -> None:
    assert client().request(method, "/x", headers={"origin": origin, "host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "forwarded", "status"),
    [
        ("https://studio.example:8443", {"x-forwarded-host": "studio.example:8443"}, 200),
        ("https://studio.example", {"x-forwarded-host": "studio.example, inner"}, 200),
        ("https://studio.example", {"x-forwarded-proto": "https"}, 200),
        ("https://studio.example", {"x-forwarded-proto": "http"}, 200),  # one behind the one with the certificate
        ("https://studio.example:9000", {"x-forwarded-host": "studio.example:8443"}, 403),
        ("https://studio.example", {"x-forwarded-host": "studio.example:8443"}, 403),
        ("https://evil.example", {"x-forwarded-host": "evil.example"}, 403),
        ("http://studio.example", {"x-forwarded-proto": "https"}, 403),
    ],
)
def test_a_proxy_says_at_which_port_the_page_is(origin: str, forwarded: dict[str, str], status: int) -> None:
    assert client().post("/x", headers={"origin": origin, **forwarded}).status_code == status


@pytest.mark.parametrize(
    ("site", "mode", "destination", "path", "status"),
    [
        ("same-origin", "cors", "empty", "/x", 200),
        ("none", "navigate", "document", "/x", 200),
        ("cross-site", "navigate", "document", "/", 200),
        ("cross-site", "navigate", "document", "/docs", 200),
        ("cross-site", "navigate", "document", "/pictures/1.png", 403),
        ("cross-site", "navigate", "iframe", "/", 403),
        ("cross-site", "no-cors", "image", "/pictures/1.png", 403),
        ("same-site", "no-cors", "script", "/", 403),
        ("same-site", "cors", "empty", "/x", 403),
    ],
)
def test_a_browser_says_which_page_asks(site: str, mode: str, destination: str, path: str, status: int) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
    assert client().get(path, headers=headers).status_code == status
    if status == 403 or site == "cross-site":
        assert client().post(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        b"/api/x%0Ay",
        b"/x%00",
        b"/a//b",
        b"//evil.example/x",
        b"/a/../b",
        b"/a/./b",
        b"/a/..",
        b"/a/%2e%2e/b",
        b"/a%2Fb",
        b"/a%5cb",
        b"/a\\b",
        b"/a%252fb",
    ],
)
def test_an_address_is_written_in_one_way(path: bytes) -> None:
    assert is_ambiguous_path(path)


USUAL = (b"/", b"/a/b", b"/api/x.y-z/", b"/x%20y", "/图".encode(), b"/%E5%9B%BE", b"/f=/tmp/a.png")


@pytest.mark.parametrize("path", USUAL)
def test_a_usual_address_is_none_of_these(path: bytes) -> None:
    assert not is_ambiguous_path(path)


def test_an_odd_address_is_not_there() -> None:
    assert client().get("/api/x%0Ay").status_code == 404
    assert client().get("/a%2Fb").status_code == 404


def test_nothing_is_read_until_the_gate_opens() -> None:
    gate = Gate()
    gate.shut()
    page = client(gate=gate)
    for path in ("/", "/health", "/api/history"):
        answer = page.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert page.post("/import", content=b"x" * (MAX_FILE + 1)).status_code == 503, "no body is read"
    assert page.head("/").status_code == 200, "Gradio's own look"
    assert page.get("/gradio_api/startup-events").status_code == 200
    gate.open()
    assert page.get("/health").status_code == 200


def _pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * 2**20


def test_a_body_may_be_so_long_whatever_it_says_of_itself() -> None:
    page = client()
    assert page.post("/", content=b"x" * MAX_BODY).text == str(MAX_BODY)
    assert page.post("/", content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert page.post("/", content=_pieces(MAX_BODY // 2**20)).text == str(MAX_BODY)
    assert page.post("/", content=_pieces(MAX_BODY // 2**20 + 1)).status_code == 413
    for path in TAKES_FILES:
        assert page.post(path, content=_pieces(MAX_FILE // 2**20)).text == str(MAX_FILE)
        assert page.post(path, content=_pieces(MAX_FILE // 2**20 + 1)).status_code == 413
    assert page.post("/", headers={"content-length": "1e9"}).status_code == 413


def test_there_are_no_sockets() -> None:
    with pytest.raises(WebSocketDisconnect), client().websocket_connect("/socket"):
        pass


def test_every_answer_tells_browsers_to_be_careful() -> None:
    for path, headers in (("/", {}), ("/", {"host": "evil.example"})):
        answer = client().get(path, headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'self'"


def test_only_scripts_that_came_with_the_page_run() -> None:
    first, second = (client().get("/page.html") for _ in range(2))
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'self' 'nonce-([^']{20,})' 'unsafe-eval';", policy)
    assert nonce is not None
    assert nonce[1] not in second.headers["content-security-policy"]
    assert first.text == f'<script nonce="{nonce[1]}">1</script>'
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy


def test_a_space_may_be_framed_by_its_site_only() -> None:
    space = middleware_config(
        Settings(), Credentials(), {"SPACE_ID": "somebody/studio", "SPACE_HOST": "somebody-studio.hf.space"}
    )
    page = client(space.hosts, framed_by=space.framed_by)
    answer = page.get("/page.html", headers={"host": "somebody-studio.hf.space"})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].endswith("frame-ancestors 'self' https://huggingface.co")
    assert "x-frame-options" not in answer.headers
    at_home = middleware_config(Settings(allow_host=("studio.example",)), Credentials(), {})
    assert at_home.framed_by == ""
    assert at_home.hosts.knows("studio.example")


def test_a_refusal_is_said_in_the_visitors_language() -> None:
    page = client()
    chinese = {"accept-language": "zh-CN", "origin": "https://evil.example"}
    sentence = "不允许其他网站的页面调用本程序。"
    assert page.post("/x", headers=chinese).json() == {"error": sentence, "detail": sentence}
    assert page.post("/x", headers={**chinese, "accept": "text/html"}).text == sentence
    assert page.post("/api/generate", headers=chinese).json() == {
        "detail": "不允许其他网站的页面调用本程序。",
        "field": None,
    }


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", " Multipart/Form-Data; boundary=x", "multipart/mixed"]
)
def test_forms_with_files_are_refused_before_anything_is_written_down(kind: str) -> None:
    for path in ("/gradio_api/component_server", "/history/zip", "/import", "/api/inputs"):
        answer = client().post(path, content=b"--x\r\n", headers={"content-type": kind})
        assert answer.status_code == 415
